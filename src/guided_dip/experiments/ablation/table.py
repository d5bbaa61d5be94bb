"""The tidy table of an ablation: a line a run, and how its PSNR went, read from the runs once.

The page is drawn from these two files alone, so they are all that has to be kept to draw it again.
A run that is a level of several factors, as the base is, has a line for each.
"""

from __future__ import annotations

import csv
import io
import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided_dip.diffusion import coefficients, make_schedule
from guided_dip.errors import InputError
from guided_dip.experiments.ablation.line import NUMBERS, Line
from guided_dip.experiments.ablation.runs import AblationStudy, Place
from guided_dip.experiments.board import Progress, read_index
from guided_dip.experiments.rows import SAW_CLEAN, SAW_NOISY
from guided_dip.experiments.runner import kept_digest
from guided_dip.experiments.scores import numbers_of
from guided_dip.files import write_whole
from guided_dip.runs import SavedRun, load_run

TABLE, CURVES = "runs.csv", "curves.csv"
POINTS = 100  # of a curve: each the mean over as many equal parts of a run
DIGITS = 6


Curve = NDArray[np.float32]


@dataclass(frozen=True)
class Results:
    """What is known of an ablation's finished runs.

    Attributes
    ----------
    lines
        In the order of the ablation.
    curves : (POINTS,) by run's name
        PSNR, each point the mean over a hundredth of the run.
    """

    lines: tuple[Line, ...]
    curves: dict[str, Curve]


@dataclass(frozen=True)
class Reading(Progress):
    """How many runs are read, a step each."""

    name: str = "reading"


def results_in(
    study: AblationStudy, folder: Path, on_progress: Callable[[Progress], None] | None = None
) -> Results:
    """Read the results of an ablation from its runs, and save them.

    What an earlier call has read and saved is not read again, and stays where the run itself is
    gone: the two files are enough to draw the page, or to go on elsewhere.

    Parameters
    ----------
    study
        What it is.
    folder
        Of the ablation.
    on_progress
        Called before each run that is read.

    Raises
    ------
    InputError
        If there are none, or something is damaged.
    """
    runs = {name for name, entry in read_index(folder).items() if entry.state == "done"}
    saved = load(folder) if (folder / TABLE).exists() else None
    read = {} if saved is None else _known(saved)
    places = [
        (cell, place)
        for cell in study.ablation.cells
        for picture in study.pictures
        for place in _places({*runs, *read}, Place(cell.base, cell.key, picture, 0))
    ]
    if not places:
        raise InputError(f"{folder}: no run of this ablation is finished yet")
    names = dict.fromkeys(place.name for _, place in places)
    new = {}
    for name in names:
        if name in runs:
            digest = kept_digest(folder / name)
            if name not in read or read[name][0]["digest"] != digest:
                new[name] = digest
    began = time.monotonic()
    for k, (name, digest) in enumerate(new.items()):
        if on_progress is not None:
            left = (time.monotonic() - began) / k * (len(new) - k) if k else None
            on_progress(Reading(k, len(new), k, len(new), left))
        run = load_run(folder / name)
        read[name] = _numbers(run) | {"digest": digest}, curve_of(run)
    lines = tuple(
        Line(
            base=cell.base,
            factor=cell.factor,
            level=cell.level,
            picture=place.picture,
            seed=place.seed,
            run=place.name,
            settings=json.dumps(cell.changes, sort_keys=True),
            **read[place.name][0],
        )
        for cell, place in places
    )
    results = Results(lines, {name: read[name][1] for name in names})
    save(results, folder)
    return results


def known_digests(folder: Path) -> dict[str, str]:
    """Return the digests of the runs that an ablation's table has, by name.

    Parameters
    ----------
    folder
        Of the ablation.
    """
    if not (folder / TABLE).exists():
        return {}
    return {line.run: line.digest for line in load(folder).lines}


def _known(saved: Results) -> dict[str, tuple[dict[str, Any], Curve]]:
    """Return what is saved of each run."""
    own = ("digest", "saw", *NUMBERS)
    return {
        line.run: ({name: getattr(line, name) for name in own}, saved.curves[line.run])
        for line in saved.lines
    }


def _places(done: set[str], first: Place) -> Iterator[Place]:
    """Give the finished runs of a level with a picture, by seed."""
    head = first.name.removesuffix("0")
    seeds = (name.removeprefix(head) for name in done if name.startswith(head))
    for seed in sorted(int(text) for text in seeds if text.isdigit()):
        yield Place(first.base, first.level, first.picture, seed)


def _numbers(run: SavedRun) -> dict[str, Any]:
    numbers, scores = numbers_of(run), run.summary.scores
    assert numbers.restored_psnr is not None, "runs of an ablation are scored"
    guides = guides_psnr(run)
    gains = {}
    for name in ("brightness", "saturation", "green"):
        known = numbers.colours is not None and numbers.original is not None
        gains[f"{name}_gain"] = (
            getattr(numbers.colours, name) - getattr(numbers.original, name) if known else None
        )
    found = {
        "saw": SAW_CLEAN if run.summary.oracle else SAW_NOISY,
        "steps": numbers.steps,
        "psnr": numbers.restored_psnr,
        "ssim": None if scores is None else scores.ssim,
        "input_psnr": numbers.input_psnr,
        "final_psnr": numbers.final_psnr,
        "final_loss": numbers.final_loss,
        "best_psnr": numbers.best_psnr,
        "best_step": numbers.best_step,
        "best_at": (numbers.best_step + 1) / numbers.steps,
        "lost": numbers.lost,
        "trend_drop": numbers.trend_drop,
        "ceiling": numbers.ceiling,
        "guides_psnr": guides,
        "over_guides": None if guides is None else numbers.restored_psnr - guides,
        "noise_kept": noise_kept(run),
        "loss_jump": numbers.loss_jump,
        "psnr_jump": numbers.psnr_jump,
        "early_sigma": None if numbers.early_sigma is None else numbers.early_sigma * 255,
    } | gains
    return {key: _short(value) for key, value in found.items()}


