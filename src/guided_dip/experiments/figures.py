"""The figures of the report's experiment that show runs and pictures, small enough for a page."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray
from PIL import Image

from guided_dip import plots
from guided_dip.config import Config
from guided_dip.diffusion import coefficients, forward, make_schedule
from guided_dip.experiments.scores import ceilings
from guided_dip.guidance import timesteps
from guided_dip.plots.charts import PSNR
from guided_dip.runs import SavedRun

Pixels = NDArray[np.floating[Any]]

WIDEST = 1360  # pixels
QUALITY = 84
COLOURS = 64  # of a drawing
STRIP_GUIDES = 7
TILE = 2.1  # inches
COLUMNS = 4


def curves(run: SavedRun, *, title: str) -> Figure:
    """Draw PSNR and loss of a run on twin axes, and the ceiling that the guides set.

    Parameters
    ----------
    run
        The run.
    title
        Over the figure.
    """
    figure = plots.curves(run.records, run.summary.plan, title=title)
    heights = [math.nan if h is None else h for h in ceilings(run)]
    if len(figure.axes) < 2 or all(map(math.isnan, heights)):
        return figure
    axes = figure.axes[1]
    each = np.repeat(heights, [stage.steps for stage in run.summary.plan])
    axes.step(range(len(each)), each, where="post", color=PSNR, linewidth=1.1, linestyle="--")
    axes.annotate(
        f"ceiling {heights[-1]:.2f} dB",
        (len(each) - 1, heights[-1]),
        (-3, 3),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=8,
        color=PSNR,
    )
    axes.margins(y=0.08)
    return figure


def process(run: SavedRun, *, title: str) -> Figure:
    """Draw how a run's restoration came about.

    Parameters
    ----------
    run
        The run, with intermediate pictures.
    title
        Over the figure.
    """
    shots = zip(run.summary.snapshots, run.snapshots, strict=True)
    return plots.process([(shot.step, pixels, shot.psnr) for shot, pixels in shots], title=title)


def forward_strip(clean: Pixels, config: Config, schedule_name: str) -> Figure:
    """Draw the forward process of a clean image.

    Parameters
    ----------
    clean
        (H, W) or (H, W, 3), 1.0 is white.
    config
        Names the noise convention and the range of timesteps.
    schedule_name
        Of the betas.
    """
    schedule = make_schedule(schedule_name, lower_clip=config.lower_clip)
    guides = []
    for t in reversed(timesteps(config.start, config.end, STRIP_GUIDES)):
        eps = np.random.default_rng([config.seed, t]).standard_normal(clean.shape)
        noise = coefficients(schedule, t, config.noise_convention).noise
        x_t = forward(clean, eps, t, schedule, convention=config.noise_convention)
        guides.append((t, noise, x_t))
    title = f"Forward process, {schedule_name} schedule, {config.noise_convention} noise"
    return plots.forward_strip(clean, guides, title=title)


def gallery(pictures: Sequence[tuple[str, Pixels]], *, title: str) -> Figure:
    """Draw pictures of one size beside each other, a label over each.

    Parameters
    ----------
    pictures
        (label, pixels); all labels have as many lines.
    title
        Over the figure.
    """
    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    figure = Figure(
        figsize=(columns * TILE, rows * (TILE + 0.32) + 0.4),
        layout=ConstrainedLayoutEngine(h_pad=0.08),
    )
    figure.suptitle(title, x=0.01, ha="left", fontsize=10, weight="bold", parse_math=False)
    for number, (label, pixels) in enumerate(pictures, start=1):
        axes = figure.add_subplot(rows, columns, number)
        axes.imshow(np.clip(pixels, 0, 1), cmap="gray", vmin=0, vmax=1)
        axes.set_title(label, fontsize=8, linespacing=1.15, parse_math=False)
        axes.set_axis_off()
    return figure


def encode(figure: Figure, *, photographic: bool, colours: int = COLOURS) -> bytes:
    """Return a figure as the bytes of a small file, always the same.

    Parameters
    ----------
    figure
        What to encode.
    photographic
        JPEG, for pictures; else PNG with few colours, for drawings.
    colours
        How many, of a drawing.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        plots.save(figure, path)
        with Image.open(path) as opened:
            image = opened.convert("RGB")
    if image.width > WIDEST:
        size = (WIDEST, round(image.height * WIDEST / image.width))
        image = image.resize(size, Image.Resampling.LANCZOS)
    data = io.BytesIO()
    if photographic:
        image.save(data, "JPEG", quality=QUALITY, optimize=True)
    else:
        # Lines of few pixels keep their colours, which the median cut gives to large areas; and
        # these keep theirs by the step of k-means.
        coverage, plain = Image.Quantize.MAXCOVERAGE, Image.Dither.NONE
        few = image.quantize(colours, coverage, kmeans=1, dither=plain)
        few.save(data, "PNG", optimize=True)
    return data.getvalue()
