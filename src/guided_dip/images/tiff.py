"""TIFF of every integer and float type, either byte order, BigTIFF, one page at a time.

tifffile codes the pixels. It passes over damaged tags in silence and would then show wrong
pixels, so the directories are read here too and a damaged one is refused.
"""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided_dip.images.exif import (
    ORIENTATION,
    DamagedError,
    Directory,
    Entry,
    Order,
    Stream,
    pack_directory,
    pack_stream,
)
from guided_dip.images.microscopy import fitted, is_microscopy
from guided_dip.images.picture import (
    Array,
    Picture,
    RefusedError,
    Resolution,
    Unit,
    check_page,
    check_size,
    in_memory_order,
    split_alpha,
)

_log = logging.getLogger(__name__)

_DESCRIPTION, _XMP, _ICC = 270, 700, 34675
_IMAGEJ = frozenset({50838, 50839})
# Tags that tell about a picture and not how it is stored: description, make, model, orientation,
# page name, software, date, artist, computer, copyright, Exif, GPS, Windows titles, GeoTIFF.
_TELLING = frozenset(
    {_DESCRIPTION, 271, 272, ORIENTATION, 285, 305, 306, 315, 316, 33432, 0x8769, 0x8825}
    | {0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F}
    | {33550, 33922, 34264, 34735, 34736, 34737, 42112, 42113}
    | _IMAGEJ
)
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR = 0, 1, 2, 3, 6
_PHOTOMETRICS = frozenset({_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE, _YCBCR})
_OTHERS = {4: "a mask", 5: "CMYK", 8: "CIELab", 9: "CIELab", 10: "CIELab", 32803: "raw sensor data"}
_UNITS: dict[int, Unit] = {1: "none", 2: "inch", 3: "centimetre"}
_LARGE_TILE = 2**24  # pixels
_CLASSIC = 2**32 - 2**25  # bytes, of pixels in a file that is no BigTIFF
_JPEG_IN_TIFF = frozenset({6, 7})


def decode(data: bytes, max_pixels: int, page: int | None) -> Picture:
    """Read a page of a TIFF file's bytes."""
    import tifffile

    stream = Stream.open(data, strict=True)
    pages = list(stream.directories())
    chosen, count = _choose(pages, stream, page)
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        image: Any = file.pages[chosen]
        _check(image, len(data), max_pixels)
        images = (file.imagej_metadata or {}).get("images", 1) if file.is_imagej else 1
        if images > count and page is None:
            raise RefusedError(f"an ImageJ stack of {images} images; try saving one of them")
        samples = _channels_last(image.asarray(), image.axes)
        pixels, alpha = split_alpha(_plain(samples, image))
        premultiplied = alpha is not None and 1 in image.extrasamples
    directory = pages[chosen]
    picture = Picture(
        pixels,
        alpha,
        icc=_value(directory, _ICC),
        format="TIFF",
        xmp=_value(directory, _XMP),
        resolution=_resolution(directory, stream),
        premultiplied=premultiplied,
    )
    told = _told(directory, pages[0], picture, alone=max(count, images) == 1)
    return replace(picture, exif=pack_stream(told, stream.order) if told else None)


def count_pages(data: bytes) -> int:
    """Count the pages of a TIFF file's bytes that are no thumbnails or masks."""
    stream = Stream.open(data, strict=True)
    return sum(not _is_aside(directory, stream) for directory in stream.directories())


def stack_description(data: bytes) -> str | None:
    """Return what OME or ImageJ say of a whole stack; None if neither does, or it is no text."""
    stream = Stream.open(data, strict=True)
    entry = next(iter(stream.directories())).get(_DESCRIPTION)
    if entry is None or not is_microscopy(entry.value):
        return None
    try:
        return entry.value.rstrip(b"\0").decode("ascii")
    except UnicodeDecodeError:
        return None


def encode_stack(pictures: Sequence[Picture], description: str | None) -> bytes:
    """Make the bytes of a TIFF file of several pages, compressed without loss.

    Profile and resolution go along, of what else pages tell only a description of all.
    """
    import tifffile

    buffer = io.BytesIO()
    size = sum(picture.samples.nbytes for picture in pictures)
    with tifffile.TiffWriter(buffer, bigtiff=size > _CLASSIC) as file:
        for number, picture in enumerate(pictures):
            storage = _storage(picture)
            if description is not None and not number:
                storage["description"] = description
            file.write(picture.samples, contiguous=False, **storage)
    return buffer.getvalue()


