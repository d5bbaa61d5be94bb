"""Small pictures of before and after, brought to 8 bits by one mapping and kept between calls.

A picture scaled down has lost the noise that is to be compared. So there is a *detail*, whose
pixels are the file's, beside the *whole* scaled down.
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from numpy.typing import NDArray
from PIL import Image

from guided_dip.batch.entries import Stamp
from guided_dip.files import write_whole
from guided_dip.images import read
from guided_dip.images.display import eight_bits, ends_of

View = Literal["detail", "whole"]
Side = Literal["before", "after"]

WHOLE = 320  # pixels; the longer side of a picture scaled down
DETAIL = 160  # pixels; the longest side of a detail, shown twice as large
RECIPE = 1  # to be raised when thumbnails come to be made in another way

_NAME = re.compile(r"([0-9a-f]{32})-([pse]+)-(detail|whole)-(before|after)\.(png|jpg)")


@dataclass(frozen=True)
class Thumbnails:
    """The small pictures of a pair that there are.

    Attributes
    ----------
    digest
        Of name and stamps, which their names begin with.
    stretched
        Black and white are not the files' own.
    enlarged
        The restoration has more pixels than its source.
    whole
        There is a scaled-down pair besides the detail, which does not show all.
    """

    digest: str
    stretched: bool = False
    enlarged: bool = False
    whole: bool = False

    def name(self, view: View, side: Side) -> str:
        """Return a picture's file name; what is said of the pair stands in it, to be known again.

        A detail is PNG, as JPEG would have noise of its own.
        """
        told = ("s" if self.stretched else "") + ("e" if self.enlarged else "")
        suffix = "png" if view == "detail" else "jpg"
        return f"{self.digest}-{told or 'p'}-{view}-{side}.{suffix}"

    @property
    def names(self) -> list[str]:
        """All their files' names; the one that is written last comes last."""
        views: tuple[View, ...] = ("whole", "detail") if self.whole else ("detail",)
        sides: tuple[Side, ...] = ("before", "after")
        return [self.name(view, side) for view in views for side in sides]


class Kept:
    """A folder of thumbnails: those that are there are not made again.

    Parameters
    ----------
    folder
        Made if it is not there.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._there = {path.name for path in folder.iterdir() if _NAME.fullmatch(path.name)}
        self._told = {name[:32]: name.split("-")[1] for name in self._there}
        self._used: set[str] = set()

    def find(self, digest: str) -> Thumbnails | None:
        """Return the pair of a digest, if all of it is there."""
        told = self._told.get(digest, "")
        for whole in (True, False):
            pair = Thumbnails(digest, "s" in told, "e" in told, whole)
            if self._there.issuperset(pair.names):
                self._used.update(pair.names)
                return pair
        return None

    def make(self, digest: str, before: Path, after: Path) -> Thumbnails:
        """Make the pair of a digest from two files.

        Parameters
        ----------
        digest
            As `digest_of` returns it.
        before, after
            The files of source and restoration.

        Raises
        ------
        InputError
            If one of them cannot be read.
        RunError
            If a thumbnail cannot be written.
        """
        pair, made = _drawn(digest, _pixels(before), _pixels(after))
        for name in pair.names:
            write_whole(self._folder / name, made[name])
        self._used.update(pair.names)
        return pair

    def drop_unused(self) -> None:
        """Delete the thumbnails that were there and have been neither found nor made."""
        for name in self._there - self._used:
            (self._folder / name).unlink(missing_ok=True)


def digest_of(name: str, before: Stamp | None, after: Stamp | None) -> str:
    """Return what tells a picture in one state of its two files from all others."""
    stamps = [None if stamp is None else (stamp.size, stamp.changed) for stamp in (before, after)]
    told = repr((RECIPE, name.encode(errors="surrogateescape"), stamps))
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _pixels(path: Path) -> NDArray[Any]:
    """Read (H, W) or (H, W, 3) pixels of a file, of its first page."""
    pixels = read(path, page=0, nan_as_missing=True).pixels
    return pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels


def _drawn(
    digest: str, before: NDArray[Any], after: NDArray[Any]
) -> tuple[Thumbnails, dict[str, bytes]]:
    """Draw all thumbnails of a pair."""
    ends = ends_of(before)
    height, width = after.shape[:2]
    pair = Thumbnails(
        digest,
        stretched=ends is not None,
        enlarged=height > before.shape[0] or width > before.shape[1],
        whole=max(height, width) > DETAIL,
    )
    made = {}
    sides: tuple[tuple[Side, NDArray[Any]], ...] = (("before", before), ("after", after))
    for side, pixels in sides:
        image = Image.fromarray(eight_bits(pixels, ends))
        made[pair.name("detail", side)] = _encoded(_middle(image, width, height), "PNG")
        if pair.whole:
            made[pair.name("whole", side)] = _encoded(_small(image, width, height), "JPEG")
    return pair, made


def _middle(image: Image.Image, width: int, height: int) -> Image.Image:
    """Cut the middle out of a picture, in pixels of the restoration's size.

    A source that is smaller has its pixels repeated, so that both show the same area.
    """
    wide, high = min(width, DETAIL), min(height, DETAIL)
    left, top = (width - wide) // 2, (height - high) // 2
    across, down = image.width / width, image.height / height
    box = (left * across, top * down, (left + wide) * across, (top + high) * down)
    return image.resize((wide, high), Image.Resampling.NEAREST, box=box)


def _small(image: Image.Image, width: int, height: int) -> Image.Image:
    """Scale a picture down to the size that a picture of some width and height is given."""
    scale = min(1.0, WHOLE / max(width, height))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return image.resize(size, Image.Resampling.BOX)


def _encoded(image: Image.Image, form: Literal["PNG", "JPEG"]) -> bytes:
    """Encode a thumbnail; JPEG's colours are as sharp as its lightness."""
    buffer = io.BytesIO()
    if form == "PNG":
        image.save(buffer, form)
    else:
        image.save(buffer, form, quality=85, subsampling=0)
    return buffer.getvalue()
