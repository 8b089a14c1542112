"""YAML files that people write, without tags, aliases, merge keys and double keys, which hide what a file says."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

from subdit.core.errors import SubditError

_COMMENT_WIDTH = 116
_ODD = re.compile(r"[-+]?(0[0-9_]+$|[^.]*:)")

MOST_BYTES = 1 << 20
"""Of a file that people write."""


def read_yaml(path: Path, *, what: str, example: str, error: type[SubditError]) -> Any:
    """The content of a file, called "the `what`" in sentences; `example` is where a good one comes from.

    Raises `error` where the file is missing, no text, too large, or not such YAML.
    """
    where = f"The {what} {path}"
    try:
        if path.stat().st_size > MOST_BYTES:
            raise error(f"{where} has more than {MOST_BYTES:,} bytes; name one that {example} made.")
        return parse_yaml(path.read_text(encoding="utf-8"), where, example=example, error=error)
    except FileNotFoundError:
        raise error(f"There is no {what} {path}; make one with {example}.") from None
    except UnicodeDecodeError as bad:
        raise error(f"{where} is not text in UTF-8; save it as such.") from bad
    except OSError as bad:
        raise error(f"{where} cannot be read ({bad.strerror}); name a file of your own.") from bad


def parse_yaml(text: str, where: str, *, example: str, error: type[SubditError]) -> Any:
    """The content of YAML; raises `error` with a sentence that begins with `where`."""
    import yaml  # type: ignore[import-untyped]

    try:
        for event in yaml.parse(text, Loader=yaml.SafeLoader):
            line = event.start_mark.line + 1
            if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
                raise error(f"{where} has an anchor or alias in line {line}; write the values out.")
            if getattr(event, "tag", None):
                raise error(f"{where} has the YAML tag {event.tag!r} in line {line}; leave tags out.")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        refuse_double_keys(root, where, error=error)
        _refuse_odd_numbers(root, where, error)
        return yaml.safe_load(text)
    except yaml.MarkedYAMLError as bad:
        line = bad.problem_mark.line + 1 if bad.problem_mark else 1
        raise error(f"{where} is not YAML (line {line}: {bad.problem}); correct that line.") from bad
    except (yaml.YAMLError, ValueError, RecursionError) as bad:
        raise error(f"{where} is not YAML ({type(bad).__name__}); start from {example}.") from bad


def refuse_double_keys(node: Any, where: str, *, error: type[SubditError]) -> None:
    """Raise `error` where a mapping has a key twice or a merge key, here or further in."""
    import yaml

    if isinstance(node, yaml.MappingNode):
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.tag == "tag:yaml.org,2002:merge":
                raise error(f"{where} has the merge key '<<'; write the values out.")
            if key.value in seen:
                raise error(f"{where} has the key {shown(key.value)} twice; keep one.")
            seen.add(key.value)
    if isinstance(node, yaml.CollectionNode):
        for entry in node.value:
            for part in entry if isinstance(entry, tuple) else (entry,):
                refuse_double_keys(part, where, error=error)


def _refuse_odd_numbers(node: Any, where: str, error: type[SubditError]) -> None:
    """Raise `error` where YAML 1.1 has a number that is another one to people: 010 is 8 there, and 1:30 is 90."""
    import yaml

    if isinstance(node, yaml.ScalarNode) and node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float"):
        if _ODD.match(node.value):
            line = node.start_mark.line + 1
            raise error(f"{where} has the number {shown(node.value)} in line {line}; write plain digits.")
    if isinstance(node, yaml.CollectionNode):
        for entry in node.value:
            for part in entry if isinstance(entry, tuple) else (entry,):
                _refuse_odd_numbers(part, where, error)


_UNICODE_BREAKS = frozenset("\x85\u2028\u2029")
"""Line breaks that PyYAML writes as they are, and of which it reads the first as a space."""


def commented(key: str, value: Any, comment: str) -> list[str]:
    """Lines of YAML: a comment, and the key with its value, lists and mappings of numbers in one line."""
    import yaml

    # A single value would get braces of its own.
    style = None if isinstance(value, dict | list) else False
    options = {"sort_keys": False, "width": 200, "default_flow_style": style}
    text = yaml.safe_dump({key: value}, allow_unicode=True, **options)
    if not _UNICODE_BREAKS.isdisjoint(text):
        text = yaml.safe_dump({key: value}, allow_unicode=False, **options)
    return [*(f"# {line}" for line in textwrap.wrap(comment, _COMMENT_WIDTH)), *text.removesuffix("\n").split("\n")]


def shown(value: Any) -> str:
    """A value in a sentence, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
