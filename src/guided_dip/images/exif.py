"""EXIF, which is a small TIFF file: its orientation, and its way into and out of TIFF files.

A TIFF stream is a header (byte order, 42, where the first directory is) and directories (IFDs)
of 12-byte entries: tag, type, count, and the value or where it is. BigTIFF has 43 and 8-byte
counts and places (Adobe, TIFF revision 6.0, 1992; Exif 2.32, CIPA DC-008).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

ORIENTATION = 0x0112
# Entries whose value is the place of another directory: Exif, GPS, interoperability.
POINTERS = frozenset({0x8769, 0x8825, 0xA005})

Order = Literal["<", ">"]
Directory = dict[int, "Entry"]

_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_BIG_TYPE_SIZES = {16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "L", 13: "L", 16: "Q", 18: "Q"}
_XMP_ORIENTATION = re.compile(rb"""(tiff:Orientation\s*(?:=\s*["']|>)\s*)[2-8]""")


class DamagedError(ValueError):
    """The stream contradicts itself or ends too early."""


@dataclass(frozen=True)
class Entry:
    """One entry of a directory: its value's bytes, in the stream's byte order, and their place."""

    tag: int
    type: int
    count: int
    value: bytes
    place: int
    directory: Directory | None = None

    def integers(self, order: Order) -> tuple[int, ...]:
        """Decode the value as unsigned integers; empty if it is of another type."""
        code = _INTEGERS.get(self.type)
        return struct.unpack(f"{order}{self.count}{code}", self.value) if code else ()


@dataclass(frozen=True)
class Stream:
    """A TIFF stream and what its header says.

    A strict one refuses entries that are cut off, another leaves them out.
    """

    data: bytes
    order: Order
    big: bool
    first: int
    strict: bool

    @classmethod
    def open(cls, data: bytes, *, strict: bool) -> Stream:
        """Read the header."""
        orders: dict[bytes, Order] = {b"II": "<", b"MM": ">"}
        order = orders.get(data[:2])
        if order is None:
            raise DamagedError("no TIFF header")
        (version,) = _unpack(data, 2, order + "H")
        if version == 43:
            return cls(data, order, True, _unpack(data, 8, order + "Q")[0], strict)
        if version != 42:
            raise DamagedError("no TIFF header")
        return cls(data, order, False, _unpack(data, 4, order + "L")[0], strict)

    def directories(self) -> Iterator[Directory]:
        """Walk the chain of main directories."""
        place, seen = self.first, set[int]()
        while place:
            if place in seen:
                raise DamagedError("its directories run in a circle")
            seen.add(place)
            directory, place = self.directory(place)
            yield directory

    def directory(self, place: int, depth: int = 0) -> tuple[Directory, int]:
        """Read the directory at a place, and the place of the next (0: none)."""
        counter, entry, pointer = ("Q", "HHQ8s", "Q") if self.big else ("H", "HHL4s", "L")
        (count,) = _unpack(self.data, place, self.order + counter)
        place += struct.calcsize(self.order + counter)
        size = struct.calcsize(self.order + entry)
        if place + count * size > len(self.data):
            raise DamagedError("a directory is cut off")
        found: Directory = {}
        total = 0
        for at in range(place, place + count * size, size):
            item = self._entry(at, self.order + entry, depth)
            if item is not None:
                found.setdefault(item.tag, item)
                total += len(item.value)
            if total > len(self.data):  # a small file must not unfold into a large one
                raise DamagedError("its entries overlap")
        # Some writers leave out the last directory's pointer to a next one.
        end = place + count * size
        following = self.data[end : end + struct.calcsize(self.order + pointer)]
        (next_place,) = struct.unpack(self.order + pointer, following) if following else (0,)
        return found, next_place

    def _entry(self, at: int, layout: str, depth: int) -> Entry | None:
        """Read one entry; None if its type is unknown or, unless strict, it is cut off."""
        tag, kind, count, inline = _unpack(self.data, at, layout)
        size = _TYPE_SIZES.get(kind) or (_BIG_TYPE_SIZES.get(kind, 0) if self.big else 0)
        length = size * count
        if not size:
            return None
        place = at + struct.calcsize(layout) - len(inline)
        if length > len(inline):
            (place,) = struct.unpack(self.order + ("Q" if self.big else "L"), inline)
        value = self.data[place : place + length]
        if len(value) < length:
            if not self.strict:
                return None
            raise DamagedError(f"the value of tag {tag} is cut off")
        return Entry(tag, kind, count, value, place, self._pointed_at(tag, kind, value, depth))

    def _pointed_at(self, tag: int, kind: int, value: bytes, depth: int) -> Directory | None:
        """Read the directory that an entry points at; None if it does not, or it is damaged."""
        if tag not in POINTERS or depth > 2 or kind not in _INTEGERS or not value:
            return None
        (place,) = Entry(tag, kind, 1, value[: _size(kind)], 0).integers(self.order)
        try:
            return self.directory(place, depth + 1)[0]
        except DamagedError:
            return None


def pack_directory(directory: Directory, order: Order, place: int) -> bytes:
    """Lay out a directory, and those it points at, to stand at an (even) place in a file."""
    entries = sorted(
        (entry for tag, entry in directory.items() if _is_classic(tag, entry)),
        key=lambda entry: entry.tag,
    )
    table = struct.pack(order + "H", len(entries))
    values_at = place + 2 + 12 * len(entries) + 4
    values = b""
    for entry in entries:
        kind, count, value, here = entry.type, entry.count, entry.value, values_at + len(values)
        if entry.directory is not None:
            values += _even(pack_directory(entry.directory, order, here))
            kind, count, value = 4, 1, struct.pack(order + "L", here)
        elif len(value) > 4:
            values += _even(value)
            value = struct.pack(order + "L", here)
        table += struct.pack(order + "HHL", entry.tag, kind, count) + value.ljust(4, b"\0")
    return table + struct.pack(order + "L", 0) + values


def pack_stream(directory: Directory, order: Order) -> bytes:
    """Make a whole TIFF stream of one directory."""
    head = (b"II" if order == "<" else b"MM") + struct.pack(order + "HL", 42, 8)
    return head + pack_directory(directory, order, len(head))


def orientation(exif: bytes) -> int:
    """Orientation in an EXIF stream, 1 to 8; 1 if there is none or the stream is damaged."""
    found = _orientation_entry(exif)
    return found[1] if found else 1


def with_orientation_1(exif: bytes) -> bytes:
    """Set the orientation to upright and leave every other byte as it is."""
    found = _orientation_entry(exif)
    if found is None:
        return exif
    entry, _, order = found
    upright = struct.pack(order + _INTEGERS[entry.type], 1)
    return exif[: entry.place] + upright + exif[entry.place + len(upright) :]


def xmp_with_orientation_1(xmp: bytes) -> bytes:
    """Set the orientation that an XMP packet repeats from EXIF to upright."""
    return _XMP_ORIENTATION.sub(rb"\g<1>1", xmp)


def _orientation_entry(exif: bytes) -> tuple[Entry, int, Order] | None:
    try:
        stream = Stream.open(exif, strict=False)
        entry = stream.directory(stream.first)[0].get(ORIENTATION)
    except DamagedError:
        return None
    values = entry.integers(stream.order) if entry else ()
    if entry is None or not values or not 1 <= values[0] <= 8:
        return None
    return entry, values[0], stream.order


def _is_classic(tag: int, entry: Entry) -> bool:
    """Tell whether classic TIFF can hold an entry, and a pointer still points at something."""
    return entry.type in _TYPE_SIZES and (tag not in POINTERS or entry.directory is not None)


def _size(kind: int) -> int:
    return _TYPE_SIZES.get(kind) or _BIG_TYPE_SIZES[kind]


def _even(value: bytes) -> bytes:
    """Pad to whole words, on which TIFF's values begin."""
    return value + b"\0" * (len(value) % 2)


def _unpack(data: bytes, place: int, layout: str) -> tuple[Any, ...]:
    try:
        return struct.unpack_from(layout, data, place)
    except struct.error:
        raise DamagedError("it is cut off") from None
