"""Whatever stands before the lines of a log: what is read is what the tool wrote, and nothing that it did not write."""

from __future__ import annotations

import pytest

from profilers.importers import make_log
from profilers.importers import read
from profilers.importers import read_log
from subdit.core.errors import ImportLogError
from tests.profilers.importers import mutators
from tests.profilers.importers.mutators import FILES
from tests.profilers.importers.mutators import GOLDEN

# Of every program one, and one with tables, whose rows begin with tabs.
NAMES = ["tflite_new.txt", "tflite_issue_42507.txt", "litert_cpp.txt", "perf_test_new.txt"]
THREADTIME = "06-01 12:00:00.123  1234  1240 {} {}: "


def prefixed(name: str, before: str, *, strip: bool = False, after: str = "") -> bytes:
    """The golden file with this before each line; with `strip`, without the blanks that it leaves on empty lines."""
    lines = [before + line + (after if line else "") for line in FILES[name].decode().splitlines()]
    return "\n".join(line.rstrip() if strip and line.startswith(before.rstrip()) else line for line in lines).encode()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("kind", mutators.PREFIXES)
def test_a_prefix_changes_nothing(kind: str, name: str) -> None:
    before = mutators.PREFIXES[kind]
    assert read(make_log(prefixed(name, before) + b"\n", name)) == read_log(GOLDEN / name)
    # Editors and mail programs take the blanks off the ends of lines.
    assert read(make_log(prefixed(name, before, strip=True) + b"\n", name)) == read_log(GOLDEN / name)


@pytest.mark.parametrize("name", NAMES)
def test_prefixes_that_no_list_foresees_are_found_by_what_follows_them(name: str) -> None:
    for before in ("[runner 7 of 12] ", "remote: ", "pixel-8$ ", "\xa0\xa0\xa0", "* bench * ", "12 |\t"):
        assert read(make_log(prefixed(name, before) + b"\n", name)) == read_log(GOLDEN / name), before
    counted = "".join(f"{at:5d}  #3 {at / 7:.2f} {line}\n" for at, line in enumerate(FILES[name].decode().splitlines()))
    assert read(make_log(counted.encode(), name)) == read_log(GOLDEN / name)


def test_the_process_and_long_formats_of_logcat_tell_the_tag_elsewhere() -> None:
    name = "tflite_issue_42507.txt"
    assert read(make_log(prefixed(name, "I( 1234) ", after="  (tflite)") + b"\n", name)) == read_log(GOLDEN / name)
    header = "[ 06-01 12:00:00.123  1234: 1240 I/tflite   ]\n"
    other = "[ 06-01 12:00:00.123   777:  778 E/camera   ]\nERROR: Benchmarking failed.\n\n"
    text = "".join(f"{header}{line}\n\n" for line in FILES[name].decode().splitlines())
    assert read(make_log((other + text + other).encode(), name)) == read_log(GOLDEN / name)


def test_a_log_may_stand_in_a_letter() -> None:
    text = FILES["tflite_new.txt"].decode()
    pasted = "I ran it on my phone:\n\n```\n$ ./benchmark_model --graph=m.tflite\n" + text + "```\n"
    assert read(make_log(pasted.encode(), "x")) == read_log(GOLDEN / "tflite_new.txt")
    indented = "Log:\n\n$ ./benchmark_model --graph=m.tflite\n" + "".join(f"    {line}\n" for line in text.splitlines())
    assert read(make_log(indented.encode(), "x")) == read_log(GOLDEN / "tflite_new.txt")


def test_other_processes_of_a_logcat_are_left_out() -> None:
    name = "tflite_issue_42507.txt"
    before = THREADTIME.format("I", "tflite  ")
    noise = "06-01 12:00:00.123   777   778 E camera  : Failed to apply settings\n"
    noise += "06-01 12:00:00.124   777   778 I other   : Num threads: [9]\n--------- beginning of main\n"
    lines = [f"{before}{line}\n" for line in FILES[name].decode().splitlines()]
    assert read(make_log((noise + noise.join(lines) + noise).encode(), name)) == read_log(GOLDEN / name)
    # Two runs in one logcat are two runs.
    second = [line.replace(" 1234 ", " 4321 ") for line in lines]
    with pytest.raises(ImportLogError, match="a second run's results"):
        read(make_log("".join(lines + second).encode(), name))


def test_an_error_in_a_logcat_is_told_by_its_level() -> None:
    said = [("I", "STARTING!"), ("I", "Graph: [m.tflite]"), ("E", "Failed to allocate tensors!")]
    said.append(("E", "Benchmarking failed."))
    for before in (THREADTIME, "{}/{}( 1234): ", "06-01 12:00:00.123 1234-1240/org.x {}/{}: "):
        text = "".join(f"{before.format(level, 'tflite')}{line}\n" for level, line in said)
        with pytest.raises(ImportLogError, match="line 3: benchmark_model failed: 'Failed to allocate tensors!'"):
            read(make_log(text.encode(), "x"))


def test_a_prefix_hides_no_edit() -> None:
    text = FILES["tflite_new.txt"].decode()
    for old, new in (("avg=14290.9", "avg=14390.9"), ("6 nodes observed", "5 nodes observed"), ("median=14190 ", "")):
        assert old in text
        for before in mutators.PREFIXES.values():
            edited = "".join(f"{before}{line}\n" for line in text.replace(old, new).splitlines())
            with pytest.raises(ImportLogError):
                read(make_log(edited.encode(), "x"))
    # A text before one line alone is no prefix.
    with pytest.raises(ImportLogError):
        read(make_log(text.replace("INFO: count=70", "then INFO: count=70").encode(), "x"))


@pytest.mark.parametrize(
    "text", ["> " * 200_000, "06-01 12:00:00.123 " * 20_000, "\t" * 400_000 + "x", "^[[" * 100_000]
)
def test_long_prefixes_are_refused_at_once(text: str) -> None:
    with pytest.raises(ImportLogError):
        read(make_log((text + "\nINFO: STARTING!\n" + text + "\n").encode(), "x"))
