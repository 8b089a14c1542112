"""The command line: one click command per verb, in a file of its own, loaded when it is asked for.

A verb is a line in `VERBS` and a file `subdit/cli/_VERB.py` that has a click command named `command`. Nothing here
computes: a verb reads its arguments, calls the room's function with a progress bar, and prints.
"""

from __future__ import annotations

import click

from subdit import __version__
from subdit.cli._group import LazyGroup

__all__ = ["VERBS", "group", "main"]

VERBS = {
    "demo": "Walk the whole road on handwriting, on this machine.",
    "spaces": "List the search spaces, or show one.",
    "data": "Encode your own captioned pictures for a space, or show what was encoded.",
    "train": "Train a supernet: every sub-DiT of a space in one set of weights.",
    "evaluate": "Judge sub-DiTs of a run by their samples, against real images.",
    "kit": "Export the components of a space, to be measured on a device.",
    "profile": "Measure a kit on this machine: a device profile.",
    "import": "Make a device profile from other tools' logs, or show what they say.",
    "devices": "List, show, check and compare the device profiles there are.",
    "search": "Search a run for the best sub-DiTs on a device.",
    "proxies": "Measure how well each quality proxy ranks sub-DiTs.",
    "report": "Write a search's report: HTML, PNG, CSV, Markdown.",
    "distill": "Distill a pick to a few steps.",
    "export": "Export a pick for a runtime.",
    "sample": "Draw images with a checkpoint or an exported model.",
}
"""Each verb and what it does, in the order of `subdit --help`; here, so that the help loads no verb."""


@click.group(cls=LazyGroup, verbs=VERBS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="subdit")
def group() -> None:
    """Find, for each phone, the best diffusion transformer that fits it.

    \b
    Begin with
        subdit demo --quick        the whole road, with the smallest budgets
        subdit demo                the same, long enough to judge the results by
    """


def main() -> None:
    """Entry point of the console script `subdit`."""
    group(prog_name="subdit")
