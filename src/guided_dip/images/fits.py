"""FITS, by astropy: gray planes of every number type that has a place here, header kept.

A file may hold several images (HDUs), and an image several planes; each plane is a page. Rows stay
in the order they are stored in. BZERO and BSCALE are applied, BLANK becomes NaN (FITS standard 4.0,
2018, section 4.4.2).
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from guided_dip.images.picture import (
    Array,
    Picture,
    RefusedError,
    check_page,
    check_size,
    in_memory_order,
)

if TYPE_CHECKING:
    from types import ModuleType

SIGNATURE = b"SIMPLE  ="
TYPES = frozenset({"int8", "uint8", "int16", "uint16", "int32", "uint32", "float32", "float64"})
# Types that FITS does not have, stored as the ones it has minus BZERO.
_SHIFTED = {("uint8", -(2**7)): "int8", ("int16", 2**15): "uint16", ("int32", 2**31): "uint32"}
# Cards about how an image was stored, besides those that astropy leaves out by itself.
_STORAGE = ("BLANK", "CHECKSUM", "DATASUM", "INHERIT")
# Cards that decide about the pixels: of two that differ, either could be meant.
_ONCE = ("BITPIX", "NAXIS", "BZERO", "BSCALE", "BLANK")


def decode(data: bytes, max_pixels: int, page: int | None) -> Picture:
    """Read a plane of a FITS file's bytes."""
    fits = astropy_fits()
    with fits.open(
        io.BytesIO(data), memmap=False, lazy_load_hdus=False, do_not_scale_image_data=True
    ) as file:
        hdu, plane = _choose([hdu for hdu in file if _is_image(hdu)], page)
        _check(hdu, len(data), max_pixels)
        pixels = _scaled(_plane(hdu, plane), hdu.header)
        return Picture(pixels, format="FITS", fits_header=_text(hdu.header).encode("ascii"))


def count_pages(data: bytes) -> int:
    """Count the planes of all images of a FITS file's bytes."""
    with astropy_fits().open(io.BytesIO(data), memmap=False, lazy_load_hdus=False) as file:
        return sum(math.prod(hdu.shape[:-2]) for hdu in file if _is_image(hdu))


def encode(picture: Picture) -> bytes:
    """Make a FITS file's bytes: one image, in the first HDU."""
    fits = astropy_fits()
    header = fits.Header()
    if picture.fits_header is not None:
        header = fits.Header.fromstring(picture.fits_header.decode("ascii"))
    buffer = io.BytesIO()
    image = fits.PrimaryHDU(picture.samples, header)
    image.writeto(buffer, output_verify="silentfix+ignore")
    return buffer.getvalue()


def astropy_fits() -> ModuleType:
    """Load astropy's part for FITS.

    Raises
    ------
    RefusedError
        If it is not installed.
    """
    try:
        from astropy.io import fits
    except ImportError:
        raise RefusedError(
            "FITS needs the astropy package; try pip install 'guided-dip[fits]'"
        ) from None
    module: ModuleType = fits
    return module


def _is_image(hdu: Any) -> bool:
    return bool(hdu.is_image) and len(hdu.shape) >= 2


def _choose(images: list[Any], page: int | None) -> tuple[Any, int]:
    """Find the image, and the plane in it, that a page is."""
    counts = [math.prod(hdu.shape[:-2]) for hdu in images]
    plane = check_page(page, sum(counts))
    for hdu, count in zip(images, counts, strict=True):
        if plane < count:
            return hdu, plane
        plane -= count
    raise AssertionError("check_page lets no other page through")


def _check(hdu: Any, size: int, max_pixels: int) -> None:
    """Refuse what would be too large, is cut off or contradicts itself, before it is decoded."""
    height, width = hdu.shape[-2:]
    check_size(width, height, max_pixels)
    if hdu.header["BITPIX"] == 64:
        raise RefusedError("its pixels are 64-bit integers; try 16-bit or float")
    names = list(hdu.header)
    for name in (*_ONCE, *(f"NAXIS{n + 1}" for n in range(len(hdu.shape)))):
        if names.count(name) > 1:
            raise RefusedError(f"damaged: {name} stands there twice; try to get the file again")
    if (tile := getattr(hdu, "tile_shape", None)) is not None:
        # Astropy unfolds whole tiles, and finds out by itself which of them are not there.
        depth = math.prod(min(int(a), b) for a, b in zip(tile[:-2], hdu.shape[:-2], strict=True))
        check_size(width, height * depth, max_pixels)
        return
    stored = abs(int(hdu.header["BITPIX"])) // 8 * math.prod(hdu.shape)
    if hdu.fileinfo()["datLoc"] + stored > size:
        raise RefusedError("damaged: the file is cut off; try to get it again")


def _plane(hdu: Any, number: int) -> Array:
    """Read one (H, W) plane of an (..., H, W) image, as it is stored."""
    place = np.unravel_index(number, hdu.shape[:-2]) if hdu.shape[:-2] else ()
    plane = hdu.section[(*map(int, place), slice(None), slice(None))]
    return in_memory_order(np.asarray(plane))


def _scaled(stored: Array, header: Any) -> Array:
    """Apply BZERO, BSCALE and BLANK; integers stay integers if nothing stands against it."""
    zero, scale = header.get("BZERO", 0), header.get("BSCALE", 1)
    blank = header.get("BLANK") if stored.dtype.kind in "iu" else None
    missing = np.zeros(stored.shape, bool) if blank is None else stored == blank
    if scale == 1 and not missing.any():
        if zero == 0:
            return stored
        if (shifted := _SHIFTED.get((stored.dtype.name, zero))) is not None:
            return (stored.astype(np.int64) + int(zero)).astype(shifted)
    values = stored * np.float64(scale) + np.float64(zero)
    values[missing] = np.nan
    # 24 bits are enough for 16, as astropy has it, too.
    short = stored.dtype.itemsize <= 2 or stored.dtype == np.float32
    return values.astype(np.float32 if short else np.float64)


def _text(header: Any) -> str:
    """Write down a header's cards, but for those about storage."""
    kept = header.copy(strip=True)
    for name in _STORAGE:
        kept.remove(name, ignore_missing=True, remove_all=True)
    text: str = kept.tostring(sep="", endcard=False, padding=False)
    return text
