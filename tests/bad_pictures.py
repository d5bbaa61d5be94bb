"""Inputs that no picture comes out of, each with the words that its one line of error must have."""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from astropy.io import fits
from PIL import Image

GRAY = np.arange(12 * 16, dtype=np.uint8).reshape(12, 16)
RGB = np.stack([GRAY, GRAY[::-1], GRAY[:, ::-1]], axis=-1)
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Case:
    """A file that is refused.

    Attributes
    ----------
    name
        Of the case.
    build
        Makes the file in a folder, and returns its path.
    expected
        Words of the error.
    options
        Of ``guided-dip restore``.
    readable
        Only restoring it is refused.
    """

    name: str
    build: Callable[[Path], Path]
    expected: str
    options: tuple[str, ...] = ()
    readable: bool = False


def of_bytes(name: str, data: bytes) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return build


def by_pillow(form: str, array=RGB, mode=None, **options) -> bytes:
    data = io.BytesIO()
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(data, form, **options)
    return data.getvalue()


def animation(form: str) -> bytes:
    frames = [Image.fromarray(np.roll(RGB, k, axis=1)) for k in range(3)]
    data = io.BytesIO()
    frames[0].save(data, form, save_all=True, append_images=frames[1:], duration=50)
    return data.getvalue()


def tiff(array=RGB, **options) -> bytes:
    data = io.BytesIO()
    tifffile.imwrite(data, array, **options)
    return data.getvalue()


def stack(pages=3) -> bytes:
    data = io.BytesIO()
    with tifffile.TiffWriter(data) as file:
        for _ in range(pages):
            file.write(GRAY, contiguous=False)
    return data.getvalue()


def with_tag(data: bytes, tag: int, value: int) -> bytes:
    """Change a number in the first directory of a little-endian TIFF."""
    first = struct.unpack("<L", data[4:8])[0]
    count = struct.unpack("<H", data[first : first + 2])[0]
    for place in range(first + 2, first + 2 + 12 * count, 12):
        found, kind = struct.unpack("<HH", data[place : place + 4])
        if found == tag:
            value_bytes = struct.pack("<HH" if kind == 3 else "<L", value, *[0] * (kind == 3))
            return data[: place + 8] + value_bytes + data[place + 12 :]
    raise AssertionError(f"no tag {tag}")


def in_a_circle() -> bytes:
    """Make the last directory of a TIFF the first one again."""
    data = tiff(GRAY)
    first = struct.unpack("<L", data[4:8])[0]
    count = struct.unpack("<H", data[first : first + 2])[0]
    end = first + 2 + 12 * count
    return data[:end] + struct.pack("<L", first) + data[end + 4 :]


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">L", len(body)) + kind + body + struct.pack(">L", zlib.crc32(kind + body))


def png(width: int, height: int, depth=8, colour=2, body=b"") -> bytes:
    head = struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, 0)
    return PNG + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


def jpeg_of_size(width: int, height: int) -> bytes:
    data = by_pillow("JPEG")
    place = data.index(b"\xff\xc0") + 5
    return data[:place] + struct.pack(">HH", height, width) + data[place + 4 :]


def webp_of_size(width: int, height: int) -> bytes:
    data = by_pillow("WebP", lossless=False)
    place = data.index(b"\x9d\x01\x2a") + 3
    return data[:place] + struct.pack("<HH", width, height) + data[place + 4 :]


def bmp_of_size(width: int, height: int) -> bytes:
    data = by_pillow("BMP")
    return data[:18] + struct.pack("<ll", width, height) + data[26:]


def in_fits(*arrays, **cards) -> bytes:
    first, *others = arrays
    images = [fits.PrimaryHDU(first), *(fits.ImageHDU(array) for array in others)]
    for name, value in cards.items():
        images[0].header[name] = value
    data = io.BytesIO()
    fits.HDUList(images).writeto(data)
    return data.getvalue()


def fits_of_size(width: int, height: int) -> bytes:
    cards = ["SIMPLE  =                    T", "BITPIX  =                    8"]
    cards += ["NAXIS   =                    2", f"NAXIS1  = {width:20}", f"NAXIS2  = {height:20}"]
    text = "".join(card.ljust(80) for card in [*cards, "END"])
    return text.encode().ljust(2880) + bytes(2880)


def a_table() -> bytes:
    data = io.BytesIO()
    column = fits.Column("a", "E", array=np.arange(3.0))
    fits.HDUList([fits.PrimaryHDU(), fits.BinTableHDU.from_columns([column])]).writeto(data)
    return data.getvalue()


def odd(*values: float, shape=(12, 16)) -> np.ndarray:
    pixels = np.full(shape, 0.5, np.float32)
    pixels.flat[: len(values)] = values
    return pixels


def missing(folder: Path) -> Path:
    return folder / "nowhere.png"


def missing_folder(folder: Path) -> Path:
    return folder / "nowhere" / "in.png"


def a_folder(folder: Path) -> Path:
    (folder / "in.png").mkdir()
    return folder / "in.png"