def encode(picture: Picture) -> bytes:
    """Make a TIFF file's bytes, compressed without loss."""
    import tifffile

    extra, order = _exif_entries(picture)
    if picture.xmp is not None:
        extra[_XMP] = Entry(_XMP, 1, len(picture.xmp), picture.xmp, 0)
    buffer = io.BytesIO()
    with tifffile.TiffWriter(buffer, byteorder=order) as file:
        file.write(picture.samples, **_storage(picture))
    return _with_entries(buffer.getvalue(), extra)


def _exif_entries(picture: Picture) -> tuple[Directory, Order]:
    """Take what belongs into a TIFF directory; the file has to have the same byte order."""
    if picture.exif is None:
        return {}, "<"
    try:
        stream = Stream.open(picture.exif, strict=False)
        directory, _ = stream.directory(stream.first)
    except DamagedError:
        _log.warning("damaged EXIF: left out")
        return {}, "<"
    kept = {tag: entry for tag, entry in directory.items() if tag in _TELLING}
    described = _described(kept, kept.get(_DESCRIPTION), picture)
    if _DESCRIPTION in kept and _DESCRIPTION not in described:
        _log.warning("OME metadata of another size: left out")
    return described, stream.order


def _storage(picture: Picture) -> dict[str, Any]:
    """Say how tifffile is to store a picture."""
    integers = picture.pixels.dtype.kind in "iu"
    storage: dict[str, Any] = {
        "photometric": "rgb" if picture.channels == 3 else "minisblack",
        "compression": "zlib",
        "predictor": 2 if integers else None,  # ImageJ does not know the one for floats
        "metadata": None,
        "software": False,
        "iccprofile": picture.icc,
    }
    if picture.alpha is not None:
        storage["planarconfig"] = "contig"
        storage["extrasamples"] = ["assocalpha" if picture.premultiplied else "unassalpha"]
    if (resolution := picture.resolution) is not None:
        units = {"inch": "inch", "centimetre": "centimeter", "none": "none"}
        storage["resolution"] = (resolution.x, resolution.y)
        storage["resolutionunit"] = units[resolution.unit]
    return storage


def _with_entries(data: bytes, extra: Directory) -> bytes:
    """Append a fuller copy of a one-page file's directory, and point the file's head at it."""
    stream = Stream.open(data, strict=True)
    if not extra:
        return data
    if stream.big:
        _log.warning("a TIFF of over 4 GB: EXIF and XMP left out")
        return data
    directory = stream.directory(stream.first)[0] | extra
    place = len(data) + len(data) % 2
    packed = pack_directory(directory, stream.order, place)
    head = data[:4] + struct.pack(stream.order + "L", place)
    return head + data[8:].ljust(place - 8, b"\0") + packed


def _choose(pages: list[Directory], stream: Stream, page: int | None) -> tuple[int, int]:
    """Find the page wanted among those that are no thumbnails or masks; and their number."""
    full = [number for number, directory in enumerate(pages) if not _is_aside(directory, stream)]
    return full[check_page(page, len(full))], len(full)


def _is_aside(directory: Directory, stream: Stream) -> bool:
    """Tell a thumbnail or a mask from a page."""
    return 254 in directory and any(n & 0b101 for n in directory[254].integers(stream.order))


def _check(image: Any, size: int, max_pixels: int) -> None:
    """Refuse what would be too large, cut off or not understood, before it is decoded."""
    check_size(image.imagewidth, image.imagelength, max_pixels)
    if image.is_tiled:  # a small picture may claim to be a corner of a vast tile
        check_size(image.tilewidth, image.tilelength, max(max_pixels, _LARGE_TILE))
    photometric = int(image.photometric)
    if photometric not in _PHOTOMETRICS or (
        photometric == _YCBCR and int(image.compression) not in _JPEG_IN_TIFF
    ):
        kind = _OTHERS.get(photometric, f"of photometric kind {photometric}")
        raise RefusedError(f"its colours are {kind}; try converting it to RGB")
    if image.imagedepth > 1:
        raise RefusedError(f"a volume of {image.imagedepth} slices; try saving one of them")
    samples = image.samplesperpixel
    colours = 3 if photometric in (_RGB, _YCBCR) or samples == 3 else 1
    if not colours <= samples <= colours + 1 or (photometric == _PALETTE and samples > 1):
        raise RefusedError(f"it has {samples} channels; try gray or RGB, with or without alpha")
    if image.dtype is None or not (image.dtype.kind in "buif" and image.dtype.itemsize <= 8):
        raise RefusedError("its pixels are of an unusual type; try 8-bit, 16-bit or float")
    if image.dtype.kind in "ui" and image.dtype.itemsize > 4:
        raise RefusedError("its pixels are 64-bit integers; try 16-bit or float")
    ends = (a + b for a, b in zip(image.dataoffsets, image.databytecounts, strict=True))
    if not image.dataoffsets or max(ends) > size:
        raise RefusedError("damaged: the file is cut off; try to get it again")


