"""The share of a model that an accelerator took: what each format says of it, and what a profile makes of that."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import subdit
from device_profiles import check_plausibility
from profilers.importers import ImportedLog
from profilers.importers import make_log
from profilers.importers import read
from profilers.importers import read_log
from subdit.core.errors import ImportLogError
from subdit.space import all_components
from subdit.space import get_space
from tests.profilers.importers.mutators import FILES
from tests.profilers.importers.mutators import GOLDEN

NAMES = [component.name for component in all_components(get_space("digits"))]
Facts = tuple[str | None, float | None, int | None, bool | None]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUBDIT_HOME", str(tmp_path / "home"))


def facts(log: ImportedLog) -> Facts:
    share = None if log.delegated_share is None else round(log.delegated_share, 12)
    return log.delegate, share, log.graph_operators, log.partly_delegated


def understood(text: str) -> Facts:
    (log,) = read(make_log(text.encode(), "x"))
    return facts(log)


def ai_hub(*units: str) -> str:
    values = json.loads(FILES["aihub_profile.json"])
    layers = [{"name": str(at), "type": "MUL", "compute_unit": unit} for at, unit in enumerate(units)]
    values["execution_detail"] = [layer | {"execution_time": 1} for layer in layers]
    return json.dumps(values)


def litert(fully: bool | None, *accelerators: str) -> str:
    return json.dumps(json.loads(FILES["litert.json"]) | {"fully_accelerated": fully, "accelerators": accelerators})


def onnxruntime(provider: str, *names: str, prefix: str = "") -> str:
    """Of the golden profile's four nodes, those that are named ran on this provider."""
    events: list[dict[str, Any]] = json.loads(FILES["onnxruntime_profile.json"])
    for event in events:
        if event["name"].removesuffix("_kernel_time") in names:
            event["args"]["provider"] = provider
            event["name"] = prefix + event["name"]
    return json.dumps(events)


def inspector(*rows: int, backend: str = "XnnpackBackend") -> str:
    """The golden table with these rows alone; the call of a delegate has the backend's name."""
    head, *lines = FILES["executorch_inspector.tsv"].decode().splitlines()
    kept = [lines[row].partition("\t")[2] for row in rows]
    kept = [row.replace("False\t", f"False\t{backend}") if "DELEGATE_CALL" in row else row for row in kept]
    return "\n".join([head, *(f"{at}\t{row}" for at, row in enumerate(kept))]) + "\n"


def test_layers_of_ai_hub_are_counted_by_their_units() -> None:
    assert facts(read_log(GOLDEN / "aihub_profile.json")[0]) == ("npu", round(2 / 3, 12), 3, None)
    assert understood(ai_hub("NPU", "NPU")) == ("npu", 1.0, 2, None)
    assert understood(ai_hub("GPU", "NPU", "CPU", "CPU")) == ("gpu+npu", 0.5, 4, None)
    assert understood(ai_hub("CPU", "CPU")) == ("cpu", None, 2, None)
    assert understood(ai_hub("NPU", "UNSPECIFIED")) == ("npu", None, 2, None)
    logs = read_log(GOLDEN / "aihub_perf.yaml")
    assert [facts(log) for log in logs[:2]] == [("npu", round(69 / 71, 12), 71, None), ("npu", 1.0, 104, None)]
    small = (
        FILES["aihub_perf.yaml"].decode().replace("npu: 69\n                cpu: 2", "npu: 2\n                cpu: 69")
    )
    (log, *_) = read(make_log(small.replace("unit: NPU", "unit: CPU", 1).encode(), "x"))
    assert facts(log) == ("npu", round(2 / 71, 12), 71, None)


def test_nodes_of_onnxruntime_are_counted_by_their_providers() -> None:
    nodes = {event["name"] for event in json.loads(FILES["onnxruntime_profile.json"]) if event["cat"] == "Node"}
    names = [name.removesuffix("_kernel_time") for name in sorted(nodes)]
    assert understood(onnxruntime("XnnpackExecutionProvider", *names[:3])) == ("xnnpack", 0.75, 4, True)
    assert understood(onnxruntime("XnnpackExecutionProvider", *names)) == ("xnnpack", 1.0, 4, None)
    assert understood(onnxruntime("QNNExecutionProvider")) == ("cpu", None, 4, None)
    # A node that a provider compiled stands for many.
    compiled = {"prefix": "QNNExecutionProvider_QNN_1_0"}
    assert understood(onnxruntime("QNNExecutionProvider", names[0], **compiled)) == ("qnn", None, None, True)
    assert understood(onnxruntime("QNNExecutionProvider", *names, **compiled)) == ("qnn", 1.0, None, None)


