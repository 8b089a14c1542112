"""The house rules: who imports whom, what stays unloaded, and that what is declared is there."""

from __future__ import annotations

import configparser
import dataclasses
import re
import shutil
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import grimp
import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement

import subdit
from subdit.cli import VERBS
from subdit.cli import group

ROOT = Path(__file__).parents[1]
ROOMS = ("subdit", "supernet", "subdit.space", "subdit.results", "device_profiles", "profilers", "nas", "subdit.cli")
ROOMS += ("profilers.runtimes", "profilers.kits", "profilers.measuring.profile")
ROOMS += ("profilers.importers", "profilers.adb", "profilers.browser", "profilers.rented")
HEAVY = ("torch", "pandas", "matplotlib", "optuna", "onnx", "onnxruntime", "onnxscript", "sklearn", "scipy", "peft")
HEAVY += ("aiohttp", "diffusers", "transformers", "jinja2", "rich", "jsonschema")


def loaded_after(code: str, among: tuple[str, ...] = HEAVY) -> set[str]:
    """Which heavy packages a fresh interpreter has loaded after running `code`."""
    ask = f"{code}\nimport sys\nprint('LOADED', *[name for name in {among!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True, cwd=ROOT)
    return set(ran.stdout.splitlines()[-1].split()[1:])


def loaded_by(*commands: list[str], among: tuple[str, ...] = HEAVY) -> set[str]:
    """As `loaded_after`, of command lines one after the other in one interpreter."""
    calls = "\n".join(f"group({command!r}, standalone_mode=False)" for command in commands)
    return loaded_after(f"from subdit.cli import group\n{calls}", among)


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_loads_nothing_heavy(room: str) -> None:
    assert loaded_after(f"import {room}") == set()


SUBVERBS = [["spaces", "list"], ["spaces", "show"]]
SUBVERBS += [["devices", name] for name in ("list", "show", "check", "compare")]
SUBVERBS += [["data", name] for name in ("encode", "show", "train-vae")]
PROFILE = "device_profiles/shipped/linux-amd-epyc--litert--int8--t1--mobile-1k.json"
# What only looks; each answers at once, since it loads nothing that takes long to load.
READ_ONLY = [
    ["spaces"],
    ["spaces", "list", "--json"],
    ["spaces", "show", "digits"],
    ["spaces", "show", "mobile-1k", "--point", "full", "--json"],
    ["devices"],
    ["devices", "list", "--space", "digits", "--json"],
    ["devices", "show", PROFILE, "--components"],
    ["devices", "check", PROFILE],
    ["devices", "compare", PROFILE, PROFILE],
    ["import", "tests/golden/onnxruntime_profile.json", "--show"],
    ["import", "tests/golden/aihub_perf.yaml", "--show", "--json"],
]


def may_load(command: list[str]) -> set[str]:
    """Of what takes long to load: the schema's validator to read a profile, scipy for statistics of one."""
    if command[:2] in (["devices", "check"], ["devices", "compare"]):
        return {"jsonschema", "scipy"}
    return {"jsonschema"} if command[0] == "devices" else set()


def test_no_help_loads_anything_heavy() -> None:
    helps = [["--help"], *([verb, "--help"] for verb in VERBS), *([*subverb, "--help"] for subverb in SUBVERBS)]
    assert loaded_by(*helps, among=(*HEAVY, "numpy", "yaml")) == set()


@pytest.mark.parametrize("command", READ_ONLY, ids=" ".join)
def test_a_verb_that_only_looks_loads_little(command: list[str]) -> None:
    assert loaded_by(command) <= may_load(command)


def test_reports_and_device_profiles_load_no_torch() -> None:
    assert loaded_after("import device_profiles, reports") <= {"jinja2", "matplotlib"}


def test_import_contracts_hold() -> None:
    ran = lint_imports(ROOT)
    assert ran.returncode == 0, ran.stdout


def test_import_contracts_catch_an_import_upward(tmp_path: Path) -> None:
    for room in ("subdit", "supernet", "device_profiles", "profilers", "nas", "reports", "tests"):
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with (tmp_path / "device_profiles" / "_profile.py").open("a") as file:
        file.write("\nimport subdit.cli\n")
    ran = lint_imports(tmp_path)
    assert ran.returncode == 1
    assert "device_profiles is not allowed to import subdit.cli" in ran.stdout


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.path.insert(0, '.'); from importlinter.cli import lint_imports_command as run; run()"
    command = [sys.executable, "-c", code, "--no-cache", "--config", "pyproject.toml"]
    return subprocess.run(command, capture_output=True, text=True, cwd=root)


