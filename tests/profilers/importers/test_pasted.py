"""Logs as people paste them: in fences, after sentences, with the shell's prompts before them and glued to them."""

from __future__ import annotations

import pytest

from profilers.importers import ImportedLog
from profilers.importers import make_log
from profilers.importers import read
from subdit.core.errors import ImportLogError
from tests.profilers.importers import mutators
from tests.profilers.importers.mutators import FILES

PROMPTS = ("husky:/data/local/tmp $", "1|sagit:/data/local/tmp #", "me@host:~/bench$", "root@phone:/ #")
PROMPTS += ("PS C:\\bench>", "C:\\Users\\me>")
TEXTS = [name for name in FILES if not mutators.is_binary(name)]
OUTPUTS = [name for name in FILES if mutators.is_output(name)]


def understood(text: str, name: str = "") -> tuple[ImportedLog, ...]:
    return read(make_log(text.encode(), "x"), mutators.OPTIONS.get(name))


def reason(text: str) -> str:
    with pytest.raises(ImportLogError) as caught:
        understood(text)
    return str(caught.value)


@pytest.mark.parametrize("name", TEXTS)
def test_a_log_between_fences_is_read(name: str) -> None:
    text = FILES[name].decode()
    for fence in ("```", "~~~~", "````json"):
        end = fence.rstrip("json")
        pasted = f"This is what I got:\n\n{fence}\n{text}{end}\n\nWhy is it so slow?\n\n```\n$ uname -a\n```\n"
        assert understood(pasted, name) == mutators.golden(name)
        quoted = "".join(f"> {line}\n" for line in pasted.split("\n"))
        assert understood(quoted, name) == mutators.golden(name)


@pytest.mark.parametrize("name", TEXTS)
def test_a_log_between_prompts_is_read(name: str) -> None:
    text = FILES[name].decode()
    for prompt in PROMPTS:
        assert understood(f"{prompt} cat log.txt\n{text}{prompt} ", name) == mutators.golden(name), prompt
    assert understood(f"$ cat log.txt\n{text}", name) == mutators.golden(name)


@pytest.mark.parametrize("name", OUTPUTS)
@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_prompt_that_is_glued_to_a_line_is_taken_off(prompt: str, name: str) -> None:
    text = FILES[name].decode().rstrip("\n")
    assert understood(f"{prompt} {text}\n", name) == mutators.golden(name)
    try:
        found = understood(f"{text}{prompt}", name)
    except ImportLogError:
        # A host's name behind a word, and an exit status behind a digit, cannot be told apart.
        assert text[-1].isalpha() if prompt[0].isalpha() else prompt[0].isdigit()
        return
    assert found == mutators.golden(name)


def test_a_number_ends_where_the_prompt_begins() -> None:
    text = FILES["tflite_issue_42507.txt"].decode()
    last = "Peak memory footprint (MB): init=0 overall=12.8672"
    assert last in text
    for prompt in PROMPTS:
        glued = text[: text.index(last)] + last + prompt + " "
        if prompt[0].isdigit():
            # The digit is an exit status, or the last one of the number.
            assert reason(glued)
        else:
            assert understood(glued)[0].peak_memory_bytes == round(12.8672 * 2**20)


def test_json_after_a_sentence_is_read() -> None:
    for name in ("litert.json", "aihub_profile.json", "onnxruntime_profile.json", "executorch_minibench.json"):
        text = FILES[name].decode()
        assert understood(f"My profile:\n{text}\nThank you.\n") == mutators.golden(name)
        assert "not whole JSON" in reason(f"My profile:\n{text[: len(text) // 2]}")


def test_lines_are_counted_in_the_whole_text() -> None:
    text = FILES["litert.json"].decode().replace('"num_threads":', '"num_threads" ')
    line = 1 + next(at for at, one in enumerate(text.splitlines()) if '"num_threads" ' in one)
    assert f"line {line + 3}: this is not whole JSON" in reason(f"My profile:\n\n```json\n{text}```\n")


def test_several_logs_in_one_text_are_counted() -> None:
    one, other = FILES["litert.json"].decode(), FILES["tflite_gpu.txt"].decode()
    both = f"CPU:\n```\n{one}\n```\nGPU:\n```\n{other}```\n"
    assert f"there are 2 logs, at the lines 3, {one.count(chr(10)) + 7}; give one log per file" in reason(both)
    assert "there are 2 logs" in reason(f"```\n{one}```\n```\n{one}```\n")
    # Pieces of one run, with a word between them.
    cut = other.index("INFO: Running benchmark")
    pieces = f"It starts:\n```\n{other[:cut]}```\nand ends:\n```\n{other[cut:]}```\n"
    assert understood(pieces) == mutators.golden("tflite_gpu.txt")
    assert "a second run's results" in reason(f"```\n{other}```\n```\n{other}```\n")


@pytest.mark.parametrize("name", [name for name in TEXTS if not name.startswith("perf")])
def test_a_log_that_is_pasted_twice_is_refused_for_that(name: str) -> None:
    # Two runs of onnxruntime_perf_test contradict each other; a copy of one says the same.
    text = FILES[name].decode().rstrip("\n") + "\n"
    with pytest.raises(ImportLogError, match=r"second|twice|two operator tables"):
        read(make_log((text + text).encode(), "x"), mutators.OPTIONS.get(name))


def test_a_fence_that_is_not_closed_ends_with_the_text() -> None:
    text = FILES["tflite_issue_42507.txt"].decode()
    assert understood(f"Slow:\n```\n{text}") == mutators.golden("tflite_issue_42507.txt")
    assert "the log ends here without" in reason(f"Slow:\n```\n{text[: text.index('Inference timings')]}")


@pytest.mark.parametrize(
    "text", ["`" * 200_000, "```\n" * 100_000, "a:/" * 60_000 + "$", "$ " * 100_000, "{\n" * 90_000]
)
def test_long_input_is_refused_at_once(text: str) -> None:
    reason(text + "\n")
