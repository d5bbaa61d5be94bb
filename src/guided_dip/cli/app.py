"""The application: its commands, and what becomes of every way in which one can fail."""

from __future__ import annotations

import difflib
import errno
import io
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterable, Sequence
from typing import Annotated, Any, NoReturn

import typer

from guided_dip.cli.ablate import ablate
from guided_dip.cli.batch import batch
from guided_dip.cli.bench_engine import bench_engine
from guided_dip.cli.benchmark import benchmark
from guided_dip.cli.completion import completion
from guided_dip.cli.console import give, tell
from guided_dip.cli.diffuse import diffuse
from guided_dip.cli.info import info
from guided_dip.cli.plan import plan
from guided_dip.cli.reproduce import reproduce
from guided_dip.cli.restore import restore
from guided_dip.cli.web import web
from guided_dip.errors import (
    NOT_ENOUGH_MEMORY,
    InputError,
    InterruptionError,
    RunError,
    instead,
    quoted,
    reason_of,
)
from guided_dip.words import one_line

NAME = "guided-dip"
TERMINATED = 128 + signal.SIGTERM

app = typer.Typer(add_completion=False, rich_markup_mode=None)
for command in (
    restore,
    web,
    plan,
    diffuse,
    reproduce,
    ablate,
    benchmark,
    bench_engine,
    info,
    completion,
):
    app.command()(command)
app.add_typer(batch, name="batch", help="Restore many pictures, and skip what is done.")


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Restore one noisy image with no training data and no stopping point."""
    if version:
        from guided_dip import __version__

        give(f"{NAME} {__version__}")
    elif context.invoked_subcommand is None:
        give(context.get_help())


def main() -> None:
    """Run the command line and exit with its code: the entry point."""
    signal.signal(signal.SIGTERM, _terminate)
    # What other libraries remark is for developers, and would break up the output.
    logging.getLogger().addHandler(logging.NullHandler())
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a file's name can hold anything
    sys.exit(run(sys.argv[1:]))


def _terminate(*_: object) -> NoReturn:
    raise SystemExit(TERMINATED)


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code.

    Parameters
    ----------
    arguments
        Without the program's name.

    Returns
    -------
    int
        0 done, 1 the run failed, 2 bad usage or input, 130 interrupted, 143 terminated.
    """
    try:
        with typer.main.get_command(app).make_context(NAME, list(arguments)) as context:
            context.command.invoke(context)
    except typer.Exit as stop:
        return stop.exit_code
    except InterruptionError as error:
        return _failed(str(error), 128 + error.signal)
    except KeyboardInterrupt:
        return _failed("interrupted", 130)
    except SystemExit:
        return _failed("terminated", TERMINATED)
    except InputError as error:
        return _failed(f"error: {error}", 2)
    except RunError as error:
        return _failed(f"error: {error}", 1)
    except Exception as error:
        if hasattr(error, "format_message"):  # the parser's own errors, whichever it vendors
            return _failed(f"error: {_usage(error, arguments)}", 2)
        return _failed(f"error: {_unexpected(error)}", 1)
    return 0


def _failed(message: str, code: int) -> int:
    if os.environ.get("GUIDED_DIP_DEBUG"):
        traceback.print_exc()
    tell(f"{NAME}: {one_line(message)}")
    return code


def _usage(error: Any, arguments: Sequence[str]) -> str:
    """Say what is wrong with the arguments, with the nearest option named."""
    message = error.format_message()
    context = error.ctx
    # Of pydantic, which the parser asks.
    found: list[Any] = getattr(error.__cause__, "errors", list)()
    if found and getattr(error, "param", None) is not None:
        option = error.param.opts[0]
        message = f"{option} cannot be {quoted(found[0]['input'])}: {instead(found[0])}"
    if hasattr(error, "possibilities") and context is not None:
        wrong = error.option_name
        known = [name for option in context.command.params for name in option.opts]
        message = f"no such option: {wrong}{_nearest(wrong, known)}"
    where = f"{NAME}{_command(arguments)}" if context is None else context.command_path
    message = message[0].lower() + message[1:].rstrip(".")
    return f"{message}; see {where} --help"


def _command(arguments: Sequence[str]) -> str:
    """Return the command that was meant, as far as it can be told."""
    known: dict[str, Any] = getattr(typer.main.get_command(app), "commands", {})
    return f" {arguments[0]}" if arguments and arguments[0] in known else ""


def _nearest(wrong: str, known: Iterable[str]) -> str:
    options = [name for name in known if name.startswith("-")]
    begun = [name for name in options if name.startswith(wrong) and len(wrong) > 2]
    near = begun or difflib.get_close_matches(wrong, options, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _unexpected(error: Exception) -> str:
    message = reason_of(error)
    if message == NOT_ENOUGH_MEMORY:
        return message
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"cannot be written ({error.strerror}): try making room, or another disk"
    return f"{message} (set GUIDED_DIP_DEBUG=1 for the traceback)"
