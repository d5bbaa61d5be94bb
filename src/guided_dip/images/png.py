"""PNG of 8 and 16 bits, with the chunks around the pixels.

libpng, by way of imagecodecs, codes the pixels, as Pillow has no 16-bit colour; it sees only the
chunks that pixels need. The others are read and written here (PNG specification, third edition,
W3C 2025): colour profile, EXIF, XMP, gamma, resolution, text.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from guided_dip.images.picture import Picture, RefusedError, Resolution, check_size, split_alpha

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_PIXELS = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_GRAY = (0, 4)  # colour types, without alpha and with it
_COLOUR = frozenset({b"cICP", b"mDCV", b"cLLI", b"gAMA", b"cHRM", b"sRGB"})
_TEXT = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_XMP = b"XML:com.adobe.xmp\0"
_INFLATED = 2**26  # bytes; no profile is larger, and a small chunk must not fill the memory

Chunk = tuple[bytes, bytes]


def decode(data: bytes, max_pixels: int) -> Picture:
    """Read a PNG file's bytes."""
    import imagecodecs

    chunks = list(_chunks(data))
    first = dict(reversed(chunks))  # of several of one type the first counts
    if len(header := first.get(b"IHDR", b"")) != 13 or b"IDAT" not in first:
        raise RefusedError("damaged: a PNG without pixels; try to get the file again")
    width, height = struct.unpack(">II", header[:8])
    check_size(width, height, max_pixels)
    frames = int.from_bytes(first.get(b"acTL", b"")[:4], "big")
    if frames > 1:
        raise RefusedError(f"an animation of {frames} frames; try extracting one of them")
    # A palette of a gray picture would be told about on stderr.
    told = _PIXELS - {b"PLTE"} if header[9] in _GRAY else _PIXELS
    pixels, alpha = split_alpha(imagecodecs.png_decode(_join(c for c in chunks if c[0] in told)))
    return Picture(
        pixels,
        alpha,
        icc=_profile(first.get(b"iCCP")),
        exif=first.get(b"eXIf"),
        format="PNG",
        xmp=next(filter(None, (_xmp(body) for kind, body in chunks if kind == b"iTXt")), None),
        resolution=_resolution(first.get(b"pHYs")),
        png_chunks=tuple(
            (kind, body)
            for kind, body in chunks
            if kind in _COLOUR or (kind in _TEXT and not body.startswith(_XMP))
        ),
    )


def encode(picture: Picture) -> bytes:
    """Make a PNG file's bytes."""
    import imagecodecs

    header, *pixels = _chunks(bytes(imagecodecs.png_encode(picture.samples)))
    return _join([header, *_described(picture), *pixels])


def _described(picture: Picture) -> Iterator[Chunk]:
    """Give the chunks that describe a picture, in an order PNG allows."""
    if picture.icc is not None:
        yield b"iCCP", b"ICC Profile\0\0" + zlib.compress(picture.icc, 9)
    for kind, body in picture.png_chunks:
        # A file has one of the two.
        if not (kind == b"sRGB" and picture.icc is not None):
            yield kind, body
    if picture.resolution is not None and (per_inch := picture.resolution.per_inch):
        x, y = (min(2**31 - 1, round(n / 0.0254)) for n in per_inch)
        yield b"pHYs", struct.pack(">IIB", x, y, 1)
    if picture.exif is not None:
        yield b"eXIf", picture.exif
    if picture.xmp is not None:
        yield b"iTXt", _XMP + b"\0\0\0\0" + picture.xmp


def _chunks(data: bytes) -> Iterator[Chunk]:
    """Part a file into (type, body), up to its end mark."""
    place = len(SIGNATURE)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        body = data[place + 8 : place + 8 + length]
        checksum = data[place + 8 + length : place + 12 + length]
        place += 12 + length
        if place > len(data):
            break
        intact = int.from_bytes(checksum, "big") == zlib.crc32(body, zlib.crc32(kind))
        if kind in _PIXELS and not intact:
            raise RefusedError(f"damaged: {kind.decode()} checksum; try to get the file again")
        if intact:
            yield kind, body
        if kind == b"IEND":
            return
    raise RefusedError("damaged: the file is cut off; try to get it again")


def _join(chunks: Iterator[Chunk] | list[Chunk]) -> bytes:
    """Join (type, body) to a file."""
    parts = [SIGNATURE]
    for kind, body in chunks:
        checksum = zlib.crc32(body, zlib.crc32(kind))
        parts += [struct.pack(">I", len(body)), kind, body, struct.pack(">I", checksum)]
    return b"".join(parts)


def _inflate(data: bytes) -> bytes | None:
    """Decompress what a chunk holds; None if it is damaged or far too large."""
    inflater = zlib.decompressobj()
    try:
        inflated = inflater.decompress(data, _INFLATED)
    except zlib.error:
        return None
    return inflated if inflater.eof else None


def _profile(body: bytes | None) -> bytes | None:
    """Take the profile from an iCCP chunk: name, 0, method, compressed profile."""
    _, _, rest = (body or b"").partition(b"\0")
    return (_inflate(rest[1:]) or None) if rest else None


def _xmp(body: bytes) -> bytes | None:
    """Take the packet from an iTXt chunk: keyword, compressed?, method, two names, text."""
    if not body.startswith(_XMP):
        return None
    compressed, _, rest = body[len(_XMP)], body[len(_XMP) + 1], body[len(_XMP) + 2 :]
    text = rest.split(b"\0", 2)[-1]
    return _inflate(text) if compressed else text


def _resolution(body: bytes | None) -> Resolution | None:
    """Take pixels per metre from a pHYs chunk; without a unit it states a mere ratio."""
    if body is None or len(body) != 9 or body[8] != 1:
        return None
    x, y, _ = struct.unpack(">IIB", body)
    return Resolution(x / 100, y / 100, "centimetre")
