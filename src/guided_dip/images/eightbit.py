"""JPEG, WebP and BMP, which Pillow reads: 8-bit gray and colour."""

from __future__ import annotations

import io
import logging
import struct
from typing import Any

import numpy as np
from PIL import BmpImagePlugin, Image, JpegImagePlugin, WebPImagePlugin

from guided_dip.images.picture import (
    Array,
    Format,
    Picture,
    RefusedError,
    Resolution,
    check_size,
    split_alpha,
)

_log = logging.getLogger(__name__)
_EXIF = b"Exif\0\0"
_JPEG_SEGMENT = 65533  # bytes; the most that one of JPEG's segments can hold

# The plugins themselves, not `Image.open`: it has a limit of its own on the number of pixels, and
# takes a telephone's JPEG with a depth map for an animation.
_READERS: dict[str, Any] = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WebP": WebPImagePlugin.WebPImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}


def decode(data: bytes, form: Format, max_pixels: int) -> Picture:
    """Read a JPEG, WebP or BMP file's bytes."""
    with _READERS[form](io.BytesIO(data)) as image:
        check_size(image.width, image.height, max_pixels)
        frames = getattr(image, "n_frames", 1)
        if frames > 1:
            raise RefusedError(f"an animation of {frames} frames; try extracting one of them")
        if image.mode in ("CMYK", "YCCK", "LAB"):
            raise RefusedError(f"its colours are {image.mode}; try converting it to RGB")
        pixels, alpha = split_alpha(np.asarray(_plain(image)))
        info = image.info
    return Picture(
        pixels,
        alpha,
        icc=info.get("icc_profile") or None,
        exif=(info.get("exif") or b"").removeprefix(_EXIF) or None,
        format=form,
        xmp=info.get("xmp") or None,
        resolution=_resolution(info),
    )


def encode(picture: Picture, form: Format) -> bytes:
    """Make a JPEG, WebP or BMP file's bytes; JPEG at quality 95, WebP without loss."""
    samples = picture.samples
    if form != "JPEG" and samples.ndim == 3 and samples.shape[2] == 2:
        # Neither WebP nor BMP has gray with alpha: the same picture in three equal channels.
        samples = samples[..., [0, 0, 0, 1]]
    if form == "BMP" and picture.alpha is not None:
        return _bmp_with_alpha(samples, picture.resolution)
    buffer = io.BytesIO()
    Image.fromarray(samples).save(buffer, form, **_options(picture, form))
    return buffer.getvalue()


def _options(picture: Picture, form: Format) -> dict[str, Any]:
    """Say how Pillow is to save a picture."""
    options: dict[str, Any] = {
        "icc_profile": picture.icc,
        "exif": None if picture.exif is None else _EXIF + picture.exif,
        "xmp": picture.xmp,
    }
    if form == "JPEG":
        options = _fitting(options) | {"quality": 95, "subsampling": 0}
    if form == "WebP":
        options |= {"lossless": True, "exact": True}
    elif picture.resolution is not None and (per_inch := picture.resolution.per_inch):
        options["dpi"] = tuple(min(65535, n) for n in per_inch)
    return {key: value for key, value in options.items() if value is not None}


def _bmp_with_alpha(samples: Array, resolution: Resolution | None) -> bytes:
    """Make a 32-bit BMP of (H, W, 4) samples; Pillow's writer leaves alpha out."""
    height, width = samples.shape[:2]
    pixels = samples[::-1, :, [2, 1, 0, 3]].tobytes()  # from the bottom up, blue first
    head = 14 + 108
    file = struct.pack("<2sLLL", b"BM", head + len(pixels), 0, head)
    # Version 4: 32 bits, placed by masks for red, green, blue and alpha, in sRGB.
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    per_inch = None if resolution is None else resolution.per_inch
    per_metre = [min(round(n / 0.0254), 2**31 - 1) for n in per_inch or (0, 0)]
    size = struct.pack("<LllHHLLllLL", 108, width, height, 1, 32, 3, len(pixels), *per_metre, 0, 0)
    return file + size + struct.pack("<4L4s48x", *masks, b"BGRs") + pixels


def _plain(image: Image.Image) -> Image.Image:
    """Bring a picture to 8-bit gray or RGB, with its alpha."""
    if image.mode in ("L", "LA", "RGB", "RGBA"):
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "P":
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    raise RefusedError(f"its pixels are of mode {image.mode}; try converting it to PNG")


def _fitting(described: dict[str, Any]) -> dict[str, Any]:
    """Leave out what does not fit into JPEG: better a picture without it than none."""
    for key in ("exif", "xmp"):
        if described[key] is not None and len(described[key]) > _JPEG_SEGMENT - 40:
            _log.warning("JPEG cannot hold %d bytes of %s: left out", len(described[key]), key)
            described = described | {key: None}
    return described


def _resolution(info: dict[str, Any]) -> Resolution | None:
    """Pixels per inch, where the file itself states them."""
    dpi = info.get("dpi")
    if not dpi or info.get("jfif_unit", 1) == 0 or not all(0 < n < 1e6 for n in dpi):
        return None
    return Resolution(float(dpi[0]), float(dpi[1]), "inch")
