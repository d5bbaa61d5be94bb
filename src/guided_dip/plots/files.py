"""From figures to files."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from guided_dip.errors import InputError, choices
from guided_dip.files import check_place, write_whole
from guided_dip.plots.charts import curves
from guided_dip.plots.pictures import comparison, diagnosis, process
from guided_dip.runs import SavedRun, load_run
from guided_dip.runs.layout import COMPARISON, CURVES, DIAGNOSIS, PROCESS

DPI = 150
LONGEST_NAME = 40  # letters, in a title
# What the formats would otherwise have of the day and the version, by suffix.
_METADATA = {".png": "Software", ".pdf": "CreationDate", ".svg": "Date"}


def check_figure_file(path: Path, *, overwrite: bool = False) -> None:
    """Find out whether `save` can write a figure there.

    Parameters
    ----------
    path
        A .png, .pdf or .svg file.
    overwrite
        Replacing a file is allowed.

    Raises
    ------
    InputError
        If the suffix is another, the folder is missing or read-only, or the file exists.
    """
    if path.suffix.lower() not in _METADATA:
        hint = choices(path.suffix, _METADATA)
        raise InputError(f"{path}: a figure's file cannot end in '{path.suffix}': {hint}")
    check_place(path, overwrite=overwrite)


def save(figure: Figure, path: Path) -> None:
    """Write a figure, whole or not at all, replacing a file that is there.

    Parameters
    ----------
    figure
        What to write.
    path
        A .png, .pdf or .svg file.

    Raises
    ------
    RunError
        If it cannot be written.
    """
    suffix = path.suffix.lower()
    data = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "guided-dip"}):
        figure.savefig(data, format=suffix[1:], dpi=DPI, metadata={_METADATA[suffix]: None})
    write_whole(path, data.getvalue())


def redraw(folder: Path) -> tuple[Path, ...]:
    """Draw the figures of a run folder from what is saved there.

    Parameters
    ----------
    folder
        A finished run.

    Returns
    -------
    tuple of Path
        The files that were written.

    Raises
    ------
    InputError
        If it is not the folder of a finished run, or damaged.
    """
    run = load_run(folder)
    drawings: dict[str, Callable[[SavedRun], Figure]] = {COMPARISON: _comparison}
    if run.records:
        drawings[CURVES] = _curves
    if run.summary.snapshots:
        drawings[PROCESS] = _process
    if run.residual is not None:
        drawings[DIAGNOSIS] = _diagnosis
    for name, draw in drawings.items():
        save(draw(run), folder / name)
    return tuple(folder / name for name in drawings)


def _title(run: SavedRun) -> str:
    what = [run.summary.supervision, run.summary.backbone]
    pages = run.config.pages
    if pages > 1:
        what.append(f"page {pages // 2 + 1} of {pages}, scores of all")
    if run.summary.oracle:
        what.append("oracle: its guides are drawn from the clean image")
    name = run.summary.source.name
    if len(name) > LONGEST_NAME:
        name = f"{name[: LONGEST_NAME // 2]}\N{HORIZONTAL ELLIPSIS}{name[-LONGEST_NAME // 2 :]}"
    return f"{name} ({', '.join(what)})"


def _curves(run: SavedRun) -> Figure:
    return curves(run.records, run.summary.plan, title=_title(run))


def _process(run: SavedRun) -> Figure:
    made = zip(run.summary.snapshots, run.snapshots, strict=True)
    return process([(shot.step, pixels, shot.psnr) for shot, pixels in made], title=_title(run))


def _comparison(run: SavedRun) -> Figure:
    clean = run.clean
    return comparison(
        _page(run, run.input),
        _page(run, run.restored),
        None if clean is None else _page(run, clean),
        scores_before=run.summary.scores_before,
        scores=run.summary.scores,
        title=_title(run),
    )


def _diagnosis(run: SavedRun) -> Figure:
    residual = run.residual
    assert residual is not None, "it is drawn only where there is one"
    spread = run.spread
    spread = None if spread is None else _page(run, spread)
    return diagnosis(_page(run, residual), spread, title=_title(run))


def _page(run: SavedRun, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the middle one of the pages that lie below one another in a picture."""
    pages = run.config.pages
    return pixels if pages == 1 else np.split(pixels, pages)[pages // 2]