def test_delegated_operators_of_executorch_are_counted() -> None:
    assert understood(inspector(*range(8))) == ("xnnpack", round(2 / 3, 12), 3, True)
    assert understood(inspector(0, 1, 5, 6, 7)) == ("cpu", None, 1, None)
    # A delegate that profiles nothing shows its calls.
    assert understood(inspector(4, 7, backend="QnnBackend")) == ("qnn", 1.0, None, None)
    assert understood(inspector(4, 5, 7, backend="QnnBackend")) == ("qnn", None, None, True)
    assert understood(inspector(4, 7, backend="")) == ("delegated", 1.0, None, None)


def test_litert_says_whether_an_accelerator_took_all() -> None:
    assert understood(litert(True, "GPU", "CPU")) == ("gpu", 1.0, None, None)
    assert understood(litert(False, "GPU", "CPU")) == ("gpu", None, None, True)
    assert understood(litert(None, "NPU")) == ("npu", None, None, None)
    assert understood(litert(False, "CPU")) == ("cpu", None, None, None)
    text = FILES["litert_python.txt"].decode().replace("Accelerators:    CPU", "Accelerators:    GPU | CPU")
    assert understood(text) == ("gpu", None, None, True)
    assert understood(text.replace("rated:     False", "rated:     True")) == ("gpu", 1.0, None, None)
    counted = "Replacing 30 out of 40 node(s) with delegate (LITERT_CL) node, yielding 2 partitions.\n" + text
    assert understood(counted) == ("gpu", 0.75, 40, True)


def test_benchmark_model_says_that_a_delegate_took_a_part_with_and_without_its_size() -> None:
    text = FILES["tflite_gpu.txt"].decode().replace("completely executed by", "partially executed by")
    assert understood(text) == ("gpu", None, None, True)
    counted = "INFO: Replacing 9 out of 12 node(s) with delegate (TfLiteGpuDelegateV2) node, yielding 2 partitions.\n"
    assert understood(counted + text) == ("gpu", 0.75, 12, True)


WriteLogs = Callable[[dict[str, str]], list[Path]]


@pytest.fixture
def write_logs(tmp_path: Path) -> WriteLogs:
    """Logs of a whole space, each under its component's name."""

    def write(said: dict[str, str]) -> list[Path]:
        for name, text in said.items():
            (tmp_path / f"{name}.json").write_text(text.replace("graph.tflite", name))
        return [tmp_path / f"{name}.json" for name in said]

    return write


def test_a_part_of_unknown_size_is_refused(write_logs: WriteLogs) -> None:
    whole = dict.fromkeys(NAMES, litert(True, "GPU", "CPU"))
    assert subdit.import_logs(write_logs(whole), device="phone").id == "phone/litert/fp32/t1/gpu"
    part = whole | {NAMES[3]: litert(False, "GPU", "CPU")}
    with pytest.raises(ImportLogError, match=f"of {NAMES[3]} says that gpu took a part .*; measure where it takes all"):
        subdit.import_logs(write_logs(part), device="tablet", allow_fallback=True)


def test_layers_of_all_models_make_the_share_of_a_profile(write_logs: WriteLogs) -> None:
    said = dict.fromkeys(NAMES, ai_hub("NPU", "CPU")) | {NAMES[0]: ai_hub(*["NPU"] * 100)}
    made = subdit.import_logs(write_logs(said), device="phone", threads=1, allow_fallback=True)
    expected = (100 + len(NAMES) - 1) / (100 + 2 * (len(NAMES) - 1))
    assert made.delegated_share == pytest.approx(expected)
    assert made.id == f"phone/aihub/fp32/t1/npu-{round(100 * expected)}pct"


def test_a_model_that_stayed_on_the_processor_counts_where_the_user_says_what_was_asked_for(
    write_logs: WriteLogs,
) -> None:
    logs = write_logs(dict.fromkeys(NAMES, ai_hub("NPU")) | {NAMES[0]: ai_hub("CPU", "CPU")})
    with pytest.raises(ImportLogError, match=r"different delegates \(cpu, npu\); .*, or pass --delegate npu if all"):
        subdit.import_logs(logs, device="phone", threads=1)
    with pytest.raises(ImportLogError, match="npu took nothing: all ran on the processor"):
        subdit.import_logs(logs, device="phone", threads=1, delegate="npu")
    made = subdit.import_logs(logs, device="phone", threads=1, delegate="npu", allow_fallback=True)
    assert made.delegated_share == pytest.approx((len(NAMES) - 1) / (len(NAMES) + 1))
    with pytest.raises(ImportLogError, match="different delegates"):
        subdit.import_logs(logs, device="tablet", threads=1, delegate="none")


