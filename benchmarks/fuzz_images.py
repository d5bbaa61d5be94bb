"""Fuzz the image reader: damaged pictures must be read or refused, never crash it or hang.

    python benchmarks/fuzz_images.py [--seconds 600] [--seed 0] [--out fuzz]

Valid files of every format are changed (bits flipped, bytes cut out, doubled, zeroed, numbers made
extreme, two files spliced) and read in a process of its own, with a limit of time and of memory
for each. What crashes or hangs it, or ends in anything but a picture or one line of refusal, is
kept in a folder; then the command exits with 1.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing as mp
import random
import resource
import sys
import tempfile
import time
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, ImageCms

from guided_dip.errors import InputError
from guided_dip.images import Picture, read, write

LIMIT = 10.0  # seconds for one file
MEMORY = 4 * 2**30  # bytes for the reading process
MAX_PIXELS = 2**20
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
EXTREMES = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f")
EXTREMES += (b"\x80\0\0\0", b"\0\0\0\x80", b"\0\1\0\0", b"\0\0\1\0")


def seeds() -> dict[str, list[bytes]]:
    """Make valid files, by suffix."""
    found: dict[str, list[bytes]] = {}
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "An artist"
    tags = exif.tobytes().removeprefix(b"Exif\0\0")
    kinds = {
        ".png": ("uint8", "uint16"),
        ".tif": ("uint8", "uint16", "int32", "float32"),
        ".jpg": ("uint8",),
        ".webp": ("uint8",),
        ".bmp": ("uint8",),
        ".fits": ("uint8", "uint16", "float32"),
    }
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for suffix, types in kinds.items():
            for dtype in types:
                for shape in ((13, 17), (13, 17, 3)):
                    for alpha in (None, np.ones((13, 17), dtype)):
                        pixels = (rng.random(shape) * 200).astype(dtype)
                        picture = Picture(pixels, alpha, icc=ICC, exif=tags, xmp=b"<x/>")
                        path = Path(folder) / f"a{suffix}"
                        try:
                            write(path, picture, overwrite=True)
                        except InputError:
                            continue  # this format has no such pictures
                        found.setdefault(suffix, []).append(path.read_bytes())
    gray = (rng.random((13, 17)) * 200).astype(np.uint8)
    for form, mode in (("PNG", "P"), ("PNG", "1"), ("BMP", "P"), ("JPEG", "CMYK"), ("TIFF", "P")):
        data = io.BytesIO()
        Image.fromarray(gray).convert("RGB").convert(mode).save(data, form)
        found[{"PNG": ".png", "BMP": ".bmp", "JPEG": ".jpg", "TIFF": ".tif"}[form]].append(
            data.getvalue()
        )
    for options in (
        {"compression": "lzw"}, {"compression": "jpeg"}, {"compression": "packbits"},
        {"tile": (16, 16)}, {"bigtiff": True}, {"byteorder": ">"}, {"compression": "webp"},
        {"rowsperstrip": 2}, {"compression": "zstd"}, {"compression": "lzma"},
    ):  # fmt: skip
        data = io.BytesIO()
        rgb = np.dstack([gray] * 3) if options.get("compression") == "webp" else gray
        tifffile.imwrite(data, rgb, **options)
        found[".tif"].append(data.getvalue())
    return found


def changed(data: bytes, others: list[bytes], chance: random.Random) -> bytes:
    """Damage a file in one to six places."""
    body = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        size = len(body)
        if size < 2:
            break
        # Heads are short and full of meaning: half of the damage goes there.
        place = chance.randrange(min(size, 200) if chance.random() < 0.5 else size)
        end = min(size, place + chance.choice((1, 2, 4, 16, 256)))
        kind = chance.randrange(8)
        if kind == 0:
            body[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            body[place] = chance.randrange(256)
        elif kind == 2:
            body[place : place + 4] = chance.choice(EXTREMES)
        elif kind == 3:
            del body[place:end]
        elif kind == 4:
            body[place:place] = body[place:end]
        elif kind == 5:
            body[place:end] = bytes(end - place)
        elif kind == 6:
            del body[place:]
        else:
            body[place:] = chance.choice(others)[place:]
    return bytes(body)


def reader(pipe: Connection) -> None:
    """Read file after file, and tell what came of each."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    while (path := pipe.recv()) is not None:
        try:
            picture = read(path, max_pixels=MAX_PIXELS)
            assert picture.pixels.size
            pipe.send("read")
        except InputError as error:
            line = str(error)
            pipe.send("refused" if "\n" not in line and len(line) < 1000 else f"line {line!r}")
        except BaseException as error:
            pipe.send(f"{type(error).__name__}: {error}")


class Reader:
    """A process that reads files, started anew where one has ended it."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        context = mp.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=reader, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()

    def ask(self, path: Path) -> str:
        """Return what came of a file."""
        self._pipe.send(str(path))
        try:
            if self._pipe.poll(LIMIT):
                return str(self._pipe.recv())
            outcome = f"hangs for more than {LIMIT:g} s"
        except EOFError:
            self._process.join()
            outcome = f"crashes, exit code {self._process.exitcode}"
        self._process.kill()
        self._process.join()
        self._start()
        return outcome

    def end(self) -> None:
        """End the process."""
        self._pipe.send(None)
        self._process.join()


def main() -> int:
    """Fuzz for a time; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("fuzz"))
    args = parser.parse_args()
    chance, files = random.Random(args.seed), seeds()
    counts: Counter[tuple[str, str]] = Counter()
    bad: list[str] = []
    one, began, told = Reader(), time.monotonic(), 0.0
    with tempfile.TemporaryDirectory() as folder:
        while (passed := time.monotonic() - began) < args.seconds:
            suffix = chance.choice(list(files))
            path = Path(folder) / f"in{suffix}"
            path.write_bytes(changed(chance.choice(files[suffix]), files[suffix], chance))
            outcome = one.ask(path)
            if outcome in ("read", "refused"):
                counts[suffix, outcome] += 1
            else:
                args.out.mkdir(parents=True, exist_ok=True)
                kept = args.out / f"{len(bad)}{suffix}"
                kept.write_bytes(path.read_bytes())
                bad.append(f"{kept}: {outcome}")
                print(bad[-1], flush=True)
            if passed - told >= 30:
                told = passed
                left = args.seconds - passed
                print(f"{counts.total()} files, {len(bad)} bad, {left:.0f} s left", flush=True)
    one.end()
    for suffix in files:
        read_, refused = counts[suffix, "read"], counts[suffix, "refused"]
        print(f"{suffix}: {read_} read, {refused} refused")
    print(f"{counts.total() + len(bad)} files in {args.seconds:.0f} s, {len(bad)} bad")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
