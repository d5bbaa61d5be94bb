"""What a worker is given and what it says: the same for processes here, on Ray and on Slurm."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from guided_dip.batch.entries import Done
from guided_dip.config import Config

if TYPE_CHECKING:
    from guided_dip.runs import Summary

# Settings that say where and how a picture is computed, not what comes of it.
ELSEWHERE = ("threads", "device")
# Kinds of events by which a worker says that it is through with a picture.
ENDS = ("done", "failed", "cut", "stuck")
# Raised when the same settings come to mean other results.
RESULTS = 1


@dataclass(frozen=True)
class Orders:
    """What goes for all pictures of a batch, complete so that it can be sent to another machine.

    Attributes
    ----------
    config
        Settings.
    mask, kernel, gain
        Pictures of what is missing, of the blur and of what each pixel was multiplied by.
    invert_mask
        The mask is black where pixels are missing.
    joint
        One network for all pages of a stack.
    max_pixels
        Most pixels that a picture may have; None for the usual limit.
    checkpoint_every
        Seconds between checkpoints.
    keep_runs
        Keep the run of each picture, with figures.
    clean
        The clean picture, to score with.
    page
        The only page of a stack that is restored; None for all.
    region
        The only part of the picture that is restored, ``X,Y,WIDTH,HEIGHT``; None for all of it.
    time_budget
        Seconds that a picture may take.
    figures
        Draw them for runs that are kept.
    preview_every
        Seconds between pictures of what is estimated, while there is no end; None for none.
    told_every
        Seconds between what is said about steps; None for a usual time.
    hooks
        What else is made of a picture by who restores it, `Hooks`; None for nothing.
    """

    config: Config
    mask: Path | None = None
    kernel: Path | None = None
    gain: Path | None = None
    invert_mask: bool = False
    joint: bool = False
    max_pixels: int | None = None
    checkpoint_every: float = 60.0
    keep_runs: bool = False
    clean: Path | None = None
    page: int | None = None
    region: str | None = None
    time_budget: float | None = None
    figures: bool = True
    preview_every: float | None = None
    told_every: float | None = None
    hooks: Any = None

    def content(self) -> dict[str, Any]:
        """Return all that decides what comes of a picture, as JSON has it.

        Raises
        ------
        InputError
            If a file cannot be read.
        """
        from guided_dip.runs import Source

        files = {"mask": self.mask, "kernel": self.kernel, "gain": self.gain, "clean": self.clean}
        known = {name: Source.of(path).sha256 for name, path in files.items() if path is not None}
        # Not what has been set: a default that is set is the default.
        settings = self.config.model_dump(
            mode="json", exclude=set(ELSEWHERE), exclude_defaults=True
        )
        content: dict[str, Any] = {"results": RESULTS, "settings": settings} | known
        if self.mask is not None and self.invert_mask:
            content["invert_mask"] = True
        if self.joint:
            content["joint"] = True
        for name in ("page", "region", "time_budget"):
            if getattr(self, name) is not None:
                content[name] = getattr(self, name)
        return content


def digest_of(content: dict[str, Any]) -> str:
    """Return the digest of what `Orders.content` is."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Item:
    """A picture to restore.

    Attributes
    ----------
    name
        In the manifest.
    source, output
        Its file, and where the restoration goes.
    work, log
        The folder of its unfinished run, and the file that its job writes what it does to.
    run
        Where its run is kept, if runs are.
    ours
        Whether a file at the output's place was written by this batch, or may be replaced anyway.
    orders
        Its own; None for those that go for all.
    enough
        A file that is there once the picture is to end early, its current estimate being the
        restoration; None: it is not.
    """

    name: str
    source: Path
    output: Path
    work: Path
    log: Path
    run: Path
    ours: bool = False
    orders: Orders | None = None
    enough: Path | None = None


class Hooks(Protocol):
    """What else is made of a picture by who restores it, there; it can be pickled."""

    def begins(self, item: Item) -> None:
        """Make what can be made before the picture is restored.

        Parameters
        ----------
        item
            The picture.
        """

    def ended(self, item: Item, summaries: Sequence[Summary]) -> None:
        """Make what can be made when it is; only then is it said to be done.

        Parameters
        ----------
        item
            The picture.
        summaries
            What came of each of its pages.
        """


@dataclass(frozen=True)
class Reached:
    """Where a picture's fit is.

    Attributes
    ----------
    step, steps
        Of the fit under way, from 1.
    stage, stages
        Of its plan, from 1.
    loss
        Of the step.
    seconds
        Computed so far.
    psnr
        Of the step's output against the clean picture, in dB; None without one.
    previews
        Pictures of the estimate that this attempt has shown.
    """

    step: int
    steps: int
    stage: int
    stages: int
    loss: float
    seconds: float
    psnr: float | None = None
    previews: int = 0


@dataclass(frozen=True)
class Event:
    """What is said about a picture.

    Attributes
    ----------
    kind
        ``begun``: all of it is read and checked; ``step``: so far it got; ``done``; ``failed``;
        ``cut``: it was asked to end, and keeps its place; ``stuck``: nothing can be written any
        more, as the disk is full; ``lost``: its process is no more. A coordinator adds ``given``:
        somebody has it now; ``gone``: it was taken off the manifest.
    name
        Of the picture.
    text
        Why it failed, is stuck or lost.
    share
        Of the work that is done, from 0 to 1.
    done
        What came of it.
    at
        Where a step is.
    """

    kind: Literal["begun", "step", "done", "failed", "cut", "stuck", "lost", "given", "gone"]
    name: str
    text: str = ""
    share: float = 0.0
    done: Done | None = None
    at: Reached | None = None


Tell = Callable[[Event], None]


class Executor(Protocol):
    """Who carries out the work: takes groups of pictures, and tells what becomes of each."""

    def room(self) -> int:
        """Return how many groups it can take now."""

    def submit(self, items: Sequence[Item]) -> None:
        """Have a group carried out.

        Parameters
        ----------
        items
            Restored as one if they can be, else one after another.
        """

    def wait(self, seconds: float) -> list[Event]:
        """Return what has been said, as soon as there is something.

        Each picture that was submitted comes to one end: done, failed, cut, stuck or lost.

        Parameters
        ----------
        seconds
            Most time to wait; with nothing to wait for, it returns at once.
        """

    def end(self, name: str) -> None:
        """End work at a picture that was submitted, whatever it is at; no more is heard of it.

        Parameters
        ----------
        name
            Of the picture.
        """

    def stop(self) -> None:
        """Ask for all work to end soon, and to keep what is needed to go on."""

    def close(self) -> None:
        """End all processes, whatever they are at."""
