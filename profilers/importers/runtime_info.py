"""`ModelRuntimeDetails` (tflite/profiling/proto/model_runtime_info.proto): which delegate replaced which operators.

benchmark_model writes it with --model_runtime_info_output_file. Each operator that was replaced names the delegate's
node, and that node lists what it replaced. The order of execution is that of nodes and delegates' nodes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from profilers.importers.delegation import delegate_word
from profilers.importers.imported_log import CPU
from profilers.importers.imported_log import UNCONFIRMED
from profilers.importers.imported_log import ImportedLog
from profilers.importers.imported_log import check_log
from profilers.importers.imported_log import contradiction
from profilers.importers.imported_log import file_name
from profilers.importers.log import Log
from profilers.importers.ran_where import count_partitions
from profilers.importers.tflite_proto import OP
from profilers.importers.wire import Schema
from profilers.importers.wire import begins
from profilers.importers.wire import decode

_DELEGATE: Schema = {1: ("delegate_name", "str"), 2: ("replaced", "ints")}
_NODE: Schema = {
    1: ("id", "int"),
    2: ("name", "str"),
    3: ("type", "str"),
    4: ("inputs", "ints"),
    5: ("outputs", "ints"),
}
_NODE |= {6: ("intermediates", "ints"), 7: ("temporaries", "ints"), 8: ("delegate", _DELEGATE)}
_NODE |= {9: ("delegated_to", "int"), 10: ("profile", OP)}
_EDGE: Schema = {1: ("id", "int"), 2: ("name", "str"), 3: ("data_type", "int"), 4: ("shape", "ints")}
_EDGE |= {5: ("allocation", "str"), 6: ("layout", "int"), 7: ("size", "int")}
_GRAPH: Schema = {1: ("id", "int"), 2: ("edges", [_EDGE]), 3: ("nodes", [_NODE]), 4: ("plan", "ints")}
_GRAPH |= {5: ("type", "int"), 6: ("name", "str")}
_DETAILS: Schema = {1: ("model_name", "str"), 2: ("subgraphs", [_GRAPH])}
_TFLITE_SUBGRAPH = 1
_AS_WRITTEN = "give the file as benchmark_model wrote it"


@dataclass(frozen=True)
class Placement:
    """Where the operators of a model's primary graph ran.

    Attributes:
        operators: how many each delegate took, by its word in ids; `CPU` for those that none took.
        partitions: stretches of the order of execution between which the accelerator, or else XNNPACK, takes turns with
            the rest.
        model_file: where the file names the model.
    """

    operators: Mapping[str, int]
    partitions: int
    model_file: str | None = None

    @property
    def total(self) -> int:
        return sum(self.operators.values())

    @property
    def accelerators(self) -> tuple[str, ...]:
        """The delegates that are no path of the processor, the one with most operators first."""
        found = [name for name in self.operators if name not in (CPU, "xnnpack", "flex")]
        return tuple(sorted(found, key=lambda name: -self.operators[name]))


def claims(log: Log) -> bool:
    """Whether the bytes are, or begin as, such details."""
    return begins(log.data, _DETAILS, ("subgraphs", "nodes", "plan"))


def read(log: Log) -> tuple[ImportedLog, ...]:
    """What ran where; it holds no latency. Raises `ImportLogError` where the file is cut or contradicts itself."""
    placed = read_placement(log)
    made = ImportedLog(
        "tflite-runtime-info",
        "benchmark_model --model_runtime_info_output_file",
        model_file=placed.model_file,
        warnings=(UNCONFIRMED,),
        **facts(placed),
    )
    return (check_log(log, made),)


def facts(placed: Placement) -> dict[str, Any]:
    """The fields of an `ImportedLog` that say what ran where."""
    found = placed.accelerators
    on_it = sum(placed.operators[name] for name in found)
    if not found:
        taken = placed.operators.get("xnnpack", 0)
        return {
            "delegate": "xnnpack" if taken else CPU,
            "delegated_share": taken / placed.total,
            "graph_operators": placed.total,
            "partitions": placed.partitions,
        }
    return {
        "delegate": "+".join(found),
        "delegated_share": on_it / placed.total,
        "graph_operators": placed.total,
        "partitions": placed.partitions,
        "partly_delegated": True if on_it < placed.total else None,
    }


def read_placement(log: Log) -> Placement:
    """The primary graph's placement; raises `ImportLogError` where the file is cut or contradicts itself."""
    data = decode(log, _DETAILS)
    primary = [
        graph
        for graph in data.get("subgraphs", [])
        if graph.get("id", 0) == 0 and graph.get("type", _TFLITE_SUBGRAPH) == _TFLITE_SUBGRAPH
    ]
    if len(primary) != 1:
        raise log.refuse(None, f"it has {len(primary)} primary graphs", _AS_WRITTEN)
    nodes = {node.get("id", 0): node for node in primary[0].get("nodes", [])}
    plan = primary[0].get("plan", [])
    if len(nodes) != len(primary[0].get("nodes", [])):
        raise log.refuse(None, "two operators have one number", _AS_WRITTEN)
    if not plan or len(set(plan)) != len(plan) or not set(plan) <= set(nodes):
        raise log.refuse(None, "its order of execution does not fit its operators", _AS_WRITTEN)
    owner = _owners(log, nodes, plan)
    operators = Counter(owner.get(id_, CPU) for id_, node in nodes.items() if "delegate" not in node)
    words = {
        id_: delegate_word(nodes[id_]["delegate"].get("delegate_name", "")) for id_ in plan if "delegate" in nodes[id_]
    }
    outside = {CPU, "flex", *(("xnnpack",) if set(words.values()) - {"xnnpack", "flex"} else ())}
    partitions = count_partitions([words.get(id_, CPU) not in outside for id_ in plan])
    name = data.get("model_name")
    return Placement(dict(operators), partitions, file_name(name) if name else None)


def _owners(log: Log, nodes: Mapping[int, Mapping[str, Any]], plan: list[int]) -> dict[int, str]:
    """What took each operator that a delegate took, by its number."""
    owner: dict[int, str] = {}
    for id_ in plan:
        node = nodes[id_]
        if "delegate" not in node:
            continue
        word = delegate_word(node["delegate"].get("delegate_name", ""))
        for replaced in node["delegate"].get("replaced", []):
            if replaced in owner or replaced not in nodes:
                raise log.refuse(None, f"operator {replaced} is replaced twice, or not there", _AS_WRITTEN)
            stated = nodes[replaced].get("delegated_to")
            if "delegate" not in nodes[replaced] and stated != id_:
                raise contradiction(log, None, f"what replaced operator {replaced}", stated, id_)
            owner[replaced] = word
    for id_, node in nodes.items():
        if (stated := node.get("delegated_to")) is not None and id_ not in owner:
            raise contradiction(log, None, f"what replaced operator {id_}", stated, "nothing")
        if id_ in owner and id_ in plan:
            raise log.refuse(None, f"operator {id_} is replaced and runs too", _AS_WRITTEN)
    return owner
