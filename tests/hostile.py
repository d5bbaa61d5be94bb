"""Uploads that nobody means well with, each with the statuses that are right for it."""

from __future__ import annotations

import io
import pickle
import struct
import tempfile
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bad_pictures import (
    PNG,
    VAST,
    animation,
    bmp_of_size,
    by_pillow,
    chunk,
    in_a_circle,
    in_fits,
    jpeg_of_size,
    png,
    stack,
    tiff,
    webp_of_size,
    with_tag,
)

TAKEN = frozenset({201})
NO_PICTURE = frozenset({415})
DAMAGED = frozenset({422})
TOO_LARGE = frozenset({413})
GOOD = by_pillow("PNG")
BOUNDARY = b"hostile"
PICKLED = Path(tempfile.gettempdir()) / "guided-dip-pickle-was-loaded"


@dataclass(frozen=True)
class File:
    """A hostile file, sent as the image of a form that is otherwise in order.

    Attributes
    ----------
    name
        Of the case.
    content
        Of the file.
    right
        Statuses that are right for it.
    file_name
        That it is sent with.
    """

    name: str
    content: bytes
    right: frozenset[int]
    file_name: str = "in.png"


@dataclass(frozen=True)
class Request:
    """A hostile request, byte by byte.

    Attributes
    ----------
    name
        Of the case.
    body
        Of the request.
    right
        Statuses that are right for it.
    headers
        Besides Host and Content-Length.
    """

    name: str
    body: bytes
    right: frozenset[int]
    headers: dict[str, str] = field(
        default_factory=lambda: {
            "content-type": f"multipart/form-data; boundary={BOUNDARY.decode()}"
        }
    )


