"""Write docs/guided-dip.1, the manual page, from the commands themselves.

python docs/make_man.py
"""

from pathlib import Path

import typer.main

from guided_dip.cli.app import app
from guided_dip.cli.described import Command, Option, describe

PAGE = Path(__file__).with_name("guided-dip.1")
HEAD = r"""
.\" Written by docs/make_man.py from the program itself.
.TH GUIDED\-DIP 1 "" "Guided\-DIP" "User Commands"
.SH NAME
guided\-dip \- restore one degraded image with no training data and no stopping point
""".strip()
DESCRIPTION = (
    "An untrained convolutional network (Deep Image Prior) is fitted to one degraded picture, "
    "guided by the forward process of diffusion models from most to least noisy. Nothing is "
    "downloaded, nothing has to be trained, and simply running to the end gives a good picture.",
    "The result has the size, the type and the metadata of what it was made from. It appears "
    "whole or not at all, and what exists is replaced only if that is asked for.",
)
EXITS = (
    ("0", "The result is there."),
    ("1", "The run failed on the way."),
    ("2", "Bad usage or input."),
    ("130, 143", "Interrupted by Ctrl\u2010C or SIGTERM; what is needed to go on was kept."),
)
ENVIRONMENT = (
    ("GUIDED_DIP_DEBUG", "If set, errors are shown with their traceback."),
    ("RAY_ADDRESS", "Of the Ray cluster that guided-dip batch uses."),
)
EXAMPLES = (
    ("guided-dip restore noisy.png -o restored.png", "The noise is estimated from the picture."),
    (
        "guided-dip restore scratched.png --mask mask.png -o whole.png",
        "Fill in what is white in the mask.",
    ),
    ("guided-dip batch frames/ -o restored/", "Restore a folder, skipping what is done."),
)


def roff(text: str) -> str:
    """Return a text as roff has it."""
    escaped = text.replace("\\", r"\e").replace("-", r"\-").replace("\u2010", "-")
    escaped = escaped.replace("'", r"\(aq").replace("^", r"\(ha").replace("~", r"\(ti")
    return r"\&" + escaped if escaped.startswith(".") else escaped


def listed(term: str, text: str) -> list[str]:
    """Return an entry of a list; the term is roff already."""
    return [".TP", term, *([roff(text)] if text else [])]


def option(one: Option) -> list[str]:
    """Return an option's entry."""
    value = "" if one.metavar is None else rf" \fI{roff(one.metavar)}\fR"
    names = ", ".join(rf"\fB{roff(name)}\fR{value}" for name in one.names)
    return listed(names, one.help)


def command(one: Command) -> list[str]:
    """Return what is said of a command."""
    name = " ".join(("guided-dip", *one.words))
    synopsis = [name, "[OPTIONS]", *(metavar for metavar, _ in one.arguments)]
    synopsis += ["COMMAND"] if one.commands else []
    lines = [f".SS {roff(name)}", rf"\fB{roff(' '.join(synopsis))}\fR", ".PP", roff(one.help)]
    for metavar, text in one.arguments:
        lines += listed(rf"\fI{roff(metavar)}\fR", text)
    for each in one.options:
        lines += option(each)
    return lines


def page() -> str:
    """Return the whole page."""
    root = describe(typer.main.get_command(app))
    lines = [HEAD, ".SH SYNOPSIS", r"\fBguided\-dip\fR \fICOMMAND\fR [\fIOPTIONS\fR]"]
    lines += [".SH DESCRIPTION", roff(DESCRIPTION[0]), ".PP", roff(DESCRIPTION[1])]
    lines += [".SH OPTIONS"]
    for one in root.options:
        lines += option(one)
    lines += [".SH COMMANDS"]
    for each in root.walk():
        if each.words:
            lines += command(each)
    for head, entries in (("EXIT STATUS", EXITS), ("ENVIRONMENT", ENVIRONMENT)):
        lines += [f".SH {head}"]
        for term, text in entries:
            lines += listed(rf"\fB{roff(term)}\fR", text)
    lines += [".SH EXAMPLES"]
    for line, text in EXAMPLES:
        lines += listed(rf"\fB{roff(line)}\fR", text)
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