def _short(value: Any) -> Any:
    """Round a number as the table has it, so that reading it back gives the same."""
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def curve_of(run: SavedRun) -> Curve:
    """Return how the PSNR of a run went: (POINTS,), each the mean over a part of its steps."""
    psnr = np.array([record.psnr for record in run.records], dtype=float)
    ends = [k * len(psnr) // POINTS for k in range(POINTS + 1)]
    parts = [psnr[start : max(start + 1, end)] for start, end in pairwise(ends)]
    return np.array([part.mean() for part in parts], np.float32).round(3)


def guides_psnr(run: SavedRun) -> float | None:
    """Return the PSNR of the best weighted mean of a run's guides, without any network.

    Guide ``t``, its known signal and shift taken out, is the clean image plus noise of ``sigma_t``.
    The mean of independent ones with weights ``1 / sigma_t**2`` has noise ``s``, where ``1 / s**2``
    is the sum of these weights: ``-20 log10(s)`` dB for a white of 1.
    """
    config = run.config
    if not config.oracle or config.guide_noise == "shared":
        return None
    schedule = make_schedule(config.schedule, lower_clip=config.lower_clip)
    times = [stage.t for stage in run.summary.plan if stage.steps and stage.t is not None]
    return 10 * math.log10(sum(1 / float(schedule.sigma[t]) ** 2 for t in times))


def noise_kept(run: SavedRun) -> float | None:
    """Return what part of the noise it was fitted to is in the restoration of a run.

    The slope of the restoration's error over the noise: that of the observation, as 8 bits show
    it, or of the last guide that was drawn from the clean image. 0 where none of it was learned, 1
    where the restoration has all of it.
    """
    clean = run.clean
    if clean is None:
        return None
    noise = _last_noise(run, clean.shape) if run.summary.oracle else run.input - clean
    power = float((noise.astype(np.float64) ** 2).sum())
    error = run.restored.astype(np.float64) - clean
    return float((error * noise).sum()) / power if power else None


def _last_noise(run: SavedRun, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """Draw the noise of a run's last guide once more."""
    import torch

    from guided_dip import seeds

    config, plan = run.config, run.summary.plan
    height, width, channels = (*shape, 1)[:3]
    last = max(k for k, stage in enumerate(plan) if stage.steps)
    like = torch.empty(1, channels, height, width)
    which = 0 if config.guide_noise == "shared" else last
    eps = seeds.normal(like, config.seed, "eps", which)[0].permute(1, 2, 0).numpy()
    schedule = make_schedule(config.schedule, lower_clip=config.lower_clip)
    level = coefficients(schedule, plan.stages[last].t or 0, config.noise_convention).noise
    return np.float32(level) * eps.reshape(shape)


def save(results: Results, folder: Path) -> None:
    """Write the two files.

    Parameters
    ----------
    results
        What they hold.
    folder
        Where they go.
    """
    write_whole(folder / TABLE, _csv([field.name for field in fields(Line)], results.lines))
    heads = ["run", *(f"{(k + 1) / POINTS:.2f}" for k in range(POINTS))]
    rows = [(name, *(f"{value:.3f}" for value in curve)) for name, curve in results.curves.items()]
    write_whole(folder / CURVES, _text([heads, *rows]))


def _csv(heads: list[str], lines: Sequence[Line]) -> str:
    return _text([heads, *(["" if v is None else v for v in astuple(line)] for line in lines)])


def _text(rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def load(folder: Path) -> Results:
    """Read the two files back.

    Parameters
    ----------
    folder
        Where they are.

    Raises
    ------
    InputError
        If they are missing or damaged.
    """
    try:
        with (folder / TABLE).open(encoding="utf-8", newline="") as file:
            lines = tuple(_line(row) for row in csv.DictReader(file))
        with (folder / CURVES).open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))[1:]
        curves = {name: np.array(values, np.float32) for name, *values in rows}
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from None
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{folder}: {TABLE} or {CURVES} is damaged; try deleting both, as they are read again "
            "from the runs"
        ) from None
    whole = all(len(curve) == POINTS for curve in curves.values())
    if not lines or not whole or any(line.run not in curves for line in lines):
        raise InputError(f"{folder}: {TABLE} and {CURVES} do not belong together")
    return Results(lines, curves)


def _line(row: dict[str, str]) -> Line:
    values: dict[str, Any] = {}
    for field in fields(Line):
        text, kind = row[field.name], str(field.type)
        if kind == "str":
            values[field.name] = text
        elif not text and "None" in kind:
            values[field.name] = None
        else:
            values[field.name] = int(text) if kind == "int" else float(text)
    return Line(**values)