def a_file_as_folder(folder: Path) -> Path:
    (folder / "file").write_bytes(b"")
    return folder / "file" / "in.png"


def a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "in.png")
    return folder / "in.png"


def link(target: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / "in.png").symlink_to(target)
        return folder / "in.png"

    return build


def a_long_name(folder: Path) -> Path:
    return folder / ("a" * 300 + ".png")


VAST = 60_000
CMYK = np.dstack([RGB, GRAY])
DAMAGED = "damaged"

CASES = (
    # Files that cannot be read at all
    Case("missing", missing, "no such file"),
    Case("missing folder", missing_folder, "no such file"),
    Case("folder", a_folder, "is a folder"),
    Case("file as folder", a_file_as_folder, "cannot be read (Not a directory)"),
    Case("pipe", a_pipe, "is no regular file"),
    Case("endless device", link("/dev/zero"), "is no regular file"),
    Case("null device", link("/dev/null"), "is no regular file"),
    Case("link to nothing", link("nothing"), "no such file"),
    Case("link to itself", link("in.png"), "cannot be read"),
    Case("long name", a_long_name, "cannot be read (File name too long)"),
    Case("empty", of_bytes("in.png", b""), "is empty"),
    # Not pictures, whatever they are called
    Case("text", of_bytes("in.png", b"not a picture\n"), "not a picture of a known format"),
    Case("one byte", of_bytes("in.png", b"\x89"), "not a picture of a known format"),
    Case("zeros", of_bytes("in.tif", bytes(5000)), "not a picture of a known format"),
    Case("HTML", of_bytes("in.jpg", b"<!doctype html><p>404"), "not a picture of a known format"),
    Case("SVG", of_bytes("in.png", b"<svg xmlns='x'></svg>"), "not a picture of a known format"),
    Case("PDF", of_bytes("in.png", b"%PDF-1.7\n%"), "not a picture of a known format"),
    Case("ZIP", of_bytes("in.png", b"PK\x03\x04" + bytes(50)), "not a picture of a known format"),
    Case("NumPy", of_bytes("in.npy", b"\x93NUMPY\x01\0"), "not a picture of a known format"),
    Case("GIF", of_bytes("in.gif", by_pillow("GIF", GRAY)), "not a picture of a known format"),
    Case("RIFF sound", of_bytes("in.webp", b"RIFF\0\0\0\0WAVEfmt "), "not a picture"),
    # Cut off
    Case("PNG signature", of_bytes("in.png", PNG), DAMAGED),
    Case("PNG head", of_bytes("in.png", by_pillow("PNG")[:33]), DAMAGED),
    Case("PNG cut off", of_bytes("in.png", by_pillow("PNG")[:-40]), DAMAGED),
    Case("PNG without an end", of_bytes("in.png", by_pillow("PNG")[:-12]), DAMAGED),
    Case("JPEG beginning", of_bytes("in.jpg", b"\xff\xd8\xff\xe0"), DAMAGED),
    Case("JPEG cut off", of_bytes("in.jpg", by_pillow("JPEG")[:-60]), DAMAGED),
    Case("JPEG head", of_bytes("in.jpg", by_pillow("JPEG")[:200]), DAMAGED),
    Case("TIFF beginning", of_bytes("in.tif", b"II*\0"), DAMAGED),
    Case("TIFF head", of_bytes("in.tif", tiff()[:8]), DAMAGED),
    Case("TIFF cut off", of_bytes("in.tif", tiff()[:-50]), "cut off"),
    Case("BigTIFF head", of_bytes("in.tif", tiff(bigtiff=True)[:16]), DAMAGED),
    Case("WebP head", of_bytes("in.webp", by_pillow("WebP")[:16]), DAMAGED),
    Case("WebP cut off", of_bytes("in.webp", by_pillow("WebP")[:-30]), DAMAGED),
    Case("BMP head", of_bytes("in.bmp", by_pillow("BMP")[:20]), DAMAGED),
    Case("BMP cut off", of_bytes("in.bmp", by_pillow("BMP")[:-100]), DAMAGED),
    Case("FITS head", of_bytes("in.fits", in_fits(GRAY)[:500]), DAMAGED),
    Case("FITS cut off", of_bytes("in.fits", in_fits(np.zeros((99, 99), "f4"))[:9000]), "cut off"),
    # Damaged
    Case("PNG crc", of_bytes("in.png", by_pillow("PNG").replace(b"IDAT", b"IDAT\1", 1)), DAMAGED),
    Case("PNG pixels", of_bytes("in.png", png(16, 12, body=b"\0" * 40)), DAMAGED),
    Case("PNG colour type", of_bytes("in.png", png(4, 4, colour=5)), DAMAGED),
    Case("PNG depth", of_bytes("in.png", png(4, 4, depth=7)), DAMAGED),
    Case("TIFF circle", of_bytes("in.tif", in_a_circle()), DAMAGED),
    Case("TIFF directory far off", of_bytes("in.tif", b"II*\0\xff\xff\xff\x7f"), DAMAGED),
    Case("TIFF compression", of_bytes("in.tif", with_tag(tiff(), 259, 4711)), "4711"),
    Case("TIFF bits", of_bytes("in.tif", with_tag(tiff(GRAY), 258, 99)), "unusual"),
    Case("FITS cards", of_bytes("in.fits", b"SIMPLE  = " + b"?" * 2870), DAMAGED),
    Case("FITS bits", of_bytes("in.fits", in_fits(GRAY).replace(b"  8", b"  7", 1)), DAMAGED),
    # Too large, or of no size
    Case("PNG bomb", of_bytes("in.png", png(VAST, VAST)), "--max-pixels 3600000000"),
    Case("JPEG bomb", of_bytes("in.jpg", jpeg_of_size(VAST, VAST)), "--max-pixels"),
    Case("TIFF bomb", of_bytes("in.tif", with_tag(with_tag(tiff(), 256, VAST), 257, VAST)),
         "--max-pixels"),
    Case("WebP bomb", of_bytes("in.webp", webp_of_size(16383, 16383)), DAMAGED),
    Case("WebP too large", of_bytes("in.webp", by_pillow("WebP")), "--max-pixels 192",
         ("--max-pixels", "191")),
    Case("BMP bomb", of_bytes("in.bmp", bmp_of_size(VAST, VAST)), "--max-pixels"),
    Case("FITS bomb", of_bytes("in.fits", fits_of_size(VAST, VAST)), "--max-pixels"),
    Case("a PNG over the limit", of_bytes("in.png", by_pillow("PNG")), "more than the 100 allowed",
         ("--max-pixels", "100")),
    Case("PNG of no width", of_bytes("in.png", png(0, 5)), "no pixels"),
    Case("JPEG of no height", of_bytes("in.jpg", jpeg_of_size(5, 0)), "in.jpg: "),
    Case("TIFF of no height", of_bytes("in.tif", with_tag(tiff(), 257, 0)), "in.tif: "),
    Case("BMP of no width", of_bytes("in.bmp", bmp_of_size(0, 5)), "in.bmp: "),
    Case("FITS of no height", of_bytes("in.fits", fits_of_size(5, 0)), "no pixels"),
    # Pixels that are no numbers
    Case("NaN", of_bytes("in.tif", tiff(odd(np.nan))), "1 of its values are NaN or infinite"),
    Case("infinite", of_bytes("in.tif", tiff(odd(np.inf, -np.inf))), "--nan-as-missing"),
    Case("NaN in FITS", of_bytes("in.fits", in_fits(odd(np.nan))), "--nan-as-missing"),
    Case("blank in FITS", of_bytes("in.fits", in_fits(GRAY.astype("i2"), BLANK=3)), "--nan-as-m"),
    Case("nothing but NaN", of_bytes("in.tif", tiff(odd() * np.nan)), "too many to fill in",
         ("--nan-as-missing",)),
    Case("far too large numbers", of_bytes("in.tif", tiff(np.full((9, 9), 1e300))), "3.4e38",
         readable=True),
    # Colours and types that have no place here
    Case("CMYK JPEG", of_bytes("in.jpg", by_pillow("JPEG", mode="CMYK")), "CMYK"),
    Case("CMYK TIFF", of_bytes("in.tif", tiff(CMYK, photometric="separated")), "CMYK"),
    Case("Lab TIFF", of_bytes("in.tif", tiff(RGB, photometric="cielab")), "CIELab"),
    Case("complex TIFF", of_bytes("in.tif", tiff(GRAY.astype("c8"))), "unusual type"),
    Case("64-bit TIFF", of_bytes("in.tif", tiff(GRAY.astype("u8"))), "64-bit integers"),
    Case("64-bit FITS", of_bytes("in.fits", in_fits(GRAY.astype("i8"))), "64-bit integers"),
    Case("unsigned 64-bit FITS", of_bytes("in.fits", in_fits(GRAY.astype("u8"))),
         "64-bit integers"),
    Case("five channels", of_bytes("in.tif", tiff(np.zeros((9, 9, 5), "u1"), photometric=1,
         planarconfig=1)), "5 channels"),
    # Several pictures in a file
    Case("TIFF stack", of_bytes("in.tif", stack()), "3 pages; try one of them, --page 0"),
    Case("FITS cube", of_bytes("in.fits", in_fits(np.zeros((4, 9, 9), "f4"))), "4 pages"),
    Case("two FITS images", of_bytes("in.fits", in_fits(GRAY, GRAY)), "a stack of 2 pages"),
    Case("TIFF page", of_bytes("in.tif", stack()), "no page 3; try --page 0 to 2", ("--page", "3")),
    Case("FITS page", of_bytes("in.fits", in_fits(GRAY)), "try --page 0 to 0", ("--page", "1")),
    Case("PNG page", of_bytes("in.png", by_pillow("PNG")), "leaving out --page", ("--page", "1")),
    Case("FITS table", of_bytes("in.fits", a_table()), "no pages"),
    Case("moving WebP", of_bytes("in.webp", animation("WebP")), "animation"),
    Case("moving PNG", of_bytes("in.png", animation("PNG")), "animation"),
)  # fmt: skip
