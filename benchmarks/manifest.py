"""How long a batch's manifest takes, with a million pictures.

    python benchmarks/manifest.py [--rows 1000000] [--folder DIR] [--shuffle]

Enrols that many pictures that need not exist, claims and ends a part of them, times each query
several times, and enrols all of them again. Prints a table of the median and the worst times, the
rates of enrolling, the size of the file, and the most memory that the process had in use.
"""

from __future__ import annotations

import argparse
import random
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from guided_dip.batch.entries import Done, Found, Stamp, State
from guided_dip.batch.manifest import Manifest

PER_FOLDER = 1000
DIGEST = "5" * 64
STATES: tuple[State, ...] = ("queued", "done", "failed")
LIMIT = 0.1  # seconds that no query may take
TIMES = 25


def name_of(number: int) -> str:
    """Return the name of a picture."""
    return f"archive/box {number // PER_FOLDER:04}/scan {number % PER_FOLDER:04}.tif"


def pictures(rows: int, *, shuffle: bool = False) -> Iterator[Found]:
    """Yield the pictures in the order in which folders are walked, or in none."""
    order = list(range(rows)) if shuffle else range(rows)
    if isinstance(order, list):
        random.Random(0).shuffle(order)
    for number in order:
        name = name_of(number)
        stamp = Stamp(10_000_000 + number, 1_700_000_000_000_000_000 + number)
        yield Found(name, f"{name.removesuffix('.tif')}.png", stamp)


def no_content(name: str) -> str:
    """Stand for the reading of sources, none of which has changed."""
    raise AssertionError(f"{name} is read though its stamp is the same")


def done(number: int) -> Done:
    """Return what came of a picture."""
    content = f"{number:064x}"
    return Done(content, Stamp(5_000_000, number), 60.0, 4000, 3000, 3, noise="sigma 12.3")


def enrol(manifest: Manifest, rows: int, *, shuffle: bool = False) -> float:
    """Enrol all pictures; return how many a second."""
    began = time.perf_counter()
    enrolled = manifest.enrol(
        pictures(rows, shuffle=shuffle),
        DIGEST,
        content_of=no_content,
        output_stamp_of=lambda _: Stamp(5_000_000, 0),
    )
    rate = rows / (time.perf_counter() - began)
    print(f"{enrolled}\n{rate:,.0f} rows/s", flush=True)
    return rate


def end_some(manifest: Manifest, rows: int) -> None:
    """Bring a third of the pictures to an end, one of ten of them to a bad one."""
    left = rows // 3
    while left > 0:
        with manifest.transaction():
            entries = manifest.claim(min(5000, left))
            for entry in entries:
                if entry.id % 10:
                    manifest.finish(entry.name, done(0))
                else:
                    manifest.fail(entry.name, "holds NaN; try --mask")
        left -= len(entries)


def timed(what: str, query: Callable[[], object]) -> float:
    """Print the median and the worst time of a query; return the worst."""
    times = []
    for _ in range(TIMES):
        began = time.perf_counter()
        query()
        times.append(time.perf_counter() - began)
    median, worst = statistics.median(times) * 1000, max(times) * 1000
    print(f"{what:<42}{median:>10.2f} ms{worst:>10.2f} ms", flush=True)
    return max(times)


def queries(manifest: Manifest, rows: int) -> float:
    """Time them all; return the worst time of any."""
    chance = random.Random(1)
    running: list[str] = []

    def status() -> None:
        with Manifest.open(manifest.path, read_only=True) as reader:
            reader.counts()
            reader.recent_pace()

    def claim() -> None:
        running.extend(entry.name for entry in manifest.claim(100, DIGEST))

    def page(state: State | None) -> None:
        manifest.entries(state, after=chance.randrange(rows // 4), limit=100)

    def finish(number: int) -> None:
        with manifest.transaction():
            for _ in range(number):
                manifest.finish(running.pop(), done(0))

    print(f"{'':<42}{'median':>13}{'worst':>13}")
    return max(
        timed("open, counts, recent_pace, close", status),
        timed("counts", manifest.counts),
        timed("recent_pace", manifest.recent_pace),
        *(timed(f"entries, {state}, 100", partial(page, state)) for state in STATES),
        timed("entries, all, 100", lambda: page(None)),
        timed("entry", lambda: manifest.entry(name_of(chance.randrange(rows)))),
        timed("queued", lambda: manifest.queued(DIGEST)),
        timed("has_queued", lambda: manifest.has_queued(DIGEST)),
        timed("queued_settings", manifest.queued_settings),
        timed("claim(100)", claim),
        timed("finish, 99 in a transaction", lambda: finish(99)),
        timed("finish, one", lambda: finish(1)),
    )


def measure(folder: Path, rows: int, *, shuffle: bool) -> float:
    """Load a manifest in a folder, time it, and print; return the worst time of any query."""
    with Manifest.create(folder / "manifest.sqlite", folder) as manifest:
        manifest.keep_settings(DIGEST, {"effort": "balanced"})
        print(f"enrolling {rows:,} new pictures", flush=True)
        enrol(manifest, rows, shuffle=shuffle)
        end_some(manifest, rows)
        print(f"\n{manifest.counts()}", flush=True)
        worst = queries(manifest, rows)
        print("\nenrolling all of them again, unchanged")
        enrol(manifest, rows, shuffle=shuffle)
        print(f"\n{manifest.path.stat().st_size / 2**20:,.0f} MiB on the disk")
    return worst


def main() -> int:
    """Load, time, and print; return 1 if a query took too long."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--shuffle", action="store_true", help="enrol in no order")
    args = parser.parse_args()
    if args.rows < 3 * 100 * TIMES:
        parser.error(f"--rows must be at least {3 * 100 * TIMES}")
    with tempfile.TemporaryDirectory(dir=args.folder) as folder:
        worst = measure(Path(folder), args.rows, shuffle=args.shuffle)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    print(f"{peak:,.0f} MiB of memory at the peak; the worst query took {worst * 1000:.1f} ms")
    return 0 if worst < LIMIT else 1


if __name__ == "__main__":
    sys.exit(main())