def test_every_module_stands_on_a_floor() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    layers = [name for line in config["contracts"][0]["layers"] for name in re.split(r" [:|] ", line)]
    graph = grimp.build_graph(*config["root_packages"], cache_dir=None)
    # The facade imports nothing at once but the version.
    modules = graph.modules - {"subdit", "subdit.__main__"}
    assert {module for module in modules if not any(f"{module}.".startswith(f"{name}.") for name in layers)} == set()
    assert graph.find_modules_directly_imported_by("subdit") == {"subdit.core.version"}


# A verb whose name is a keyword of Python has a function of another name.
FUNCTIONS = {verb: {"import": "import_logs"}.get(verb, verb) for verb in VERBS}


def test_every_verb_has_a_function_on_the_facade() -> None:
    assert set(FUNCTIONS.values()) <= set(dir(subdit))
    configurations = {name for name in subdit.__all__ if name.endswith(("Config", "Options"))}
    assert set(subdit.__all__) - {"__version__"} - configurations == set(FUNCTIONS.values())
    assert all(dataclasses.is_dataclass(getattr(subdit, name)) for name in configurations) and len(configurations) == 5
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        subdit.nonsense  # noqa: B018


@pytest.mark.parametrize("verb", VERBS)
def test_function_of_each_verb_is_there(verb: str) -> None:
    assert callable(getattr(subdit, FUNCTIONS[verb]))


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_each_verb_has_an_example(verb: str) -> None:
    shown = CliRunner().invoke(group, [verb, "--help"])
    assert shown.exit_code == 0
    assert re.search(rf"Examples?:\n(\s+subdit .*\n)*?\s+subdit {verb}\b", shown.output)


def setup_cfg() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def test_every_room_is_packaged() -> None:
    rooms = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests"}
    included = setup_cfg()["options.packages.find"]["include"].split()
    assert {name for name in included if not name.endswith("*")} == rooms
    assert set(included) == {f"{room}{end}" for room in rooms for end in ("", ".*")}


def test_every_requirement_is_pinned_to_a_version_it_allows() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines if line and not line.startswith("#"))
    parser = setup_cfg()
    listed = [parser["options"]["install_requires"], *parser["options.extras_require"].values()]
    for text in "\n".join(listed).splitlines():
        if not text or text.startswith("#"):
            continue
        required = Requirement(text)
        if required.name != "subdit":
            assert required.specifier.contains(pins[required.name.lower().replace("_", "-")]), text


def test_installed_distribution_has_the_command() -> None:
    scripts = metadata.distribution("subdit").entry_points.select(group="console_scripts")
    assert [(script.name, script.value) for script in scripts] == [("subdit", "subdit.cli:main")]


def test_installed_distribution_names_every_runtime() -> None:
    stated = setup_cfg()["options.entry_points"]["subdit.runtimes"].strip().splitlines()
    known = metadata.entry_points(group="subdit.runtimes")
    assert {tuple(line.split(" = ")) for line in stated} <= {(point.name, point.value) for point in known}


@pytest.mark.parametrize("start", [["-m", "subdit"], ["-c", "from subdit.cli import main; main()"]])
def test_command_answers(start: list[str]) -> None:
    ran = subprocess.run([sys.executable, *start, "--version"], capture_output=True, text=True, cwd=ROOT)
    assert (ran.returncode, ran.stdout) == (0, f"subdit, version {subdit.__version__}\n")


def test_the_documents_show_the_results_that_lie_beside_the_benchmarks() -> None:
    command = [sys.executable, "benchmarks/results_page.py", "--check"]
    check = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert check.returncode == 0, check.stdout


DOCUMENTS = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
DOCUMENTS += [
    path
    for room in ("supernet", "device_profiles", "profilers", "nas", "reports", "subdit")
    for path in (ROOT / room).rglob("README.md")
    if "shipped" not in path.parts
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_that_a_document_names_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    linked = {target for target in re.findall(r"\]\(([^)#]+)", text) if "://" not in target}
    missing = [target for target in linked if not (document.parent / target).exists()]
    code = re.findall(r"`([\w./-]+(?:\.py|\.toml|\.cfg|/))`", text)
    roots = (ROOT, document.parent, ROOT / "tests")
    # Of run folders, and of any room.
    others = re.compile(r"(searches|picks|stale|timings|reports|training)/|__init__\.py$|_VERB\.py$")
    missing += [name for name in code if not others.search(name) and not any((root / name).exists() for root in roots)]
    assert not missing
