"""What the gallery's first page tells of all pictures: figures, times, warnings."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from guided_dip.batch.entries import Counts, Entry
from guided_dip.batch.gallery_text import name_of, spoken, text
from guided_dip.words import counted

FAILED = "failed.html"
BARS = 24  # at most, of times
LISTED = 50  # pictures with warnings, on the first page

Link = tuple[str, Entry]  # where a picture's card is, and the picture


@dataclass(frozen=True)
class Summary:
    """What the first page tells of all pictures.

    Attributes
    ----------
    counts
        How many are in which state.
    pace
        Pictures an hour, None if it is not known.
    seconds
        Of each that is done.
    slowest
        Those that took longest, the slowest first.
    noted, noted_links
        How many have warnings, and the first of them.
    about
        What else there is to tell.
    """

    counts: Counts
    pace: float | None
    seconds: NDArray[np.float64]
    slowest: Sequence[Link]
    noted: int
    noted_links: Sequence[Link]
    about: Mapping[str, str]


def figures(summary: Summary) -> str:
    """Write the figures that come first."""
    counts, seconds = summary.counts, summary.seconds
    failed = f"{counts.failed:,}"
    if counts.failed:
        failed = f'<a href="{FAILED}">{failed}</a>'
    told = [("done", f"{counts.done:,}"), ("failed", failed), ("left", f"{counts.left:,}")]
    if summary.pace is not None:
        pace = f"{summary.pace:,.1f}" if summary.pace < 100 else f"{summary.pace:,.0f}"
        told.append(("images an hour", pace))
    if seconds.size:
        median, late = np.percentile(seconds, (50, 90))
        told.append(("median time", spoken(float(median))))
        told.append(("90th percentile", spoken(float(late))))
        told.append(("computing time", spoken(float(seconds.sum()))))
    cells = []
    for name, value in told:
        bad = ' class="bad"' if name == "failed" and counts.failed else ""
        cells.append(f"<div{bad}><dt>{name}</dt><dd>{value}</dd></div>")
    return f'<dl class="figures">{"".join(cells)}</dl>'


def sections(summary: Summary) -> str:
    """Write what is told of all pictures besides the figures."""
    told = []
    if summary.about:
        lines = [f"<dt>{text(k)}</dt><dd>{text(v)}</dd>" for k, v in summary.about.items()]
        told.append(f'<h2>About</h2><dl class="about">{"".join(lines)}</dl>')
    if summary.seconds.size:
        told.append(f"<h2>Time a picture</h2>{_distribution(summary.seconds)}")
        slow = [
            (link, f" {spoken(link[1].done.seconds)}") for link in summary.slowest if link[1].done
        ]
        told.append(f"<h2>The slowest</h2><ol>{_listed(slow)}</ol>")
    if summary.noted:
        noted = [
            (link, f": {text(link[1].done.note)}") for link in summary.noted_links if link[1].done
        ]
        rest = summary.noted - len(noted)
        more = f"<p>and {rest:,} more, marked on their cards</p>" if rest else ""
        head = f"<summary>{counted(summary.noted, 'picture')} with warnings</summary>"
        told.append(
            f"<h2>Warnings</h2><details{' open' if len(noted) <= 5 else ''}>{head}"
            f"<ul>{_listed(noted)}</ul>{more}</details>"
        )
    if not told:
        return ""
    inside = "".join(f"<section>{section}</section>\n" for section in told)
    return f'<div class="summary">{inside}</div>'


def _listed(lines: Iterable[tuple[Link, str]]) -> str:
    return "".join(
        f'<li><a href="{place}">{name_of(entry)}</a>{told}</li>' for (place, entry), told in lines
    )


def _distribution(seconds: NDArray[np.float64]) -> str:
    """Draw how many pictures took how long; the last bar has all that took longer still."""
    edges, numbers, over = binned(seconds)
    tallest, wide = max(numbers), 100 / len(numbers)
    bars = []
    for k, number in enumerate(numbers):
        last = over and k == len(numbers) - 1
        span = f"{edges[k]:g} s and more" if last else f"{edges[k]:g} to {edges[k + 1]:g} s"
        high = max(100 * number / tallest, 1.5) if number else 0  # one of thousands is seen, too
        bars.append(
            f'<rect x="{k * wide + 0.06 * wide:.2f}" y="{100 - high:.2f}" '
            f'width="{0.88 * wide:.2f}" height="{high:.2f}">'
            f"<title>{span}: {counted(number, 'picture')}</title></rect>"
        )
    title = (
        f"How many pictures took how many seconds: half took {spoken(float(np.median(seconds)))} "
        f"or less, the longest {spoken(float(seconds.max()))}; the highest bar has {tallest:,}"
    )
    end = f"{edges[-2]:g} s and more" if over else f"{edges[-1]:g} s"
    return (
        '<svg class="bars" viewBox="0 0 100 100" preserveAspectRatio="none" role="img" '
        f'aria-labelledby="bars"><title id="bars">{title}</title>{"".join(bars)}</svg>'
        f'<div class="axis" aria-hidden="true"><span>{edges[0]:g} s</span><span>{end}</span></div>'
    )


def binned(seconds: NDArray[np.float64]) -> tuple[list[float], list[int], bool]:
    """Count times in bins of one round width.

    Returns
    -------
    tuple
        The edges, one more than the numbers; the numbers; whether the last has also what is beyond
        its end, as a few stragglers would leave no room for the others.
    """
    least, most = float(seconds.min()), float(seconds.max())
    late = float(np.percentile(seconds, 90))
    over = most > least + 3 * (late - least) > least
    end = least + 3 * (late - least) if over else most
    rough = max((end - least) / (BARS - 2), 1e-3)
    unit = 10.0 ** math.floor(math.log10(rough))
    width = next(unit * k for k in (1, 2, 5, 10) if unit * k >= rough * (1 - 1e-9))
    first = math.floor(least / width)
    count = max(1, math.floor(end / width) - first + 1)
    bins = np.clip(np.floor(seconds / width).astype(np.int64) - first, 0, count - 1)
    edges = [round((first + k) * width, 6) for k in range(count + 1)]
    return edges, np.bincount(bins, minlength=count).tolist(), over