class Danger:
    """What a pickle could do; here it would only be seen."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (open, (str(PICKLED), "w"))  # type: ignore[return-value]


def zipped(**files: bytes) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return data.getvalue()


def npy() -> bytes:
    data = io.BytesIO()
    np.save(data, np.array([Danger()], object), allow_pickle=True)
    return data.getvalue()


def png_bomb(side: int) -> bytes:
    """A PNG of few bytes, and side * side pixels of one bit."""
    packed = zlib.compressobj(9)
    row = bytes(1 + -(-side // 8))
    body = b"".join(packed.compress(row) for _ in range(side)) + packed.flush()
    head = struct.pack(">LLBBBBB", side, side, 1, 0, 0, 0, 0)
    return PNG + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def with_chunk(kind: bytes, body: bytes) -> bytes:
    """A fine PNG with a chunk after its header."""
    return GOOD[:33] + chunk(kind, body) + GOOD[33:]


def idat_bomb() -> bytes:
    """A PNG of 4x4 pixels whose data unfold to 200 MB."""
    packed = zlib.compressobj(9)
    body = b"".join(packed.compress(bytes(2**20)) for _ in range(200)) + packed.flush()
    return (
        PNG
        + chunk(b"IHDR", struct.pack(">LLBBBBB", 4, 4, 8, 2, 0, 0, 0))
        + chunk(b"IDAT", body)
        + chunk(b"IEND", b"")
    )


def icc_bomb() -> bytes:
    packed = zlib.compressobj(9)
    body = b"".join(packed.compress(bytes(2**20)) for _ in range(200)) + packed.flush()
    return with_chunk(b"iCCP", b"x\0\0" + body)


def tiff_bomb() -> bytes:
    """A TIFF of a strip that unfolds to far more than its pixels."""
    data = tiff(np.zeros((64, 64), np.uint8), compression="zlib", rowsperstrip=64)
    return data + zlib.compress(bytes(2**24))


def tiff_many_pages(count: int) -> bytes:
    """A TIFF of many pages that all have the same pixels."""
    one = tiff(np.zeros((2, 2), np.uint8))
    first = struct.unpack("<L", one[4:8])[0]
    length = 2 + 12 * struct.unpack("<H", one[first : first + 2])[0]
    directory = one[first : first + length]
    place = len(one) + len(one) % 2
    parts = [one.ljust(place, b"\0")]
    for k in range(count):
        last = k == count - 1
        parts.append(directory + struct.pack("<L", 0 if last else place + (k + 1) * (length + 4)))
    data = b"".join(parts)
    return data[:4] + struct.pack("<L", place) + data[8:]


def jpeg_with_odd_exif() -> bytes:
    ifd = struct.pack("<HHHLL", 1, 274, 3, 1, 99) + struct.pack("<L", 8)
    exif = b"Exif\0\0II*\0" + struct.pack("<L", 8) + ifd
    data = by_pillow("JPEG")
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


HTML = b"<!doctype html><script>alert(document.cookie)</script>"
SVG = (
    b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'
)
ENTITIES = (
    b'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">'
    + b"".join(b'<!ENTITY %c "%s">' % (98 + k, b"&%c;" % (97 + k) * 10) for k in range(9))
    + b"]><svg>&j;</svg>"
)

FILES = (
    # Bombs
    File("PNG bomb, honest header", png_bomb(20_000), TOO_LARGE),
    File("PNG of huge size and no pixels", png(VAST, VAST), TOO_LARGE),
    File("PNG of the largest size", png(2**31 - 1, 2**31 - 1), TOO_LARGE),
    File("PNG whose data unfold", idat_bomb(), TAKEN | DAMAGED | TOO_LARGE),
    File("PNG profile that unfolds", icc_bomb(), TAKEN | DAMAGED | TOO_LARGE),
    File("TIFF of huge size", with_tag(with_tag(tiff(), 256, VAST), 257, VAST), TOO_LARGE),
    File("TIFF with more behind it", tiff_bomb(), TAKEN),
    File("JPEG of huge size", jpeg_of_size(VAST, VAST), TOO_LARGE),
    File("WebP of huge size", webp_of_size(16383, 16383), DAMAGED | TOO_LARGE),
    File("BMP of huge size", bmp_of_size(VAST, VAST), TOO_LARGE),
    File("GIF bomb", b"GIF89a\xff\xff\xff\xff\x80\0\0" + bytes(100), NO_PICTURE),
    File("TIFF of many pages", tiff_many_pages(5000), TOO_LARGE),
    File("TIFF in a circle", in_a_circle(), DAMAGED),
    File("stack of more pixels than allowed", tiff(np.zeros((20, 300, 300), np.uint8)), TOO_LARGE),
    # Two things at once
    File("PNG with a zip behind", GOOD + zipped(a=b"x"), TAKEN | DAMAGED),
    File("PNG with HTML behind", GOOD + HTML, TAKEN | DAMAGED, "in.html"),
    File("PNG with HTML within", with_chunk(b"tEXt", b"Comment\0" + HTML), TAKEN),
    File("GIF with JavaScript", b"GIF89a=1;alert(1)//", NO_PICTURE, "a.js"),
    File("JPEG with PHP behind", by_pillow("JPEG") + b"<?php system('id'); ?>", TAKEN, "a.php"),
    File("JPEG with odd EXIF", jpeg_with_odd_exif(), TAKEN, "in.jpg"),
    File("PNG with damaged EXIF", with_chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"), TAKEN),
    File("PDF and PNG", b"%PDF-1.7\n" + GOOD, NO_PICTURE),
    # No pictures, whatever they are called
    File("empty", b"", NO_PICTURE),
    File("SVG", SVG, NO_PICTURE, "in.svg"),
    File("SVG called PNG", SVG, NO_PICTURE),
    File("entities", ENTITIES, NO_PICTURE, "in.svg"),
    File("HTML", HTML, NO_PICTURE, "in.html"),
    File("zip", zipped(**{"../../evil": b"x"}), NO_PICTURE, "in.zip"),
    File("pickle", pickle.dumps(Danger()), NO_PICTURE, "in.pkl"),
    File("npy with a pickle", npy(), NO_PICTURE, "in.npy"),
    File("checkpoint", zipped(**{"archive/data.pkl": pickle.dumps(Danger())}), NO_PICTURE, "a.pt"),
    File("program", b"\x7fELF\x02\x01\x01" + bytes(64), NO_PICTURE),
    File("address", b"http://169.254.169.254/latest/meta-data/", NO_PICTURE),
    File("MVG", b"push graphic-context\nimage over 0,0 0,0 'url(http://x/)'", NO_PICTURE, "a.mvg"),
    File("PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n%pipe%id\n", NO_PICTURE, "a.eps"),
    # Damaged
    File("PNG cut off", GOOD[:-40], DAMAGED),
    File("PNG signature", PNG, DAMAGED),
    File("TIFF directory far off", b"II*\0\xff\xff\xff\x7f", DAMAGED),
    File("moving PNG", animation("PNG"), DAMAGED),
    File("FITS cut off", in_fits(np.zeros((99, 99), "f4"))[:9000], DAMAGED, "in.fits"),
    # Fine pictures of odd names
    File("traversal", GOOD, TAKEN, "../../../etc/passwd"),
    File("absolute", GOOD, TAKEN, "/etc/cron.d/evil"),
    File("Windows", GOOD, TAKEN, "C:\\Windows\\System32\\evil.png"),
    File("UNC", GOOD, TAKEN, "\\\\evil\\share\\a.png"),
    File("NUL", GOOD, TAKEN, "a.png\0.html"),
    File("long name", GOOD, TAKEN, "a" * 3000 + ".png"),
    File("unicode", GOOD, TAKEN, "\u202egnp.\U0001f4a3e\u0301.png"),
    File("line ends", GOOD, TAKEN, "a.png\r\nSet-Cookie: evil=1"),
    File("quotes", GOOD, TAKEN, 'a".png; filename="b.html'),
    File("markup", GOOD, TAKEN, "<img src=x onerror=alert(1)>.png"),
    File("shell", GOOD, TAKEN, "$(id);`id`|id&.png"),
    File("dots", GOOD, TAKEN, ".."),
    File("device", GOOD, TAKEN, "/dev/null"),
    File("stack", stack(), TAKEN, "in.tif"),
)  # fmt: skip


def part(disposition: str, content: bytes, more: bytes = b"") -> bytes:
    head = b"--" + BOUNDARY + b"\r\nContent-Disposition: " + disposition.encode() + b"\r\n"
    return head + more + b"\r\n" + content + b"\r\n"


END = b"--" + BOUNDARY + b"--\r\n"
IMAGE = part('form-data; name="image"; filename="a.png"', GOOD)
REFUSED = frozenset({400, 413, 415, 422})


def field_of(name: str, content: bytes) -> bytes:
    return part(f'form-data; name="{name}"', content)


ALIASES = b"a: &a [x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n"
OBJECTS = b"!!python/object/apply:os.system ['id']"
FORM_URL = {"content-type": "application/x-www-form-urlencoded"}

REQUESTS = (
    Request("no form", b"image=a", frozenset({415}), FORM_URL),
    Request("no type", GOOD, frozenset({415}), {}),
    Request("no boundary", IMAGE + END, REFUSED, {"content-type": "multipart/form-data"}),
    Request(
        "long boundary",
        IMAGE + END,
        REFUSED,
        {"content-type": f"multipart/form-data; boundary={'b' * 5000}"},
    ),
    Request(
        "another boundary",
        IMAGE + END,
        REFUSED,
        {"content-type": "multipart/form-data; boundary=other"},
    ),
    Request("empty body", b"", REFUSED),
    Request("no end", IMAGE, REFUSED),
    Request("cut off in a header", IMAGE[:30], REFUSED),
    Request("no image", field_of("effort", b"fast") + END, REFUSED),
    Request("thousands of parts", field_of("effort", b"fast") * 5000 + IMAGE + END, REFUSED),
    Request("huge header", part("form-data", b"", b"X: " + b"a" * 99_999 + b"\r\n") + END, REFUSED),
    Request("many headers", part("form-data", b"", b"X: a\r\n" * 5000) + END, REFUSED),
    Request("huge field", field_of("effort", b"a" * 500_000) + IMAGE + END, REFUSED),
    Request("huge name", field_of("a" * 3000, b"") + IMAGE + END, REFUSED),
    Request("unknown field", field_of("__class__", b"x") + IMAGE + END, REFUSED),
    Request("path as a field", field_of("image", b"/etc/passwd") + END, REFUSED),
    Request("address as a field", field_of("image", b"http://127.0.0.1/") + END, REFUSED),
    Request("image twice", IMAGE + IMAGE + END, REFUSED),
    Request("no name", part("form-data", GOOD) + END, REFUSED),
    Request("no form data", part('attachment; name="image"', GOOD) + END, REFUSED),
    Request("settings of a list", field_of("settings", b"[1]") + IMAGE + END, REFUSED),
    Request("settings nested", field_of("settings", b"[" * 60_000) + IMAGE + END, REFUSED),
    Request("settings of NaN", field_of("settings", b'{"steps": NaN}') + IMAGE + END, REFUSED),
    Request("settings huge", field_of("settings", b'{"steps": 1e999}') + IMAGE + END, REFUSED),
    Request("no UTF-8", field_of("task", b"\xff\xfe") + IMAGE + END, REFUSED),
    Request("surrogates", field_of("settings", b'{"a": "\\ud800"}') + IMAGE + END, REFUSED),
    Request("YAML objects", field_of("config", OBJECTS) + IMAGE + END, REFUSED),
    Request("YAML references", field_of("config", ALIASES) + IMAGE + END, REFUSED),
    Request("YAML nested", field_of("config", b"[" * 20_000) + IMAGE + END, REFUSED),
    Request("YAML sequences", field_of("config", b"- " * 30_000) + IMAGE + END, REFUSED),
    Request("YAML large", field_of("config", b"a: b\n" * 100_000) + IMAGE + END, REFUSED),
    Request("too large", IMAGE + bytes(3 * 2**20), frozenset({413})),
)  # fmt: skip
