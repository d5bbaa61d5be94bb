"""What the server keeps of a job, as JSON in the job's folder: asked for, and come of it."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict, ValidationError

from guided_dip.files import write_whole
from guided_dip.runs.layout import RESTORED
from guided_dip.web.jobs import NewJob, Role, Upload
from guided_dip.web.models import JobOutcome, JobSettings, Progress, Status
from guided_dip.web.queue.data import JobFolder

LONGEST = 80  # letters of a file's name

SUFFIXES = {form: PurePosixPath(name).suffix for form, name in RESTORED.items()}


class FileRecord(BaseModel):
    """A file of a job.

    Attributes
    ----------
    file
        Its name in the job's folder.
    name
        A name like the one that its user gave it, with which nobody can do harm.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str
    name: str


class Record(BaseModel):
    """What the server keeps of a job; most is as in `guided_dip.web.models.JobState`.

    Attributes
    ----------
    owner
        Digest of whose it is.
    files
        By what they are.
    threads
        With which it is computed, as the last bits depend on them.
    status
        ``queued`` until it has ended: how far it is, the manifest knows.
    version
        When it was last written.
    """

    model_config = ConfigDict(extra="forbid")

    id: str
    owner: str
    name: str
    file_name: str
    created: float
    settings: JobSettings
    files: dict[Role, FileRecord]
    width: int
    height: int
    channels: int
    pages: int = 1
    bits: int = 8
    threads: int = 1
    command: str = ""
    python: str = ""
    status: Status = "queued"
    version: int = 0
    began: float | None = None
    ended: float | None = None
    reason: str = ""
    progress: Progress = Progress()
    outcome: JobOutcome | None = None

    @property
    def image(self) -> str:
        """Name of the picture in the manifest."""
        return f"jobs/{self.id}/{self.files['image'].file}"

    @property
    def result(self) -> str:
        """Name of the restoration's file in the job's folder."""
        return f"result{PurePosixPath(self.files['image'].file).suffix}"

    def write(self, folder: JobFolder) -> None:
        """Write it to the job's folder.

        Raises
        ------
        RunError
            If it cannot be written.
        """
        write_whole(folder.record, self.model_dump_json(indent=1))


def digest_of(owner: str) -> str:
    """Return what tells owners apart, and does not tell who they are."""
    return hashlib.sha256(os.fsencode(f"owner of jobs: {owner}")).hexdigest()


def read_record(folder: JobFolder) -> Record | None:
    """Read what is known of a job; None if that is damaged.

    Parameters
    ----------
    folder
        The job's.

    Raises
    ------
    FileNotFoundError
        If nothing is.
    """
    try:
        record = Record.model_validate_json(folder.record.read_bytes())
    except FileNotFoundError:
        raise
    except (OSError, ValidationError, ValueError):
        return None
    return record if record.id == folder.path.name and "image" in record.files else None


def damaged_record(folder: JobFolder) -> Record | None:
    """Return the record of a job whose own is damaged; None if it is not known whose it was."""
    try:
        owner = folder.owner.read_text(encoding="ascii")
        created = folder.owner.stat().st_mtime
    except (OSError, UnicodeDecodeError):
        return None
    return Record(
        id=folder.path.name,
        owner=owner,
        name="unknown",
        file_name="unknown",
        created=created,
        settings=JobSettings(),
        files={"image": FileRecord(file="image", name="unknown")},
        width=1,
        height=1,
        channels=1,
    )


def named_files(new: NewJob) -> dict[Role, FileRecord]:
    """Name the files of a job: in its folder, and for people, each otherwise.

    Parameters
    ----------
    new
        Whose files are of formats that are written.
    """
    named: dict[Role, FileRecord] = {}
    for role, upload in new.files.items():
        suffix = SUFFIXES[upload.format]
        name = safe_name(upload, role)
        if name in {other.name for other in named.values()}:
            name = f"{role}-{name}"
        named[role] = FileRecord(file=f"{role}{suffix}", name=name)
    return named


def safe_name(upload: Upload, fallback: str) -> str:
    """Return a file name like a user's, of letters, digits and a few signs.

    Parameters
    ----------
    upload
        The file; the suffix is that of what it is.
    fallback
        Its name if nothing is left of it.

    Examples
    --------
    >>> from pathlib import Path
    >>> safe_name(Upload(Path("x"), "../my <photo>.exe", "PNG", 8, 8, 3), "image")
    'my _photo_.png'
    """
    last = re.split(r"[/\\]", upload.name)[-1]
    stem = last.rpartition(".")[0] or last
    kept = "".join(letter if letter.isalnum() or letter in " ._-+()" else "_" for letter in stem)
    kept = kept.strip(" .-")[:LONGEST].strip(" .-")
    return f"{kept or fallback}{SUFFIXES[upload.format]}"
