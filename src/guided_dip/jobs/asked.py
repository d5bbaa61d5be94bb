"""What is asked for in the words of the command line, from wherever it comes, made a config."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from guided_dip.jobs.beside import kernel_of, task_of

if TYPE_CHECKING:
    from guided_dip.config import Config


def of_the_task(
    task: str | None,
    *,
    mask: Path | None = None,
    scale: int | None = None,
    kernel: str | None = None,
    gain: Path | None = None,
) -> dict[str, Any]:
    """Return the settings that say what is to be undone; None where nothing was said.

    Parameters
    ----------
    task
        Its name, if it was given; else it is what the others are for.
    mask, gain
        Files, if there are any.
    scale
        How many times as large the picture is to become.
    kernel
        A blur's name, or its file.
    """
    given = {"inpaint": mask, "super-resolve": scale, "deblur": kernel, "degain": gain}
    return {"task": task_of(task, given), "enlarge": scale, "kernel": kernel_of(kernel)[0]}


def settings_of(
    options: Mapping[str, Any],
    others: Mapping[str, Any],
    *,
    preset: str | None = None,
    file: Path | None = None,
) -> Config:
    """Join what was said about the settings, and validate it: preset, file, options, others.

    Parameters
    ----------
    options
        Settings that have an option of their own; None where it was not given.
    others
        Settings by their names, which go before all.
    preset
        The report's experiment to begin with, ``report`` or ``author``.
    file
        A config file; only the settings it names count.

    Raises
    ------
    InputError
        If a name or a value is not allowed.
    """
    from guided_dip.config import load, make_config

    if preset is not None:
        _check_preset(preset, options.get("effort"))
    values: dict[str, Any] = {}
    if file is not None:
        values |= load(file).model_dump(exclude_unset=True)
    values |= {key: value for key, value in options.items() if value is not None}
    return make_config(values | dict(others), preset=preset)


def assigned(assignments: Iterable[str], where: str) -> dict[str, Any]:
    """Return settings by name, the values as YAML has them.

    Parameters
    ----------
    assignments
        ``KEY=VALUE`` each.
    where
        What they stand in, for people: an option's name, or a field's.

    Raises
    ------
    InputError
        If one has no ``=``, or its value is no YAML.
    """
    import yaml

    from guided_dip.errors import InputError, quoted

    settings: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise InputError(f"{where}: there is no '=' in {quoted(assignment)}; try count=3")
        try:
            settings[key.strip()] = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError):  # such as of a day that is none
            raise InputError(f"{where}: {quoted(text)} is no value; try quoting it") from None
    return settings


def check_joint(image: Path | str, page: int | None, pages: int | None) -> None:
    """Refuse --joint where there are no pages to restore together.

    Parameters
    ----------
    image
        The picture's file.
    page
        The only one that is wanted, if it is only one.
    pages
        How many there are; None if nobody knows.

    Raises
    ------
    InputError
        If there are none.
    """
    from guided_dip.errors import InputError

    if page is not None:
        raise InputError(f"--joint: is for all pages, not for page {page}; leave one of them out")
    if pages == 1:
        raise InputError(f"--joint: {image} has one page; leave it out")


def _check_preset(preset: str, effort: str | None) -> None:
    from guided_dip.config import EFFORTS, PRESETS
    from guided_dip.errors import InputError, choices

    presets = [name for name in PRESETS if name not in EFFORTS]
    if preset not in presets:
        raise InputError(f"unknown preset '{preset}': {choices(preset, presets)}")
    if effort is not None:
        raise InputError("--effort and --preset are both given: try one of the two")
