"""Figures made of pictures: the process of a run, before and after, the forward process."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from guided_dip.result import Scores

Pixels = NDArray[np.floating[Any]]

# Inches
GAP = 0.1
LINE = 0.17
MARGIN = 0.15
TITLE_LETTER, LABEL_LETTER = 0.1, 0.068
STRIP_CELL = (1.5, 2.2)
COMPARISON_CELL = (3.6, 4.2)

STRIP_COLUMNS = 8
DETAIL = 4  # a detail is this fraction of the picture's sides
SMALLEST_DETAIL = 24  # pixels
ACCENT = "#d1495b"
SHOWN = 3  # times its root mean square is how much of a residual is told apart
BRIGHTEST = 0.995  # quantile of a spread that is white
TINY = 1e-9


@dataclass(frozen=True)
class Tile:
    """A picture in a figure: (H, W) or (H, W, 3) pixels, a label over it, a box drawn in it.

    The box is (top, left, height, width) in pixels; a detail shows its pixels as they are.
    """

    pixels: Pixels
    label: str = ""
    box: tuple[int, int, int, int] | None = None
    detail: bool = False


def process(snapshots: Sequence[tuple[int, Pixels, float | None]], *, title: str = "") -> Figure:
    """Draw how a restoration came about, as a strip of intermediate pictures.

    Parameters
    ----------
    snapshots
        (0-based step, estimate, PSNR in dB or None).
    title
        Over the figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    tiles = [
        Tile(pixels, f"step {step}" if psnr is None else f"step {step}\n{psnr:.2f} dB")
        for step, pixels, psnr in snapshots
    ]
    return _strip(tiles, title)


def forward_strip(
    x_0: Pixels, guides: Sequence[tuple[int, float, Pixels]], *, title: str = ""
) -> Figure:
    """Draw the forward process, from the clean image to the most noisy guide.

    Parameters
    ----------
    x_0
        The clean image.
    guides
        (timestep, standard deviation of its noise in [0, 1] units, guide), as they are drawn.
    title
        Over the figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    drawn = [Tile(pixels, f"t = {t}\nnoise {noise * 255:.1f}/255") for t, noise, pixels in guides]
    return _strip([Tile(x_0, "the image\n"), *drawn], title)


def _strip(tiles: Sequence[Tile], title: str) -> Figure:
    rows = -(-len(tiles) // STRIP_COLUMNS)
    return _tiled(tiles, -(-len(tiles) // rows), STRIP_CELL, title)


def comparison(
    before: Pixels,
    after: Pixels,
    clean: Pixels | None = None,
    *,
    scores_before: Scores | None = None,
    scores: Scores | None = None,
    title: str = "",
) -> Figure:
    """Draw input, restoration and, if there is one, clean image; below, a detail of each.

    Parameters
    ----------
    before, after, clean
        (H, W) or (H, W, 3), of one size; 1.0 is white.
    scores_before, scores
        Of input and restoration against the clean image.
    title
        Over the figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    shown = [("input", before, scores_before), ("restored", after, scores)]
    if clean is not None:
        shown.append(("clean", clean, None))
    top, left, height, width = box = _liveliest(after)
    whole = [
        Tile(pixels, name if score is None else f"{name}\n{_scored(score)}", box)
        for name, pixels, score in shown
    ]
    details = [
        Tile(pixels[top : top + height, left : left + width], detail=True) for _, pixels, _ in shown
    ]
    return _tiled([*whole, *details], len(shown), COMPARISON_CELL, title)


def diagnosis(residual: Pixels, spread: Pixels | None = None, *, title: str = "") -> Figure:
    """Draw what a restoration took away and, if known, how much its final draws differ.

    In a good residual there is nothing to be seen but noise.

    Parameters
    ----------
    residual
        Input minus restoration, (H, W) or (H, W, 3); gray is zero.
    spread
        Standard deviation of the draws, of the same size; black is zero.
    title
        Over the figure.

    Returns
    -------
    matplotlib.figure.Figure
    """
    unit = max(float(np.sqrt(np.mean(residual**2))), TINY)
    tiles = [
        Tile(
            0.5 + residual / (2 * SHOWN * unit),
            f"residual\nblack to white: \N{PLUS-MINUS SIGN}{SHOWN * unit * 255:.3g}/255",
        )
    ]
    if spread is not None:
        gray = spread if spread.ndim == 2 else spread.mean(axis=2)
        most = max(float(np.quantile(gray, BRIGHTEST)), TINY)
        label = f"spread of the final draws\nwhite: {most * 255:.3g}/255"
        tiles.append(Tile(gray / most, label))
    return _tiled(tiles, len(tiles), COMPARISON_CELL, title)


