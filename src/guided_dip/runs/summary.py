"""What a run was and how it ended."""

from __future__ import annotations

import hashlib
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from guided_dip import __version__
from guided_dip.guidance import Plan
from guided_dip.residual import ResidualCheck
from guided_dip.result import Result, Scores, Scoring

if TYPE_CHECKING:  # reading a run back needs no torch
    from guided_dip.restoration import Restoration

PACKAGES = ("guided-dip", "torch", "numpy")


@dataclass(frozen=True)
class Source:
    """The file that was restored: its name without folders, and the digest of its bytes.

    Attributes
    ----------
    name
        Without folders; what cannot be read as text is escaped.
    sha256
        Of all of its bytes, in hexadecimal digits.
    """

    name: str
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Source:
        """Describe a file.

        Parameters
        ----------
        path
            It.

        Returns
        -------
        Source
        """
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(os.fsencode(path.name).decode(errors="backslashreplace"), digest)


@dataclass(frozen=True)
class Peak:
    """Best step against the clean image: an oracle's figure, as it takes that image to see it.

    Attributes
    ----------
    step
        0-based.
    psnr
        Of that step's raw output, in dB.
    """

    step: int
    psnr: float


@dataclass(frozen=True)
class Snapshot:
    """An intermediate estimate.

    Attributes
    ----------
    step
        0-based step after which it was made.
    file
        Its name in the run folder's ``pictures``.
    psnr
        In dB, where there is a clean image.
    """

    step: int
    file: str
    psnr: float | None = None


class Summary(BaseModel):
    """What a run was and how it ended.

    Attributes
    ----------
    source
        The file that was restored.
    size, channels
        Width and height of the restoration in pixels, and its colour channels.
    region
        The only part of the picture that was restored, X,Y,WIDTH,HEIGHT; None for all of it.
    task, supervision, backbone, seed, device
        As in the config, which has the rest.
    oracle
        The restoration was allowed to see the clean image: an experiment's figure.
    noise
        The noise model it reckoned with; None where it needed to know none.
    noise_estimated
        Whether that came from the image.
    plan
        The plan.
    steps
        Steps that were taken.
    seconds
        Time of the fit and the final estimate.
    peak_memory
        Most memory in use so far, in MiB: of the process, or of the GPU; None where it is not
        counted.
    together
        Number of runs that were computed together, and share seconds and memory.
    final_loss
        Loss of the last step.
    stopped_at
        Step whose output an early-stopping rule chose; None if there was no rule.
    rollbacks
        Steps at which the fit diverged, and from which it went back.
    residual
        What was taken away, held against the noise model, with warnings in words.
    scores_before, scores
        Input and restoration against the clean image.
    oracle_peak
        Best record against the clean image.
    snapshots
        The intermediate estimates.
    note
        What the user should know about this result, or an empty string.
    versions
        Of Python and of the packages that the numbers depend on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Source
    size: tuple[int, int]
    channels: int
    region: str | None = None
    task: str = "denoise"
    supervision: str
    oracle: bool
    noise: str | None
    noise_estimated: bool
    backbone: str
    seed: int
    device: str
    plan: Plan
    steps: int
    seconds: float
    peak_memory: int | None = None
    together: int = 1
    final_loss: float | None
    stopped_at: int | None
    rollbacks: tuple[int, ...] = ()
    residual: ResidualCheck | None = None
    scores_before: Scores | None
    scores: Scores | None
    oracle_peak: Peak | None
    snapshots: tuple[Snapshot, ...]
    note: str
    versions: dict[str, str]


def summarize(
    restoration: Restoration,
    result: Result,
    source: Source,
    *,
    noise_estimated: bool,
    region: str | None = None,
) -> Summary:
    """Gather what is worth knowing about a finished run.

    Parameters
    ----------
    restoration, result
        The run.
    source
        The file that was restored.
    noise_estimated
        Whether the noise model came from the image.
    region
        As in the summary.

    Returns
    -------
    Summary
    """
    config, records = result.config, result.records
    height, width, channels = restoration.unrestored.shape
    return Summary(
        source=source,
        size=(width, height),
        channels=channels,
        region=region,
        task=config.task,
        supervision=config.supervision,
        oracle=config.oracle,
        noise=None if result.noise is None else str(result.noise),
        noise_estimated=noise_estimated and result.noise is not None,
        backbone=config.backbone,
        seed=config.seed,
        device=config.device,
        plan=result.plan,
        steps=len(records),
        seconds=round(result.seconds, 3),
        peak_memory=result.peak_memory,
        together=result.together,
        final_loss=records[-1].loss if records else None,
        stopped_at=result.stopped_at,
        rollbacks=result.rollbacks,
        residual=result.residual,
        scores_before=result.scores_before,
        scores=result.scores,
        oracle_peak=_peak(result),
        snapshots=_snapshots(restoration, result),
        note=result.note,
        versions=versions(),
    )


def _peak(result: Result) -> Peak | None:
    scored = [(record.psnr, record.step) for record in result.records if record.psnr is not None]
    if not scored:
        return None
    psnr, step = max(scored, key=lambda pair: pair[0])
    return Peak(step, psnr)


def _snapshots(restoration: Restoration, result: Result) -> tuple[Snapshot, ...]:
    clean = restoration.clean
    scoring = None if clean is None else Scoring(clean, result.config.quantize)

    def score(pixels: NDArray[np.float32]) -> float | None:
        if scoring is None:
            return None
        return scoring.psnr(pixels, restoration.shown)

    return tuple(
        Snapshot(step, f"step-{step:05d}.png", score(pixels)) for step, pixels in result.snapshots
    )


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of packages; of what was never installed, "unknown".

    Parameters
    ----------
    packages
        Names of distributions.
    """
    found = {name: _version(name) for name in packages}
    return {"python": platform.python_version()} | found


def _version(package: str) -> str:
    if package == "guided-dip":
        return __version__
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "unknown"


def plain(value: Any) -> Any:
    """Return a value as JSON has it: a number that is not finite becomes a word, such as "inf".

    Parameters
    ----------
    value
        Dicts, lists, numbers and strings, as deep as they go.
    """
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