def _channels_last(array: Array, axes: str) -> Array:
    """Bring what tifffile decoded to (H, W) or (H, W, C) in the machine's byte order."""
    if axes == "SYX":
        array = np.moveaxis(array, 0, -1)
    elif axes not in ("YX", "YXS"):
        raise RefusedError(f"its axes are {axes}; try saving a plain picture")
    return in_memory_order(array)


def _plain(samples: Array, image: Any) -> Array:
    """Bring decoded samples to plain gray or RGB, of 8, 16 or 32 bits."""
    photometric = int(image.photometric)
    if photometric == _PALETTE:
        return _looked_up(samples, np.asarray(image.colormap))
    if samples.dtype == bool:
        samples = samples.astype(np.uint8)
    bits = image.bitspersample
    if samples.dtype.kind == "u" and bits != 8 * samples.dtype.itemsize:
        white = np.iinfo(samples.dtype).max
        scaled = np.rint(samples * (white / (2.0**bits - 1)))
        samples = scaled.astype(samples.dtype)
    if photometric == _WHITE_IS_ZERO:
        if samples.dtype.kind != "u" or samples.ndim > 2:
            raise RefusedError("it is an unusual negative; try saving it with black as zero")
        samples = np.iinfo(samples.dtype).max - samples
    return samples


def _looked_up(indices: Array, colours: NDArray[np.uint16]) -> Array:
    """Apply a 16-bit (3, N) palette; 8 bits where it has no more than that."""
    if (colours % 257 == 0).all():
        colours = (colours // 257).astype(np.uint8)
    elif (colours % 256 == 0).all():
        colours = (colours // 256).astype(np.uint8)
    return np.ascontiguousarray(colours.T)[indices]


def _value(directory: Directory, tag: int) -> bytes | None:
    return directory[tag].value or None if tag in directory else None


def _told(directory: Directory, first: Directory, picture: Picture, *, alone: bool) -> Directory:
    """Gather what a page tells about itself; in a stack the first page's description is of all."""
    kept = {tag: entry for tag, entry in directory.items() if tag in _TELLING}
    description = (directory if alone else first).get(_DESCRIPTION)
    if not alone:
        for tag in _IMAGEJ:
            kept.pop(tag, None)
    value = b"" if description is None else description.value
    # tifffile's own description is of the array that it was given.
    foreign = not value.startswith(b'{"shape"')
    of_use = foreign if alone else is_microscopy(value)
    return _described(kept, description if of_use else None, picture)


def _described(kept: Directory, description: Entry | None, picture: Picture) -> Directory:
    """Give a directory a description that fits a picture, or none."""
    others = {tag: entry for tag, entry in kept.items() if tag != _DESCRIPTION}
    value = None if description is None else fitted(description.value, picture)
    if description is None or value is None:
        return others
    return others | {_DESCRIPTION: replace(description, count=len(value), value=value)}


def _resolution(directory: Directory, stream: Stream) -> Resolution | None:
    """Pixels per unit; None where a writer put 1 for want of anything better."""
    ratios = []
    for tag in (282, 283):
        entry = directory.get(tag)
        if entry is None or entry.type != 5 or entry.count != 1:
            return None
        top, bottom = struct.unpack(stream.order + "LL", entry.value)
        ratios.append(top / bottom if bottom else 0.0)
    unit = directory[296].integers(stream.order) if 296 in directory else ()
    if min(ratios) <= 0 or ratios == [1.0, 1.0]:
        return None
    x, y = ratios
    return Resolution(x, y, _UNITS.get(unit[0] if unit else 2, "inch"))
