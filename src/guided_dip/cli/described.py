"""What the commands are, as plain data: for shells that complete them, and for the manual page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

FILES = frozenset(
    {"FILE", "DIR", "DATASET_DIR", "OUT", "OUTDIR", "IN", "IMAGE", "INPUT", "KERNEL", "FOLDER"}
)
# What an option's value is one of. A test holds these to the settings, which take long to load.
VALUES: dict[str, tuple[str, ...]] = {
    "--backbone": ("normfree", "skip", "unet", "segnet", "deep-decoder"),
    "--device": ("auto", "cpu", "cuda", "mps"),
    "--effort": ("fast", "balanced", "best"),
    "--executor": ("local", "ray", "slurm"),
    "--format": ("png", "tif", "jpg", "webp", "bmp", "fits"),
    "--noise": ("auto", "none", "gaussian:", "poisson:", "poisson-gaussian:"),
    "--noise-convention": ("offset", "centred", "unbiased"),
    "--precision": ("auto", "float32", "bfloat16"),
    "--preset": ("report", "author"),
    "--schedule": ("cosine", "linear", "sigmoid"),
    "--stopping": ("none", "es-wmv", "es-emv"),
    "--supervision": (
        "recorrupted-guides",
        "observation-guides",
        "observation",
        "clean-guides",
    ),
    "--task": ("denoise", "inpaint", "super-resolve", "deblur", "dejpeg", "degain"),
}


@dataclass(frozen=True)
class Option:
    """An option of a command.

    Attributes
    ----------
    names
        As they are written, such as ``--output`` and ``-o``.
    metavar
        What its value is; None for a switch.
    help
        What it does.
    values
        What its value is one of; empty where it is not of a list.
    """

    names: tuple[str, ...]
    metavar: str | None
    help: str
    values: tuple[str, ...] = ()

    @property
    def is_file(self) -> bool:
        """Whether its value names a file or a folder."""
        return self.metavar in FILES


@dataclass(frozen=True)
class Command:
    """A command.

    Attributes
    ----------
    words
        By which it is called, without the program's name.
    help
        What it does.
    arguments
        Names and descriptions of its arguments.
    options
        Its options.
    commands
        Its sub-commands.
    usual
        Its sub-command that is meant where none is named; empty for none.
    """

    words: tuple[str, ...]
    help: str
    arguments: tuple[tuple[str, str], ...]
    options: tuple[Option, ...]
    commands: tuple[Command, ...] = ()
    usual: str = ""

    def walk(self) -> Iterator[Command]:
        """Yield this command and those below it."""
        yield self
        for command in self.commands:
            yield from command.walk()


HELP = Option(("--help",), None, "Show the options and exit.")


def describe(command: Any, words: tuple[str, ...] = ()) -> Command:
    """Describe a command and all below it.

    Parameters
    ----------
    command
        Of the parser.
    words
        By which it is called.
    """
    below = getattr(command, "commands", {})
    shown = [parameter for parameter in command.params if not parameter.hidden]
    return Command(
        words,
        plain(command.help),
        tuple(
            (each.metavar or each.name.upper(), plain(each.help))
            for each in shown
            if each.param_type_name == "argument"
        ),
        (*(_option(each) for each in shown if each.param_type_name == "option"), HELP),
        tuple(describe(each, (*words, name)) for name, each in below.items()),
        getattr(command, "usual", ""),
    )


def _option(option: Any) -> Option:
    names = (*option.opts, *option.secondary_opts)
    values = next((VALUES[name] for name in names if name in VALUES), ())
    metavar = None if option.is_flag else option.metavar or option.name.upper()
    if metavar == "LIST":
        values = ()
    return Option(names, metavar, plain(option.help), values)


def plain(text: str | None) -> str:
    """Return a help text on one line."""
    return " ".join((text or "").split())
