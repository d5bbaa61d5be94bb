"""What a file is, found by decoding all of it, for who takes files from strangers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from guided_dip.errors import InputError
from guided_dip.images import fits, formats, tiff
from guided_dip.images.files import hushed
from guided_dip.images.picture import Format, Picture, RefusedError, TooManyPixelsError, upright
from guided_dip.words import one_line


class UnknownFormatError(InputError):
    """A file is no picture of a format that is read here."""


class TooLargeError(InputError):
    """A file has more pixels, or more pages, than are allowed."""


@dataclass(frozen=True)
class Facts:
    """What a file is.

    Attributes
    ----------
    format
        Such as ``PNG``.
    width, height
        Of the first page, upright, in pixels.
    channels
        Of colour, 1 or 3.
    pages
        How many there are.
    bits
        Of each number.
    """

    format: Format
    width: int
    height: int
    channels: int
    pages: int
    bits: int


def look_at(path: Path, *, max_pixels: int, max_pages: int) -> Facts:
    """Decode all of a file, page by page, and say what it is.

    Parameters
    ----------
    path
        Of a regular file, whatever it is called.
    max_pixels
        Of all pages together; a page that would be too many is not decoded.
    max_pages
        How many it may have.

    Returns
    -------
    Facts
        Its format, size, channels, pages and bits.

    Raises
    ------
    UnknownFormatError
        If it is no picture of a known format.
    TooLargeError
        If it has too many pixels or pages.
    InputError
        If it is damaged, or a picture of a kind that is not restored. No message names the file.
    """
    data = path.read_bytes()
    form = formats.sniff(data[:16])
    if not data:
        raise UnknownFormatError("the file is empty; try to get it again")
    if form is None:
        known = ", ".join(formats.FORMATS)
        raise UnknownFormatError(f"not a picture of a known format; try one of: {known}")
    try:
        with hushed():
            return _facts(data, form, max_pixels, max_pages)
    except TooManyPixelsError as refusal:
        size = f"{refusal.width}x{refusal.height}"
        raise TooLargeError(
            f"{size} pixels are more than the {refusal.allowed:,} allowed; try a crop of it"
        ) from None
    except RefusedError as refusal:
        raise InputError(one_line(str(refusal))) from None
    except InputError:
        raise
    except Exception as error:  # decoders fail in ways of their own
        raise InputError(
            one_line(f"damaged or unusual {form} ({type(error).__name__}); try saving it anew")
        ) from error


def _facts(data: bytes, form: Format, max_pixels: int, max_pages: int) -> Facts:
    pages = {"TIFF": tiff.count_pages, "FITS": fits.count_pages}.get(form, lambda _: 1)(data)
    if pages > max_pages:
        raise TooLargeError(f"{pages:,} pages are more than the {max_pages:,} allowed; try fewer")
    first = _page(data, form, max_pixels, None if pages <= 1 else 0)
    height, width = first.pixels.shape[:2]
    left = max_pixels - height * width
    for number in range(1, pages):
        page = _page(data, form, max(0, left), number)
        left -= page.pixels.shape[0] * page.pixels.shape[1]
    return Facts(form, width, height, first.channels, pages, first.pixels.dtype.itemsize * 8)


def _page(data: bytes, form: Format, max_pixels: int, page: int | None) -> Picture:
    try:
        return upright(formats.decoded(data, form, max_pixels, page))
    except TooManyPixelsError:
        if not page:
            raise
        raise TooLargeError(
            f"its first {page + 1} pages have more pixels than are allowed; try fewer pages"
        ) from None
