"""What the job manager does, for the API and the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from guided_dip.batch.entries import Counts
from guided_dip.web.limits import Limits
from guided_dip.web.models import Curve, JobSettings, JobState, View

Role = Literal["image", "mask", "kernel", "gain", "clean"]


@dataclass(frozen=True)
class Upload:
    """A file that has arrived and been looked at: it decodes, and is within the limits.

    Attributes
    ----------
    path
        In the server's folder; the manager moves it from there.
    name
        That the user gave it, for people.
    format
        Such as ``PNG``, found by decoding.
    width, height, channels, pages, bits
        Of the picture.
    """

    path: Path
    name: str
    format: str
    width: int
    height: int
    channels: int
    pages: int = 1
    bits: int = 8


@dataclass(frozen=True)
class NewJob:
    """What a user wants done.

    Attributes
    ----------
    files
        By what they are; ``image`` is always there.
    settings
        What is asked for.
    """

    files: Mapping[Role, Upload]
    settings: JobSettings


class UnknownJobError(LookupError):
    """There is no such job, or it is another user's, which is the same to who asks."""


class NotReadyError(Exception):
    """A job does not have what it is asked for, or not yet; the text says why."""


class QueueFullError(Exception):
    """No more jobs are taken at present.

    Parameters
    ----------
    text
        Why.
    retry_after
        Seconds after which to try again.
    """

    def __init__(self, text: str, retry_after: int) -> None:
        super().__init__(text)
        self.retry_after = retry_after


class Jobs(Protocol):
    """Takes jobs and has them carried out; every method may be called from any thread.

    An `owner` is whatever tells users apart, an empty string where there is one only. A job that
    does not exist or is another owner's raises `UnknownJobError`.
    """

    @property
    def limits(self) -> Limits:
        """What anyone may ask for."""

    @property
    def is_healthy(self) -> bool:
        """Whether jobs are carried out; not, if the manager has met a bug."""

    def begin(self, new: NewJob, owner: str) -> JobState:
        """Queue a job; it is on the disk when this returns.

        Parameters
        ----------
        new
            Its files are the manager's from now on, also if this raises something.
        owner
            Whose it is.

        Raises
        ------
        InputError
            If the settings are not usable, or do not go with the files.
        QueueFullError
            If there are too many jobs, or they take too much of the disk.
        """

    def state(self, id: str, owner: str) -> JobState:
        """Return a job as it is now."""

    def states(self, owner: str, limit: int = 100) -> list[JobState]:
        """Return the owner's jobs, the newest first."""

    def wait(self, id: str, owner: str, version: int, seconds: float) -> JobState:
        """Return a job as soon as its version is above one, or when the time is over."""

    def listen(self, heard: Callable[[str], None]) -> Callable[[], None]:
        """Have something called with a job's id whenever that changes, from another thread.

        Returns
        -------
        Callable
            Ends that.
        """

    def stop(self, id: str, owner: str) -> JobState:
        """End a job soon, with its current estimate as the result; one that is queued is cancelled.

        Raises
        ------
        NotReadyError
            If it has ended already.
        """

    def cancel(self, id: str, owner: str) -> JobState:
        """End a job within two seconds; its pictures go, and it stays in the list.

        Raises
        ------
        NotReadyError
            If it has ended already.
        """

    def remove(self, id: str, owner: str) -> None:
        """Remove all that there is of a job, which is cancelled if it has not ended."""

    def view(self, id: str, owner: str, view: View) -> Path:
        """Return the file of a picture of a job.

        Raises
        ------
        NotReadyError
            If there is none, or not yet.
        """

    def run_folder(self, id: str, owner: str) -> Path:
        """Return the run folder of a job that is done.

        Raises
        ------
        NotReadyError
            If it is not.
        """

    def curve(self, id: str, owner: str) -> Curve:
        """Return how a job's fit went so far."""

    def counts(self) -> Counts:
        """Return how many jobs are in which state; those that were cancelled are none."""
