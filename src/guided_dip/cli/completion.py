"""``guided-dip completion``: what a shell needs to complete the commands."""

from __future__ import annotations

from typing import Annotated

import typer

from guided_dip.cli.console import give


def completion(
    context: typer.Context,
    shell: Annotated[str, typer.Argument(metavar="SHELL", help="bash, fish or zsh.")],
) -> None:
    """Print a script by which a shell completes commands, options and their values."""
    from guided_dip.cli.described import describe
    from guided_dip.cli.shells import SHELLS
    from guided_dip.errors import InputError, choices

    if shell not in SHELLS:
        raise InputError(f"no script for '{shell}': {choices(shell, SHELLS)}")
    give(SHELLS[shell](describe(context.find_root().command)).rstrip("\n"))
