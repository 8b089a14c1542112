"""What terminals, Android, CI systems and mail put around the lines of a log.

First what is known by its form: quotes, times, every format of logcat (`logprint.c` of the Android Open Source
Project) and of Android Studio. Then what no list foresees: a text that stands before every line of a tool that is known
by its words, whatever numbers it holds. What is left of a line is what the tool wrote, tabs of its tables included.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from profilers.importers.processes import Line
from profilers.importers.processes import of_the_tool
from profilers.importers.prompts import without_prompts

_CLOCK = r"\d\d:\d\d:\d\d"
# "03-02 10:11:12.123", with a year or a zone, or seconds since 1970 or since the phone was started.
_STAMP = rf"(?:(?:\d{{4}}-)?\d\d-\d\d {_CLOCK}\.\d{{3,9}}(?: [+-]\d{{4}})?|\d{{1,12}}\.\d{{3,9}})"
_UID = r"(?:\w{1,16}[: ] {0,9})?"
_TAG = r"[\w.$@+/-]{1,80}"
_NAMED = rf"(?P<tag>{_TAG})"
_BLANKS = r"[ \t\xa0]{0,80}"
# Where a pattern has a `level` it has the process too.
_LONG = re.compile(rf"{_BLANKS}\[ {_STAMP} +{_UID}(?P<pid>\d{{1,7}}): {{0,9}}\d{{1,7}} (?P<level>[VDIWEF])/{_TAG} *\]")
_PROCESS = re.compile(
    rf"{_BLANKS}(?P<level>[VDIWEF])\( {{0,9}}{_UID}(?P<pid>\d{{1,7}})(?:: {{0,9}}\d{{1,7}})?\)(?: |$)"
)
_PROCESS_TAG = re.compile(rf" {{2}}\({_TAG} *\)$")
_LOGCAT = (
    # threadtime: "03-02 10:11:12.123  4321  4321 I tflite  : ", also without what stands before the level.
    rf"(?:{_STAMP} +)?(?:{_UID}(?P<pid>\d{{1,7}}) +\d{{1,7}} +)?(?P<level>[VDIWEF]) {_NAMED} {{0,20}}:(?: |$)",
    # brief, tag and time: "I/tflite  ( 4321): ", "I/tflite: ".
    rf"(?:{_STAMP} +)?(?P<level>[VDIWEF])/{_NAMED} {{0,20}}(?:\( {{0,9}}{_UID}(?P<pid>\d{{1,7}})\))? {{0,9}}:(?: |$)",
    # Android Studio up to 2022: "03-02 10:11:12.123 4321-4321/org.tensorflow.lite.benchmark I/tflite: ".
    rf"{_STAMP} +(?P<pid>\d{{1,7}})-\d{{1,7}}/\S{{1,120}} +(?P<level>[VDIWEFA])/{_TAG} {{0,20}}:(?: |$)",
    # Android Studio since: time, pid-tid, tag, package, level, in columns; its compact view has time and level alone.
    rf"{_STAMP} +(?P<pid>\d{{1,7}})-\d{{1,7}} +(?:\S{{1,120}} +){{1,4}}?(?P<level>[VDIWEFA])(?: {{2}}|$)",
    rf"(?P<pid>){_CLOCK}\.\d{{3}} {{2,9}}(?P<level>[VDIWEFA])(?: {{2}}|$)",
)
_TIMES = (
    # gh run view --log: job and step, parted by tabs, before the time.
    r"[^\t]{1,120}\t[^\t]{1,120}\t(?=\d{4}-\d\d-\d\dT)",
    # ISO, as GitHub, Azure, docker and Jenkins write it; GitLab has the number of the stream behind it.
    rf"\[?\d{{4}}-\d\d-\d\d[T ]{_CLOCK}(?:[.,]\d{{1,9}})?(?: ?(?:Z|UTC|[+-]\d\d:?\d\d))?\]?:?"
    r"(?: [0-9a-f]{2}[OE]\+?)?(?: |$)",
    rf"\[?{_CLOCK}(?:[.,]\d{{1,9}})?\]?(?: |$)",
    # syslog, journalctl, ts: "Mar  2 10:11:12 host program[321]: ".
    rf"[A-Z][a-z]{{2}} {{1,2}}\d{{1,2}} {_CLOCK}(?:\.\d{{1,6}})?"
    r"(?: [\w.-]{1,64} [\w./-]{1,64}\[\d{1,7}\]:)?(?: |$)",
)
_QUOTE = r">(?: |(?=>)|$)"
_KNOWN = tuple(re.compile(_BLANKS + pattern) for pattern in (*_LOGCAT, *_TIMES, _QUOTE))
# Most lines of most files begin with none of these, and are not looked at again.
_MAY_BEGIN = re.compile(
    rf"{_BLANKS}(?:[>\[\d]|[VDIWEF][/ (]|[A-Z][a-z]{{2}} {{1,2}}\d|[^\t]{{1,120}}\t[^\t]{{1,120}}\t\d{{4}}-)"
)
_LAYERS = 8

# Escape sequences, and those that a terminal echoes in caret notation where somebody presses a key while a tool runs.
_ESCAPE = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[A-Za-z])|\^\[(?:\[[0-?]{0,16}[ -/]{0,4}[@-~]|O[A-Za-z])|\^M$", re.MULTILINE
)

# Words that begin a line of a tool's output.
_WORDS = re.compile(
    r"(?:(?:INFO|WARNING): )?(?:\[[\w./-]{1,80}:\d{1,6}\] ?)?"
    r"(?:STARTING!$|Running benchmark for at least \d|(?:Average inference|Inference) timings in \w|"
    r"=+ BENCHMARK RESULTS =|Model initialization: |Inference \(avg\): |Session creation time cost: ?\d|"
    r"Total inference (?:requests|run time): ?\d|Total (?:iterations|run time): ?\d|Min Latency|node type, |"
    r"(?:loop_count|num_threads|powersave|gpu_device|cooling_down) = -?\d|"
    r"MNN benchmark$|Forward type: |-+> Benchmarking\.\.\. |\[ - \] \S|"
    r"Sort by (?:node name|time cost) !$|total time : \d|"
    r"Qnn Init/Prepare|(?:-{3,} )?[A-Z][\w /-]+ Stats(?: \(\w+\))?:$)"
)
_SEVERITY = re.compile(
    r"[ \t]{0,80}(?:INFO|WARN|WARNING):(?: |$)(?:\[[\w./-]{1,80}:\d{1,6}\] ?)?|"
    r"[ \t]{0,80}\[[\w./-]{1,80}\.(?:h|cc):\d{1,6}\](?: |$)"
)
_LEVELS = ("INFO: ", "WARNING: ", "WARN: ", "ERROR: ", "FATAL: ", "VERBOSE: ")


def without_escapes(text: str) -> str:
    """A text without colours, movements of the cursor and pressed keys."""
    return _ESCAPE.sub("", text) if "\x1b" in text or "^" in text else text


def without_prefixes(lines: Sequence[str]) -> list[str]:
    """As many lines as were given, each without what was put before it; those of other processes become empty."""
    found: list[Line] = []
    header: Line | None = None
    for line in lines:
        if match := _LONG.match(line) if line.lstrip().startswith("[ ") else None:
            # logcat -v long: a line of its own tells the process of those that follow.
            header = Line(_error(match["level"]), match["pid"])
            found.append(Line(""))
            continue
        one = _without_known(line)
        if header is not None:
            one = Line(one.text if one.text.startswith(_LEVELS) else header.text + one.text, header.source)
            header = Line("", header.source)
        found.append(one)
    found = [_without_known(one.text, one.source) for one in _without_common(found)]
    return without_prompts([_text(one) for one in of_the_tool(found, _WORDS)], _WORDS)


def _without_known(line: str, source: str | None = None) -> Line:
    """Without all prefixes that are known by their form."""
    text, level = line, ""
    for _ in range(_LAYERS):
        if not _MAY_BEGIN.match(text):
            break
        if match := _PROCESS.match(text):
            text = _PROCESS_TAG.sub("", text)
        else:
            match = next((match for pattern in _KNOWN if (match := pattern.match(text))), None)
        if match is None:
            break
        text = text[match.end() :]
        if "level" in match.re.groupindex:
            # Formats without a process tell programs apart by the tags that these log under.
            tag = match.groupdict().get("tag")
            source, level = match["pid"] or source or (f"tag {tag}" if tag else None), _error(match["level"])
    return Line(text if text.startswith(_LEVELS) else level + text, source)


def _without_common(lines: Sequence[Line]) -> list[Line]:
    """Without a text that stands before every line with a tool's words; its numbers and blanks may differ."""
    before = [one.text[: match.start()] for one in lines if (match := _WORDS.search(one.text, 0, 400))]
    forms = {re.sub(r"\d+", "0", re.sub(r"\s+", " ", text)) for text in before}
    form = next(iter(forms), "")
    if len(before) < 2 or len(forms) != 1 or not form or len(form) > 200:
        return list(lines)
    pattern = re.escape(form).replace("0", r"\d+").replace(r"\ ", r"\s+")
    if len(set(before)) == 1:
        # Nothing differs: not a blank of a table's first column is to be lost.
        pattern = re.escape(before[0])
    prefix, bare = re.compile(pattern), re.escape(form.rstrip()).replace("0", r"\d+").replace(r"\ ", r"\s+")
    empty = re.compile(bare + r"\s*$") if bare else None
    made = []
    for one in lines:
        if match := prefix.match(one.text):
            made.append(Line(one.text[match.end() :], one.source))
        else:
            made.append(Line("", one.source) if empty and empty.match(one.text) else one)
    return made


def _error(level: str) -> str:
    """Where logcat tells an error by its level, the tool's own word for it is not in the line."""
    return "ERROR: " if level in "EFA" else ""


def _text(line: Line) -> str:
    match = _SEVERITY.match(line.text)
    return (line.text[match.end() :] if match else line.text).rstrip(" ")
