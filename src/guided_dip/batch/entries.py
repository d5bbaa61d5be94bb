"""What a batch knows of each picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["queued", "running", "done", "failed"]


@dataclass(frozen=True)
class Stamp:
    """What tells, without reading it, that a file is not what it was.

    Attributes
    ----------
    size
        In bytes.
    changed
        When its content was last changed, in nanoseconds.
    """

    size: int
    changed: int


@dataclass(frozen=True)
class Found:
    """A picture that is to be restored.

    Attributes
    ----------
    name
        Its place below the root of the sources, with ``/`` between folders.
    output
        The restoration's below ``OUTDIR``.
    stamp
        Of its file; None if that is not there.
    """

    name: str
    output: str
    stamp: Stamp | None


@dataclass(frozen=True)
class Done:
    """What came of a picture.

    Attributes
    ----------
    content
        SHA-256 of the source file.
    stamp
        Of the restoration's file.
    seconds
        Time of the fit and the final estimate, of all its pages.
    width, height, channels, pages
        Of the restoration.
    noise
        What was found or told of its noise, for people.
    note
        What the user should know about it: warnings, in one line; or an empty string.
    """

    content: str
    stamp: Stamp
    seconds: float
    width: int
    height: int
    channels: int
    pages: int = 1
    noise: str = ""
    note: str = ""


@dataclass(frozen=True)
class Entry:
    """A picture of a batch, as the manifest has it.

    Attributes
    ----------
    id
        Its number, from 1, in the order in which the pictures were found.
    name, output, stamp
        As in `Found`.
    settings
        Digest of the settings it is restored with.
    state
        What has become of it.
    reason
        Why it failed, in one line, else an empty string.
    attempts
        How often it was begun without an end.
    began, ended
        When it was last begun, and done or failed, in seconds since 1970; None if it was not.
    done
        What came of it; None unless it is done.
    ours
        Whether its output, if there is one, was written by this batch.
    """

    id: int
    name: str
    output: str
    stamp: Stamp | None
    settings: str
    state: State
    reason: str = ""
    attempts: int = 0
    began: float | None = None
    ended: float | None = None
    done: Done | None = None
    ours: bool = False


@dataclass(frozen=True)
class Counts:
    """How many pictures are in which state."""

    queued: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0

    @property
    def left(self) -> int:
        """Those that are neither done nor failed."""
        return self.queued + self.running

    @property
    def total(self) -> int:
        """All of them."""
        return self.left + self.done + self.failed
