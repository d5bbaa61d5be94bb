"""A job as users see it: what they ask for, how far it is, and what comes of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Scalar = bool | int | float | Annotated[str, Field(max_length=200)] | None
Status = Literal["queued", "running", "stopping", "done", "failed", "cancelled"]
ENDED: tuple[Status, ...] = ("done", "failed", "cancelled")
# Pictures that a job has, some of them only while it runs or once it has ended, as PNG in 8 bits:
# all but ``result``, which is the restoration's own file. ``restored`` shows that file as ``input``
# shows the upload, by one mapping to 8 bits; the upload itself is never given back.
View = Literal["input", "preview", "result", "restored", "residual", "spread", "clean", "mask"]
Text = Annotated[str, Field(max_length=200)]


class JobSettings(BaseModel):
    """What a user asks for; the names are those of the command line's options.

    Attributes
    ----------
    task, effort, preset, noise, white, scale, kernel, strength, seed, invert_mask, page, region,
    joint
        As options of ``guided-dip restore``; None leaves it to that. `kernel` is a description, not
        a file.
    time_budget
        Seconds that it may take, at most the server's limit.
    settings
        Any others, as ``--set`` has them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: Text | None = None
    effort: Text | None = None
    preset: Text | None = None
    noise: Text | None = None
    white: Text | Annotated[float, Field(gt=0)] | None = None
    scale: Annotated[int, Field(ge=2, le=8)] | None = None
    kernel: Text | None = None
    strength: Annotated[float, Field(ge=0, le=1)] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] | None = None
    invert_mask: bool = False
    page: Annotated[int, Field(ge=0, lt=100_000)] | None = None
    region: Text | None = None
    joint: bool = False
    time_budget: Annotated[float, Field(gt=0, lt=1e9)] | None = None
    settings: Annotated[dict[Text, Scalar], Field(max_length=60)] = {}


class Progress(BaseModel):
    """How far a running job is.

    Attributes
    ----------
    share
        Of its work that is done, from 0 to 1.
    step, steps
        Of the fit.
    stage, stages
        The guide it is at, from 1, and how many there are.
    loss
        Of the last step.
    psnr
        Of the current output against the clean picture, in dB; None without one.
    seconds
        Computed so far.
    seconds_left
        Foretold; None before there is a pace.
    preview
        How many previews there have been: a new number, a new picture.
    """

    model_config = ConfigDict(frozen=True)

    share: float = 0.0
    step: int = 0
    steps: int = 0
    stage: int = 0
    stages: int = 0
    loss: float | None = None
    psnr: float | None = None
    seconds: float = 0.0
    seconds_left: float | None = None
    preview: int = 0


class JobOutcome(BaseModel):
    """What came of a job.

    Attributes
    ----------
    width, height, channels, pages
        Of the restoration.
    format, media_type, bits
        Of its file, such as ``TIFF``, ``image/tiff`` and 16.
    seconds
        Of computing.
    noise
        What was found or told of the noise, for people.
    note
        What the user should know: warnings, in one line, or an empty string.
    is_estimate
        It was stopped, and this is what it had got to.
    psnr_before, psnr
        Against the clean picture, in dB; None without one.
    views
        The pictures there are.
    """

    model_config = ConfigDict(frozen=True)

    width: int
    height: int
    channels: int
    pages: int = 1
    format: str
    media_type: str
    bits: int
    seconds: float
    noise: str = ""
    note: str = ""
    is_estimate: bool = False
    psnr_before: float | None = None
    psnr: float | None = None
    views: tuple[View, ...] = ()


class JobState(BaseModel):
    """A job at a moment.

    Attributes
    ----------
    id
        32 hexadecimal digits, which nobody can guess.
    version
        Raised by every change of what is here.
    status
        What has become of it.
    name
        Of the uploaded file, for people: of no meaning to any file system.
    file_name
        Under which the restoration is offered, such as ``photo-restored.tif``.
    created, began, ended
        Seconds since 1970; None if that has not been.
    place
        In the queue, from 1; None unless it is queued.
    reason
        Why it failed, and what to try, in one line; else an empty string.
    settings
        What was asked for.
    command, python
        The same on the command line, and in Python.
    width, height, channels, pages, bits
        Of the upload.
    progress
        How far it is, or was when it ended.
    outcome
        What came of it; None unless it is done.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    version: int
    status: Status
    name: str
    file_name: str
    created: float
    began: float | None = None
    ended: float | None = None
    place: int | None = None
    reason: str = ""
    settings: JobSettings
    command: str = ""
    python: str = ""
    width: int
    height: int
    channels: int
    pages: int = 1
    bits: int = 8
    progress: Progress = Progress()
    outcome: JobOutcome | None = None


class Curve(BaseModel):
    """How a job's fit went, at some hundred steps of all.

    Attributes
    ----------
    step
        Numbers of steps, from 0.
    loss
        At each.
    psnr
        Against the clean picture, in dB; empty without one.
    """

    model_config = ConfigDict(frozen=True)

    step: tuple[int, ...] = ()
    loss: tuple[float, ...] = ()
    psnr: tuple[float, ...] = ()
