"""From options to a config: preset < config file < options < --set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guided_dip.config import Config


def make_settings(
    options: Mapping[str, Any],
    *,
    preset: str | None,
    file: Path | None,
    assignments: Sequence[str],
) -> Config:
    """Join what was said about the settings, and validate it.

    Parameters
    ----------
    options
        Settings that have an option of their own; None where it was not given.
    preset
        The report's experiment to begin with, ``report`` or ``author``.
    file
        A config file; only the settings it names count.
    assignments
        ``key=value`` each, the value as YAML has it.

    Raises
    ------
    InputError
        If a name or a value is not allowed.
    """
    from guided_dip.jobs.asked import assigned, settings_of

    return settings_of(options, assigned(assignments, "--set"), preset=preset, file=file)