XNNPACK = "INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\n"


def processor(name: str, *lines: str) -> str:
    """The golden log of a run on the processor, with these lines in place of the one of XNNPACK's."""
    text = FILES["tflite_new.txt"].decode()
    assert XNNPACK in text
    said = "".join(f"INFO: {line}\n" for line in lines)
    return text.replace(XNNPACK, said).replace("Use xnnpack", "Use nothing").replace("assa-w64-g16-b4-r1-c2", name)


def replaced(some: int, every: int) -> str:
    return f"Replacing {some} out of {every} node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 2 partitions."


def test_xnnpack_is_the_plain_path_of_tensorflow_lite(write_logs: WriteLogs) -> None:
    created = XNNPACK.removeprefix("INFO: ").rstrip()
    assert understood(processor("x", created))[0] == "xnnpack"
    named = subdit.import_logs(write_logs({name: processor(name, created) for name in NAMES}), device="phone")
    assert (named.id, named.delegate, named.delegated_share) == ("phone/tflite/fp32/t4", None, None)
    # Builds differ in whether they say so; it is one setting.
    some = {name: processor(name, *[created][: at % 2]) for at, name in enumerate(NAMES)}
    assert subdit.import_logs(write_logs(some), device="tablet", delegate="xnnpack").id == "tablet/tflite/fp32/t4"


def test_the_share_of_xnnpack_is_kept_and_is_no_part_of_the_id(write_logs: WriteLogs) -> None:
    said = {name: processor(name, replaced(1, 10)) for name in NAMES}
    said[NAMES[0]] = processor(NAMES[0], replaced(500, 500))
    made = subdit.import_logs(write_logs(said), device="phone")
    assert made.delegated_share == pytest.approx((500 + len(NAMES) - 1) / (500 + 10 * (len(NAMES) - 1)))
    assert made.id == "phone/tflite/fp32/t4"
    assert not [one for one in check_plausibility(made) if one.rule == "identity"]
    # Where it differs and the logs do not say of how many operators, it is left out.
    complete = "Explicitly applied XNNPACK delegate, and the model graph will be completely executed by the delegate."
    said[NAMES[0]] = processor(NAMES[0], complete)
    assert subdit.import_logs(write_logs(said), device="tablet").delegated_share is None


def test_xnnpack_stays_a_delegate_where_the_plain_path_is_another(write_logs: WriteLogs) -> None:
    names = [event["name"] for event in json.loads(FILES["onnxruntime_profile.json"]) if event["cat"] == "Node"]
    text = onnxruntime("XnnpackExecutionProvider", *(name.removesuffix("_kernel_time") for name in names))
    made = subdit.import_logs(write_logs(dict.fromkeys(NAMES, text)), device="phone", threads=1)
    assert made.id == "phone/onnxruntime/fp32/t1/xnnpack"
    made = subdit.import_logs(
        write_logs(dict.fromkeys(NAMES, inspector(*range(8)))), device="phone", threads=1, allow_fallback=True
    )
    assert made.id == "phone/executorch/fp32/t1/xnnpack-67pct"


THOUGH = "Though {} delegate is explicitly applied, the model graph will not be executed by the delegate.\n"


def declining(name: str, *lines: str) -> str:
    """A run that was to use NNAPI, which took nothing."""
    return processor(name, "NNAPI delegate created.", *lines, THOUGH.format("NNAPI").strip())


def test_an_accelerator_that_took_nothing_is_not_what_ran() -> None:
    (log,) = read(make_log(declining("x").encode(), "x"))
    assert (log.delegate, log.declined, log.delegated_share) == ("cpu", "nnapi", None)
    # XNNPACK took it instead, and the share is that one's.
    (log,) = read(make_log(declining("x", replaced(30, 40)).encode(), "x"))
    assert (log.delegate, log.declined, log.delegated_share, log.graph_operators) == ("cpu", "nnapi", 0.75, 40)
    # What NNAPI says before that.
    lie = "Replacing 31 out of 31 node(s) with delegate (TfLiteNnapiDelegate) node, yielding 1 partitions."
    (log,) = read(make_log(declining("x", lie).encode(), "x"))
    assert (log.delegate, log.declined, log.delegated_share) == ("cpu", "nnapi", None)


