"""What a worker makes of a job besides the restoration: pictures for browsers, and the outcome.

Uploads are decoded in workers only: what a file does to its decoder, it does not do to the server.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from guided_dip.batch.work import Item
from guided_dip.errors import InputError
from guided_dip.files import write_whole
from guided_dip.images import DEFAULT_MAX_PIXELS, count_pages, read
from guided_dip.images.display import ends_of, shown
from guided_dip.noise import parse_noise
from guided_dip.runs.layout import PICTURES, RESIDUAL, SPREAD
from guided_dip.web.models import JobOutcome, View
from guided_dip.web.queue.data import JobFolder

if TYPE_CHECKING:
    from guided_dip.runs import Summary

DEVIATIONS = 3.0  # of a residual, that are shown
PERCENTILE = 99.5  # of a spread, from which on it is white
MEDIA = {
    "PNG": "image/png",
    "JPEG": "image/jpeg",
    "TIFF": "image/tiff",
    "WebP": "image/webp",
    "BMP": "image/bmp",
    "FITS": "image/fits",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Views:
    """Makes the pictures of one job; as `guided_dip.batch.work.Hooks`.

    Attributes
    ----------
    page
        That is restored; None for all.
    clean, mask
        Files, if there are any.
    """

    page: int | None = None
    clean: Path | None = None
    mask: Path | None = None

    def begins(self, item: Item) -> None:
        """Show what was uploaded; what cannot be read is for the restoration to tell."""
        folder = JobFolder(item.source.parent)
        folder.views.mkdir(exist_ok=True)
        given: dict[View, Path | None] = {"input": item.source}
        given |= {"clean": self.clean, "mask": self.mask}
        for view, path in given.items():
            if path is None or folder.view(view).exists():
                continue
            try:
                pixels = _pixels(path, self.page if view == "input" else None, item)
            except InputError as error:
                _log.warning("no picture of %s: %s", view, error)
                continue
            write_whole(folder.view(view), shown(pixels, ends_of(pixels)))

    def ended(self, item: Item, summaries: Sequence[Summary]) -> None:
        """Show what came of it, and write it down."""
        folder = JobFolder(item.source.parent)
        try:
            self._show(item, folder)
        except InputError as error:
            _log.warning("not all pictures are shown: %s", error)
        outcome = _outcome(item, folder, summaries)
        write_whole(folder.outcome, outcome.model_dump_json())

    def _show(self, item: Item, folder: JobFolder) -> None:
        ends = ends_of(_pixels(item.source, self.page, item))
        write_whole(folder.view("restored"), shown(_pixels(item.output, None, item), ends))
        pictures = _pictures(folder.run)
        if (pictures / RESIDUAL).exists():
            residual = read(pictures / RESIDUAL, nan_as_missing=True).pixels
            write_whole(folder.view("residual"), shown(residual, _around_0(residual)))
        if (pictures / SPREAD).exists():
            spread = read(pictures / SPREAD, nan_as_missing=True).pixels
            top = float(np.nanpercentile(spread, PERCENTILE))
            write_whole(folder.view("spread"), shown(spread, (0.0, top if top > 0 else 1.0)))


def _pixels(path: Path, page: int | None, item: Item) -> NDArray[Any]:
    """Read the pixels of a picture, of its first page if none is named."""
    most = None if item.orders is None else item.orders.max_pixels
    one = 0 if page is None and count_pages(path) > 1 else page
    allowed = DEFAULT_MAX_PIXELS if most is None else most
    return read(path, page=one, nan_as_missing=True, max_pixels=allowed).pixels


def _pictures(run: Path) -> Path:
    """Return the folder of a run's pictures, of the first page if there are more."""
    pages = sorted(run.glob(f"page-*/{PICTURES}"))
    return pages[0] if pages else run / PICTURES


def _around_0(residual: NDArray[Any]) -> tuple[float, float]:
    reach = DEVIATIONS * float(np.nanstd(residual, dtype=np.float64))
    return (-reach, reach) if reach > 0 else (-1.0, 1.0)


def _outcome(item: Item, folder: JobFolder, summaries: Sequence[Summary]) -> JobOutcome:
    pages = count_pages(item.output)
    picture = read(item.output, page=0 if pages > 1 else None, nan_as_missing=True)
    height, width = picture.pixels.shape[:2]
    first = summaries[0]
    asked = item.enough is not None and item.enough.exists()
    early = any(summary.steps < summary.plan.steps for summary in summaries)
    before = [s.scores_before.psnr for s in summaries if s.scores_before is not None]
    after = [s.scores.psnr for s in summaries if s.scores is not None]
    return JobOutcome(
        width=width,
        height=height,
        channels=picture.channels,
        pages=pages,
        format=picture.format,
        media_type=MEDIA[picture.format],
        bits=8 * picture.pixels.dtype.itemsize,
        seconds=sum(summary.seconds for summary in summaries),
        noise=told_noise(first.noise, estimated=first.noise_estimated),
        note="; ".join(_notes(summaries)),
        is_estimate=asked and (early or len(summaries) < pages),
        psnr_before=float(np.mean(before)) if before else None,
        psnr=float(np.mean(after)) if after else None,
        views=tuple(view for view in get_args(View) if _is_there(folder, view)),
    )


def _is_there(folder: JobFolder, view: View) -> bool:
    return view == "result" or (view != "preview" and folder.view(view).exists())


def _notes(summaries: Sequence[Summary]) -> list[str]:
    notes = [summary.note for summary in summaries]
    if any(summary.oracle for summary in summaries):
        notes.append("oracle: it saw the clean image, so this is an experiment, not a restoration")
    for summary in summaries:
        notes += [] if summary.residual is None else summary.residual.warnings
    return list(dict.fromkeys(filter(None, notes)))


def told_noise(text: str | None, *, estimated: bool) -> str:
    """Say in words what noise a restoration reckoned with.

    Parameters
    ----------
    text
        As ``--noise`` has it; None if it needed to know none.
    estimated
        It came from the picture.

    Examples
    --------
    >>> told_noise("gaussian:24.8", estimated=True)
    'Gaussian noise, sigma 24.8 of 255, estimated'
    >>> told_noise("poisson:30", estimated=False)
    'counted light (Poisson noise), 30 photons at white'
    """
    model = None if text is None else parse_noise(text)
    if model is None:
        return ""
    sigma = f"{model.sigma * 255:.3g} of 255"
    if not model.gain:
        said = f"Gaussian noise, sigma {sigma}" if model.sigma else "no noise"
    else:
        said = f"counted light (Poisson noise), {1 / model.gain:.3g} photons at white"
        said += f", with read noise of {sigma}" if model.sigma else ""
        said += f", black at {model.black * 255:.3g} of 255" if model.black else ""
    return f"{said}, estimated" if estimated else said
