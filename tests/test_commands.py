"""Every command, option and extra that subdit names, in help, messages and documents, is one that the command line has.

They are found in the source, so a new one cannot be forgotten. What a finished run's report and the demo print is run,
in tests/test_road.py.
"""

from __future__ import annotations

import ast
import configparser
import re
import shlex
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from subdit.cli import VERBS
from subdit.cli import group
from subdit.space import get_space
from subdit.space import space_names
from supernet.data.minilm import load_minilm
from supernet.data.text import digit_words

ROOT = Path(__file__).parents[1]
ROOMS = ("subdit", "supernet", "device_profiles", "profilers", "nas", "reports")
SOURCES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
TEMPLATES = sorted((ROOT / "reports" / "templates").glob("*")) + sorted((ROOT / "profilers").glob("browser/page/*"))
DOCUMENTS = sorted(path for path in ROOT.rglob("*.md") if ".venv" not in path.parts and "tests" not in path.parts)
# npm's options, and names of colours in the page's style.
FOREIGN = {"--pack-destination", "--ignore-scripts", "--silent", "--faint", "--ink", "--paper", "--rule"}
# LiteRT-CLI's.
FOREIGN |= {"--num-runs", "--warmup-runs", "--warmup-min-secs", "--min-secs", "--max-secs"}
# Of the program that AI Hub's client is run by.
FOREIGN |= {"--job", "--options"}
# torchrun's.
FOREIGN |= {"--nproc-per-node", "--shutdown-timeout"}


def texts(path: Path) -> Iterator[str]:
    """What a file says: the strings of a module, f-strings with 1 in every place, or the whole of another file."""
    if path.suffix != ".py":
        yield path.read_text(encoding="utf-8")
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    parts = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in ast.walk(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "1" for part in node.values)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in parts:
            yield node.value


def commands(text: str) -> Iterator[str]:
    """The commands in a text: quoted, or to the end of a line or of its part before two spaces."""
    for inner in re.findall(r"(?<!\w)'(subdit [^']*)'", text):
        yield " ".join(inner.split())
    for line in re.findall(r"(?:^|: )\s*(?:\.venv/bin/)?(subdit [a-z].*)$", text, flags=re.MULTILINE):
        if line.split()[1].rstrip(",.;:") in VERBS:
            yield re.split(r"\s{2,}|\s#| &$", line)[0]


def mentions(text: str) -> Iterator[str]:
    """What stands in backticks, which may leave out what is not spoken of."""
    for inner in re.findall(r"`(subdit [^`]*)`", text):
        yield " ".join(inner.split())


def problem(command: str) -> str:
    """What the command line says against a command, without running it; a verb alone is the verb's name."""
    found: click.Command = group
    context = click.Context(group, info_name="subdit")
    try:
        arguments = shlex.split(command)[1:]
        while isinstance(found, click.Group) and arguments and not arguments[0].startswith("-"):
            below = found.get_command(context, arguments[0])
            if below is None:
                return f"there is no verb {arguments[0]}"
            found = below
            context = click.Context(found, info_name=arguments.pop(0), parent=context)
        if arguments:
            found.make_context(context.info_name, arguments, parent=context.parent)
    except click.exceptions.Exit:  # --help, --version
        return ""
    except (click.ClickException, ValueError) as error:
        return error.format_message() if isinstance(error, click.ClickException) else str(error)
    return ""


def named(find: Callable[[str], Iterator[str]]) -> list[tuple[str, str]]:
    """Every file with what is found in its texts."""
    files = [*SOURCES, *TEMPLATES, *DOCUMENTS]
    found = {(str(path.relative_to(ROOT)), one) for path in files for text in texts(path) for one in find(text)}
    return sorted(found)


NAMED, MENTIONED = named(commands), named(mentions)


def test_the_search_for_commands_finds_them() -> None:
    assert {command.split()[1] for _, command in NAMED} == set(VERBS)
    assert len(MENTIONED) > 30
    files = {file for file, _ in NAMED}
    assert {"README.md", "subdit/core/run.py", "profilers/measuring/kit_selection.py"} <= files
    assert {"subdit/cli/_demo.py", "subdit/cli/_sample.py"} <= files
    assert list(commands("make one with 'subdit kit 1 --whole 1'.")) == ["subdit kit 1 --whole 1"]
    assert list(commands("`subdit` finds.\n    subdit kit digits  # a kit\n")) == ["subdit kit digits"]


def test_what_cannot_be_run_is_told_from_what_can() -> None:
    assert problem("subdit spaces show digits") == problem("subdit spaces") == problem("subdit kit") == ""
    for wrong in (
        "subdit draw X",
        "subdit spaces draw",
        "subdit search X --resume",
        "subdit search X --device D --max-latency-ms MS",
        "subdit sample X --prompts a",
        "subdit kit digits --whole N",
        "subdit sample X --prompt 'a",
    ):
        assert problem(wrong), wrong


@pytest.mark.parametrize(("file", "command"), NAMED)
def test_a_command_that_is_named_is_one_that_the_command_line_takes(file: str, command: str) -> None:
    assert problem(command) == "", file


@pytest.mark.parametrize(("file", "command"), MENTIONED)
def test_a_verb_that_is_mentioned_has_the_options_that_are(file: str, command: str) -> None:
    verb, *arguments = command.split()[1:]
    if verb.startswith("-"):
        assert verb in options(group)
        return
    found = group.get_command(click.Context(group), verb)
    assert found is not None, file
    assert {word for word in arguments if word.startswith("--")} <= options(found), file


def options(command: click.Command) -> set[str]:
    """Of a command and all below it."""
    given = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    own = {name for option in given for name in (*option.opts, *option.secondary_opts)}
    context = click.Context(command)
    below = command.list_commands(context) if isinstance(command, click.Group) else []
    return own.union({"--help", "--version"}, *(options(command.get_command(context, name)) for name in below))  # type: ignore[union-attr, arg-type]


def test_every_option_that_a_message_names_exists() -> None:
    known, unknown = options(group) | FOREIGN, []
    for path in SOURCES:
        for text in texts(path):
            named = set(re.findall(r"(?<![\w\-=\[<(])--[a-z][a-z0-9-]+(?![\w=])", text))
            unknown += [f"{path.relative_to(ROOT)}: {option}" for option in sorted(named - known)]
    assert unknown == []


def test_every_extra_that_a_message_names_exists() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    named = {
        extra.strip()
        for path in [*SOURCES, *DOCUMENTS]
        for text in texts(path)
        for extras in re.findall(r"subdit\[([a-z, ]+)\]", text)
        for extra in extras.split(",")
    }
    assert len(named) > 5 and named <= set(parser["options.extras_require"])


@pytest.mark.parametrize("name", space_names())
def test_the_example_prompt_of_a_space_is_one_that_its_text_encoders_read(name: str) -> None:
    space = get_space(name)
    for text in space.text_inputs:
        encoder = load_minilm(text, device="cpu") if name.startswith("emoji") else digit_words(text)
        tokens, nothing = encoder.encode([space.example_prompt, ""]).embeddings
        assert (tokens != nothing).any() and not encoder.truncated([space.example_prompt]).any()
