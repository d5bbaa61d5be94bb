"""The data folder of a server: what lies where. All names in it are the server's own.

``jobs/ID``
    All there is of a job: `JobFolder`.
``guided-dip-batch``
    The manifest, as of any batch: which jobs are queued, running, done or failed.
``removed``
    What is being deleted.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from guided_dip.batch.place import FOLDER, Place
from guided_dip.runs.layout import CHECKPOINT, DRAFT, METRICS, PREVIEW
from guided_dip.web.models import View

PRIVATE = 0o700
JOBS, REMOVED, LOCK = "jobs", "removed", "server.lock"

_ID = re.compile(r"[0-9a-f]{32}")


def new_id() -> str:
    """Return an id that nobody can guess."""
    return secrets.token_hex(16)


@dataclass(frozen=True)
class JobFolder:
    """The folder of a job.

    Attributes
    ----------
    path
        Where it is.
    """

    path: Path

    @property
    def record(self) -> Path:
        """What is known of the job."""
        return self.path / "job.json"

    @property
    def owner(self) -> Path:
        """Whose it is, known also if the record is damaged."""
        return self.path / "owner"

    @property
    def work(self) -> Path:
        """Its unfinished run."""
        return self.path / "work"

    @property
    def run(self) -> Path:
        """Its finished run."""
        return self.path / "run"

    @property
    def views(self) -> Path:
        """Pictures of it, for browsers."""
        return self.path / "views"

    @property
    def outcome(self) -> Path:
        """What came of it, as its worker says."""
        return self.path / "outcome.json"

    @property
    def enough(self) -> Path:
        """Is there once it is to end with what it has got to."""
        return self.path / "enough"

    @property
    def log(self) -> Path:
        """What its worker did."""
        return self.path / "log.txt"

    def view(self, view: View) -> Path:
        """Return where a picture of it is, if there is one; the result is elsewhere."""
        return _latest(self.work, PREVIEW) if view == "preview" else self.views / f"{view}.png"

    def metrics(self) -> Path:
        """Return the records of its steps, of the page that was begun last."""
        if (self.run / METRICS).exists():
            return self.run / METRICS
        pages = sorted(self.run.glob(f"page-*/{METRICS}"))
        return pages[-1] if pages else _latest(self.work, METRICS)

    def has_checkpoint(self) -> bool:
        """Tell whether there is something to go on with, or to end with."""
        return _latest(self.work, CHECKPOINT).is_file()

    def size(self) -> int:
        """Return the bytes of its files."""
        total = 0
        for path in self.path.rglob("*"):
            with suppress(OSError):  # it may be at work
                total += path.lstat().st_size
        return total

    def clear(self, *kept: Path) -> None:
        """Delete what is in it, but for a few files."""
        for path in self.path.iterdir():
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            elif path not in kept:
                with suppress(OSError):
                    path.unlink()


def _latest(work: Path, name: str) -> Path:
    """Return a file of the draft at work: of the only one, or of the last page's that was begun."""
    pages = sorted(work.glob(f"page-*/{DRAFT}/{name}"))
    return pages[-1] if pages else work / DRAFT / name


@dataclass(frozen=True)
class Data:
    """The data folder.

    Attributes
    ----------
    folder
        Where it is, absolute.
    """

    folder: Path

    def make(self) -> None:
        """Make it and its folders, which nobody else may look into."""
        for path in (self.folder, self.jobs, self.removed):
            path.mkdir(mode=PRIVATE, exist_ok=True)

    @property
    def jobs(self) -> Path:
        """Where the jobs are."""
        return self.folder / JOBS

    @property
    def removed(self) -> Path:
        """Where jobs go that are being deleted."""
        return self.folder / REMOVED

    def job(self, id: str) -> JobFolder:
        """Return the folder of a job."""
        assert _ID.fullmatch(id), "ids are the server's own"
        return JobFolder(self.jobs / id)

    def ids(self) -> Iterator[str]:
        """Yield the ids of the jobs that have a folder."""
        for path in sorted(self.jobs.iterdir()):
            if _ID.fullmatch(path.name) and path.is_dir():
                yield path.name

    def remove(self, id: str) -> None:
        """Delete a job's folder; it is gone from its place at once."""
        away = self.removed / f"{id}-{secrets.token_hex(4)}"
        with suppress(OSError):
            self.job(id).path.replace(away)
        shutil.rmtree(away, ignore_errors=True)

    def tidy(self) -> None:
        """Delete what an earlier server has left of deleting."""
        for path in self.removed.iterdir():
            shutil.rmtree(path, ignore_errors=True)

    @property
    def place(self) -> JobsPlace:
        """What a batch calls the folders."""
        return JobsPlace(self.jobs)


@dataclass(frozen=True)
class JobsPlace(Place):
    """The place of a batch whose pictures are jobs, each with all that belongs to it in a folder.

    A picture's name is ``jobs/ID/image.SUFFIX``, below the data folder.
    """

    @cached_property
    def folder(self) -> Path:
        """Of the manifest."""
        return self.outdir.parent / FOLDER

    def job(self, name: str) -> JobFolder:
        """Return the folder of a picture's job."""
        return JobFolder(self.outdir.parent.joinpath(name).parent)

    def work(self, name: str, settings: str) -> Path:
        """Return the folder of a job's unfinished run."""
        del settings
        return self.job(name).work

    def log(self, name: str) -> Path:
        """Return the file that a job's worker writes what it does to."""
        return self.job(name).log

    def run(self, name: str) -> Path:
        """Return the folder of a job's run."""
        return self.job(name).run