def test_of_two_delegates_one_may_take_nothing() -> None:
    text = FILES["tflite_gpu.txt"].decode()
    use = "INFO: Use gpu: [1]\n"
    both = text.replace(use, f"{use}INFO: Use NNAPI: [1]\nINFO: {THOUGH.format('NNAPI')}")
    (log,) = read(make_log(both.encode(), "x"))
    assert (log.delegate, log.delegated_share, log.declined) == ("gpu", 1.0, None)
    assert "nnapi was asked for and ran nothing: all ran on gpu" in log.warnings


def test_a_delegate_may_say_in_numbers_that_it_took_nothing() -> None:
    text = FILES["tflite_gpu.txt"].decode()
    complete = "Explicitly applied GPU delegate, and the model graph will be completely executed by the delegate."
    said = "No operations will run on the GPU, and all 65 operations will run on the CPU."
    (log,) = read(make_log(text.replace(complete, said).encode(), "x"))
    assert (log.delegate, log.declined) == ("cpu", "gpu")
    external = (GOLDEN / "cases" / "c11-external-delegate.txt").read_text()
    none = external.replace("31 nodes delegated", "0 nodes delegated").replace(
        "Explicitly applied EXTERNAL delegate, and the model graph will be partially executed by the delegate w/ 2 "
        "delegate kernels.\n",
        THOUGH.format("EXTERNAL"),
    )
    (log,) = read(make_log(none.encode(), "x"))
    assert (log.delegate, log.declined) == ("cpu", "qnn")


@pytest.mark.parametrize(
    ("library", "name"),
    [
        ("/data/local/tmp/libQnnTFLiteDelegate.so", "qnn"),
        ("/usr/lib/libvx_delegate.so", "vx"),
        ("libneutron_delegate.so", "neutron"),
        ("libethosu_delegate.so.1", "ethosu"),
        ("libedgetpu.so.1", "edgetpu"),
        ("libarmnnDelegate.so", "armnn"),
        ("libtensorflowlite_gpu_delegate.so", "gpu"),
        ("my_external_delegate.so", "my"),
        ("libdelegate.so", "external"),
    ],
)
def test_an_external_delegate_is_called_by_its_library(library: str, name: str) -> None:
    text = (GOLDEN / "cases" / "c11-external-delegate.txt").read_text()
    assert understood(text.replace("/data/local/tmp/libQnnTFLiteDelegate.so", library))[0] == name


@pytest.mark.parametrize(
    "line",
    [
        "INFO: [Qnn Delegate] QNN delegate: 31 nodes delegated out of 40 nodes with 2 partitions.",
        "INFO: NeutronDelegate: 31 nodes delegated out of 40 nodes with 2 partitions",
        "INFO: Hexagon delegate: 31 nodes delegated out of 40 nodes.",
        "VERBOSE: Replacing 31 out of 40 node(s) with delegate (TfLiteQnnDelegate) node, yielding 2 partitions.",
    ],
)
def test_delegates_count_their_nodes_in_several_words(line: str) -> None:
    text = (GOLDEN / "cases" / "c11-external-delegate.txt").read_text()
    told = "INFO: TfLiteQnnDelegate delegate: 31 nodes delegated out of 40 nodes with 2 partitions."
    flex = "INFO: TfLiteFlexDelegate delegate: 5 nodes delegated out of 105 nodes\n"
    assert understood(flex + text.replace(told, line)) == ("qnn", 31 / 40, 40, True)


def test_models_of_which_the_accelerator_took_nothing_make_a_profile_with_the_others(write_logs: WriteLogs) -> None:
    all_of_it = "Explicitly applied NNAPI delegate, and the model graph will be completely executed by the delegate."
    counted = "Replacing 10 out of 10 node(s) with delegate (TfLiteNnapiDelegate) node, yielding 1 partitions."
    said = {name: processor(name, counted, all_of_it) for name in NAMES}
    said[NAMES[0]] = declining(NAMES[0], replaced(10, 10))
    made = subdit.import_logs(write_logs(said), device="phone", allow_fallback=True)
    assert made.delegate == "nnapi" and made.delegated_share == pytest.approx(1 - 1 / len(NAMES))
    # Where it took nothing of any, the profile is one of the processor, and says what was asked for.
    nothing = {name: declining(name, replaced(10, 10)) for name in NAMES}
    plain = subdit.import_logs(write_logs(nothing), device="tablet", allow_fallback=True)
    assert (plain.id, plain.delegated_share) == ("tablet/tflite/fp32/t4", 1.0)
    assert plain.source.endswith("; nnapi asked for, ran nothing")
    with pytest.raises(ImportLogError, match="the plain CPU path ran the models, not nnapi"):
        subdit.import_logs(write_logs(nothing), device="watch", delegate="nnapi")