def _scored(score: Scores) -> str:
    return f"PSNR {score.psnr:.2f} dB, SSIM {score.ssim:.3f}"


def _liveliest(pixels: Pixels) -> tuple[int, int, int, int]:
    """Return the box, a fraction of the picture, whose pixels change most."""
    gray = np.clip(pixels if pixels.ndim == 2 else pixels.mean(axis=2), 0, 1).astype(np.float64)
    height, width = gray.shape
    scale = max(1 / DETAIL, min(1.0, SMALLEST_DETAIL / min(height, width)))
    rows, columns = (max(1, round(side * scale)) for side in (height, width))
    change = np.zeros_like(gray)
    change[:, 1:] += np.abs(np.diff(gray, axis=1))
    change[1:] += np.abs(np.diff(gray, axis=0))
    total = np.pad(change.cumsum(0).cumsum(1), ((1, 0), (1, 0)))
    inside = (
        total[rows:, columns:]
        - total[:-rows, columns:]
        - total[rows:, :-columns]
        + total[:-rows, :-columns]
    )
    top, left = np.unravel_index(int(np.argmax(inside)), inside.shape)
    return int(top), int(left), rows, columns


def _tiled(tiles: Sequence[Tile], columns: int, largest: tuple[float, float], title: str) -> Figure:
    """Lay pictures of one size out in rows, at exact places, so that no label meets another."""
    height, width = tiles[0].pixels.shape[:2]
    inch = min(largest[0] / width, largest[1] / height)  # a pixel's size
    drawn = (width * inch, height * inch)
    letters = max(len(line) for tile in tiles for line in tile.label.splitlines() or [""])
    cell = max(drawn[0], letters * LABEL_LETTER)  # a label can be wider than a thin picture
    rows = [tiles[k : k + columns] for k in range(0, len(tiles), columns)]
    heads = [LINE * max(len(tile.label.splitlines()) for tile in row) for row in rows]
    wide = 2 * MARGIN + columns * cell + (columns - 1) * GAP
    lines = [
        line
        for part in title.splitlines()
        for line in textwrap.wrap(part, int(wide / TITLE_LETTER))
    ]
    over = LINE * (1.1 * len(lines) + 0.7) if lines else 0.0
    size = (wide, 2 * MARGIN + over + sum(heads) + len(rows) * (drawn[1] + GAP) - GAP)
    figure = Figure(figsize=size)
    figure.text(
        MARGIN / size[0],
        1 - MARGIN / size[1],
        "\n".join(lines),
        va="top",
        fontsize=10,
        weight="bold",
        parse_math=False,
    )
    down = MARGIN + over
    for row, head in zip(rows, heads, strict=True):
        down += head
        for column, tile in enumerate(row):
            left = MARGIN + column * (cell + GAP) + (cell - drawn[0]) / 2
            _draw(figure, tile, (left, size[1] - down - drawn[1], *drawn))
        down += drawn[1] + GAP
    return figure


def _draw(figure: Figure, tile: Tile, place: tuple[float, float, float, float]) -> None:
    """Draw a tile at (left, bottom, width, height), in inches."""
    size = figure.get_size_inches()
    axes = figure.add_axes(
        (place[0] / size[0], place[1] / size[1], place[2] / size[0], place[3] / size[1])
    )
    axes.set_axis_off()
    axes.imshow(
        np.clip(tile.pixels, 0, 1),
        cmap="gray",
        vmin=0,
        vmax=1,
        aspect="auto",
        interpolation="nearest" if tile.detail else "auto",
    )
    if tile.label:
        axes.text(
            0.5,
            1 + 0.06 / place[3],
            tile.label,
            transform=axes.transAxes,
            ha="center",
            va="baseline",
            fontsize=8,
            linespacing=1.15,
        )
    if tile.box is not None:
        top, left, height, width = tile.box
        axes.add_patch(
            Rectangle(
                (left - 0.5, top - 0.5), width, height, fill=False, edgecolor=ACCENT, linewidth=1.2
            )
        )
