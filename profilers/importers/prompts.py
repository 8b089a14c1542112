"""The shell's prompts, and the commands after them, in a log that was copied from a terminal."""

from __future__ import annotations

import re
from collections.abc import Sequence

_PLACE = r"[A-Za-z_][\w.-]{0,60}:[~/]\S{0,200} ?[$#]"
_PROMPT = re.compile(
    # adb shell, with the exit status of the command before; bash; zsh.
    rf"\s{{0,8}}(?:\d{{1,3}}\|)?(?:[A-Za-z_][\w.-]{{0,60}}@)?{_PLACE}(?: |$)"
    r"|\s{0,8}\[[\w.-]{1,60}@[\w.-]{1,60} [^\]]{0,200}\][$#](?: |$)"
    r"|\s{0,8}[\w.-]{1,60}@[\w.-]{1,60} \S{1,200} %(?: |$)"
    # PowerShell and the command line of Windows.
    r"|\s{0,8}(?:PS )?[A-Z]:\\[^<>|?*]{0,200}>\s?"
    r"|\s{0,8}\$ (?=\S)"
)
# A tool that ends without a line break leaves the next prompt on its last line.
_GLUED = re.compile(
    # An exit status behind a digit cannot be told from it, and stays.
    rf"(?:(?<=[^\s\d])\d{{1,3}}\||(?<=\S))(?:[A-Za-z_][\w.-]{{0,60}}@)?{_PLACE} ?$"
    r"|(?<=\S)(?:PS )?[A-Z]:\\[^<>|?*]{0,200}> ?$"
)
# Programs that show a file, or run another; and whatever is named by its path, with settings before it.
_COMMAND = re.compile(
    r"(?:[A-Z_]{1,40}=\S{0,200} +){0,5}(?:[.~]?/\S|\.\\\S|"
    r"(?:adb|bash|cat|cd|cp|echo|env|export|head|less|ls|more|nano|nohup|python3?|sh|su|sudo|tail|taskset|time|type|vi|vim)"
    r"(?: |$))"
)


def without_prompts(lines: Sequence[str], words: re.Pattern[str]) -> list[str]:
    """As many lines, each without prompts; commands become empty, what begins with a tool's words does not."""
    return [
        _without_prompt(line, words) if line.rstrip()[-1:] in "$#>" or _PROMPT.match(line) else line for line in lines
    ]


def ends_in_prompt(line: str) -> bool:
    """Whether a shell waits at the end of a line, so that the tool had ended."""
    return _PROMPT.fullmatch(line) is not None or _GLUED.search(line) is not None


def _without_prompt(line: str, words: re.Pattern[str]) -> str:
    text = line
    while match := _PROMPT.match(text):
        text = text[match.end() :]
        if not words.match(text) and _COMMAND.match(text):
            return ""
    return _GLUED.sub("", text)
