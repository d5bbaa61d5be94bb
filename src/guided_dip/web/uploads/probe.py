"""Uploads are looked at in processes of their own, of little memory and little time.

Decoders of pictures are large C libraries, and whatever a stranger sends goes through them: in a
process that may write no file, take no more memory than a picture within the limits needs, and
that is ended when it takes too long.
"""

from __future__ import annotations

import queue
import re
import sys
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from guided_dip.errors import InputError
from guided_dip.images import Facts, TooLargeError, UnknownFormatError, look_at
from guided_dip.web.jobs import Upload
from guided_dip.web.limits import Limits
from guided_dip.web.problems import ProblemError
from guided_dip.workers import Ended, Link, Pool

PAGES = 512  # of a file: each is looked for from the file's beginning
SECONDS = 20.0  # for one file
PATIENCE = 60.0  # seconds for a process to be free
NAME = 150  # letters of a name
USES = 200  # files that a process looks at before another takes its place
_PER_PIXEL, _SPARE = 64, 2**29  # bytes: of four float64 channels and their copies; of libraries
_KINDS = {kind.__name__: kind for kind in (UnknownFormatError, TooLargeError, InputError)}


@dataclass(frozen=True)
class _Look:
    """What a process is to look at."""

    path: Path
    max_pixels: int
    max_memory: int


def plain_name(name: str) -> str:
    r"""Return a file's name as people may be shown it: one printable line, without folders.

    >>> plain_name("C:\\pictures\\..\\cat.png"), plain_name("../"), plain_name("a\r\nb.png")
    ('cat.png', 'picture', 'a b.png')
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name[:2000]).rstrip("/\\"))[-1]
    shown = "".join(c if c.isprintable() else " " for c in last)
    shown = " ".join(shown.split()).strip(". ")
    if len(shown) > NAME:
        stem, dot, suffix = shown.rpartition(".")
        tail = dot + suffix if stem and len(suffix) < 10 else ""
        shown = shown[: NAME - len(tail)] + tail
    return shown or "picture"


class Checker:
    """Finds out what files are; a context manager that ends its processes when it is left.

    Parameters
    ----------
    limits
        What is allowed.
    processes
        How many files are looked at at a time.
    seconds
        Most time that one may take.
    """

    def __init__(self, limits: Limits, processes: int = 2, seconds: float = SECONDS) -> None:
        self._limits = limits
        self._seconds = seconds
        self._free: queue.Queue[_Place] = queue.Queue()
        self._places = [_Place() for _ in range(processes)]
        for place in self._places:
            self._free.put(place)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes."""
        for place in self._places:
            place.close()

    def look(self, path: Path, name: str) -> Upload:
        """Find out what a file is; may be called from any thread, and waits.

        Parameters
        ----------
        path
            Of the file, in the server's folder.
        name
            That the user gave it, for messages and people only.

        Raises
        ------
        UnknownFormatError
            If it is no picture of a known format.
        TooLargeError
            If it has too many pixels or pages.
        InputError
            If it is damaged, or of a kind that is not restored.
        ProblemError
            If too many others are being looked at.
        """
        name = plain_name(name)
        memory = self._limits.pixels * _PER_PIXEL + 3 * self._limits.upload + _SPARE
        try:
            place = self._free.get(timeout=PATIENCE)
        except queue.Empty:
            raise ProblemError(
                503, "too many pictures are being looked at; try again soon", retry_after=20
            ) from None
        try:
            said = place.look(_Look(path, self._limits.pixels, memory), self._seconds)
        finally:
            self._free.put(place)
        return self._upload(path, name, said)

    def _upload(self, path: Path, name: str, said: object) -> Upload:
        if isinstance(said, dict):
            facts = Facts(**said)
            return Upload(path, name, **asdict(facts))
        if isinstance(said, tuple):
            kind, text = said
            raise _KINDS.get(kind, InputError)(f"{name}: {text}")
        if said is None:
            raise InputError(
                f"{name}: took longer than {self._seconds:g} s to read; try saving it anew"
            )
        raise InputError(f"{name}: cannot be read safely; try saving it anew, as PNG or TIFF")


class _Place:
    """A process, and those that take its place."""

    def __init__(self) -> None:
        self._pool = Pool(_work, [0])
        self._uses = 0

    def look(self, look: _Look, seconds: float) -> Any:
        """Return what the process says: a dict, (kind, text), None if too late, or its end."""
        worker = self._pool.idle[0]
        worker.give(look)
        self._uses += 1
        said = [message for _, message in self._pool.wait(seconds)]
        if said and self._pool.busy:
            self._pool.wait(seconds)  # until it says that it is idle, which is at once
        if not said or self._pool.busy or isinstance(said[0], Ended) or self._uses >= USES:
            self._renew()
        return said[0] if said else None

    def close(self) -> None:
        self._pool.__exit__()

    def _renew(self) -> None:
        self.close()
        self._pool, self._uses = Pool(_work, [0]), 0


def _work(look: Any, link: Link) -> None:
    """Look at a file: the process's part."""
    assert isinstance(look, _Look)
    _confine(look.max_memory)
    link.tell(_said(lambda: look_at(look.path, max_pixels=look.max_pixels, max_pages=PAGES)))


def _said(found: Callable[[], Facts]) -> dict[str, Any] | tuple[str, str]:
    try:
        return asdict(found())
    except (InputError, MemoryError) as error:
        if isinstance(error, MemoryError):
            return "TooLargeError", "takes too much memory to read; try a crop of it"
        return type(error).__name__, str(error)
    except RecursionError:
        return "InputError", "damaged; try saving it anew"


def _confine(memory: int) -> None:
    """Take the means to do harm away from this process, where the system can."""
    sys.dont_write_bytecode = True
    with suppress(ImportError):  # on Windows
        import resource

        limits = {"RLIMIT_AS": _space() + memory, "RLIMIT_FSIZE": 0, "RLIMIT_CORE": 0}
        for name, amount in limits.items():
            with suppress(ValueError, OSError, AttributeError):
                kind = getattr(resource, name)
                _, hard = resource.getrlimit(kind)
                if hard == resource.RLIM_INFINITY or amount < hard:
                    resource.setrlimit(kind, (amount, hard))


def _space() -> int:
    """Return the bytes of address space that this process has taken already."""
    with suppress(OSError, ValueError):
        return int(Path("/proc/self/statm").read_text().split()[0]) * 4096
    return 2**33
