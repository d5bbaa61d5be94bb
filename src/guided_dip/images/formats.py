"""Which formats there are, how to tell them, what each can hold, and who codes it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePath

from guided_dip.errors import choices
from guided_dip.images import eightbit, fits, png, tiff
from guided_dip.images.picture import Format, Picture, RefusedError


@dataclass(frozen=True)
class Holds:
    """What a format can hold: types of pixels, alpha, longest side, colour; and its suffixes."""

    suffixes: tuple[str, ...]
    types: frozenset[str]
    alpha: bool
    side: int
    colour: bool = True


_8BIT = frozenset({"uint8"})
_ANY = frozenset(
    ["int8", "uint8", "int16", "uint16", "int32", "uint32", "float16", "float32", "float64"]
)

FORMATS: dict[Format, Holds] = {
    "PNG": Holds((".png",), frozenset({"uint8", "uint16"}), True, 1_000_000),
    "TIFF": Holds((".tif", ".tiff"), _ANY, True, 2**31 - 1),
    "JPEG": Holds((".jpg", ".jpeg", ".jpe", ".jfif"), _8BIT, False, 65_500),
    "WebP": Holds((".webp",), _8BIT, True, 16_383),
    "BMP": Holds((".bmp",), _8BIT, True, 2**31 - 1),
    "FITS": Holds((".fits", ".fit", ".fts"), fits.TYPES, False, 2**31 - 1, colour=False),
}

_BEGINNINGS: tuple[tuple[bytes, Format], ...] = (
    (png.SIGNATURE, "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"BM", "BMP"),
    (fits.SIGNATURE, "FITS"),
)


def sniff(head: bytes) -> Format | None:
    """Tell a format from a file's first 12 bytes; None for all others."""
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    return next((form for beginning, form in _BEGINNINGS if head.startswith(beginning)), None)


def named(path: PurePath) -> Format:
    """Tell a format from a file's name.

    Raises
    ------
    RefusedError
        If no format has that suffix.
    """
    suffix = path.suffix.lower()
    for form, holds in FORMATS.items():
        if suffix in holds.suffixes:
            return form
    known = [suffix for holds in FORMATS.values() for suffix in holds.suffixes]
    if not suffix:
        raise RefusedError(
            f"its name has no suffix to tell the format; try .png ({choices('', known)})"
        )
    raise RefusedError(f"no picture format is called '{suffix}'; {choices(suffix, known)}")


def check_holds(
    form: Format, dtype: str, channels: int, alpha: bool, size: tuple[int, int] | None
) -> None:
    """Refuse pixels that a format cannot hold, and name the formats that can.

    Raises
    ------
    RefusedError
        If the type of pixels, their colours, the alpha channel or the (width, height) do not fit,
        or the package that writes the format is not installed.
    """

    def fitting(holds: Holds) -> bool:
        short = size is None or max(size) <= holds.side
        return (
            dtype in holds.types
            and short
            and (holds.alpha or not alpha)
            and (holds.colour or channels == 1)
        )

    if fitting(FORMATS[form]):
        if form == "FITS":
            fits.astropy_fits()
        return
    pixels = ("" if size is None else f"{size[0]}x{size[1]} ") + f"{dtype} pixels"
    pixels += " in colour" * (channels == 3 and not FORMATS[form].colour)
    able = [holds.suffixes[0] for holds in FORMATS.values() if fitting(holds)]
    hint = " or ".join(able) or f"another type ({', '.join(sorted(_ANY))})"
    raise RefusedError(f"{form} cannot hold {pixels}{' with alpha' * alpha}; try {hint}")


def decoded(data: bytes, form: Format, max_pixels: int, page: int | None) -> Picture:
    """Decode a file's bytes; the picture may not be upright yet."""
    if form == "TIFF":
        return tiff.decode(data, max_pixels, page)
    if form == "FITS":
        return fits.decode(data, max_pixels, page)
    if page:
        raise RefusedError(f"a {form} file has only page 0; try leaving out --page")
    if form == "PNG":
        return png.decode(data, max_pixels)
    return eightbit.decode(data, form, max_pixels)


def encoded(picture: Picture, form: Format) -> bytes:
    """Encode a picture that the format can hold."""
    if form == "TIFF":
        return tiff.encode(picture)
    if form == "FITS":
        return fits.encode(picture)
    picture = picture.unmultiplied()
    return png.encode(picture) if form == "PNG" else eightbit.encode(picture, form)
