"""What all runs of a benchmark share, and the folder that it is kept in."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from guided_dip.config import make_config
from guided_dip.errors import InputError
from guided_dip.experiments.place import holds, read_back
from guided_dip.grain import estimate_noise_and_grain
from guided_dip.noise import NoiseModel, parse_noise
from guided_dip.words import one_line

STUDY = "benchmark.json"
# What a method or an option of its own sets, or what would score it otherwise than the others.
AXES = {
    "supervision": "--methods",
    "effort": "--methods",
    "stopping": "--methods",
    "output_average": "--methods",
    "noise": "--noise and --noise-told",
    "seed": "--seeds",
    "resize": "pictures of that size",
    "quantize": "--eight-bit",
}


class Benchmark(BaseModel):
    """What all runs of a benchmark share.

    Attributes
    ----------
    dataset
        Name of the folder of pictures, without the folders it lies in.
    noise
        Noise that is added, such as ``gaussian:25``; None for real pairs.
    told
        What the methods are told of it: ``exact``, ``auto`` (each picture's own estimate) or a
        factor of the true level.
    eight_bit
        Whether the noisy pictures are rounded to 8 bits.
    steps_factor
        How many times the usual number of steps methods with settings take.
    settings
        What is changed in all methods with settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    dataset: str
    noise: str | None
    told: str
    eight_bit: bool = False
    steps_factor: float = 1.0
    settings: dict[str, Any] = {}

    @property
    def model(self) -> NoiseModel | None:
        """The noise that is added; None for real pairs."""
        return None if self.noise is None else parse_noise(self.noise)

    def noise_told(self, observed: NDArray[np.float32]) -> str:
        """Return the noise setting of every method for a picture, (H, W) or (H, W, 3)."""
        model = self.model
        if self.told == "auto" or model is None:
            return str(estimate_noise_and_grain(np.atleast_3d(observed))[0])
        factor = 1.0 if self.told == "exact" else float(self.told)
        if model.gain:
            return str(model.scaled(factor))
        return f"gaussian:{model.sigma * 255 * factor:.10g}"


def make_benchmark(
    dataset: Path,
    *,
    noise: str | None = None,
    told: str | None = None,
    eight_bit: bool = False,
    steps_factor: float = 1.0,
    settings: dict[str, Any] | None = None,
) -> Benchmark:
    """Check what all runs are to share.

    Parameters
    ----------
    dataset
        Folder of the pictures.
    noise, told, eight_bit, steps_factor, settings
        As for `Benchmark`; `told` None is ``exact``, and ``auto`` for real pairs.

    Raises
    ------
    InputError
        If these do not go together.
    """
    settings = settings or {}
    for key in AXES:
        if key in settings:
            raise InputError(f"--set {key}: differs between methods or scores; try {AXES[key]}")
    make_config(settings)
    if noise is not None and parse_noise(noise) is None:
        raise InputError("--noise auto: the noise to add must be stated; try gaussian:25")
    if not (math.isfinite(steps_factor) and steps_factor > 0):
        raise InputError(f"--steps-factor {steps_factor:g}: must be above 0; try 2")
    if noise is None and eight_bit:
        raise InputError("--eight-bit: real pairs are what they are; try it with --noise")
    return Benchmark(
        dataset=one_line(dataset.resolve().name),
        noise=None if noise is None else str(parse_noise(noise)),
        told=_checked_told(told, real=noise is None),
        eight_bit=eight_bit,
        steps_factor=steps_factor,
        settings=settings,
    )


def _checked_told(told: str | None, *, real: bool) -> str:
    if real and told not in (None, "auto"):
        raise InputError(f"--noise-told {told}: nobody knows the noise of real pairs; try auto")
    if told in (None, "auto", "exact"):
        return told or ("auto" if real else "exact")
    try:
        factor = float(told)
    except ValueError:
        factor = math.nan
    if not (math.isfinite(factor) and factor > 0):
        raise InputError(f"--noise-told {told}: try exact, auto, or a factor such as 1.1")
    return f"{factor:g}"


def load_benchmark(folder: Path) -> Benchmark:
    """Read back what the runs of a benchmark share.

    Parameters
    ----------
    folder
        Of the benchmark.

    Raises
    ------
    InputError
        If it is none.
    """
    return read_back(folder, STUDY, Benchmark, "benchmark")


def check_benchmark_folder(
    folder: Path, benchmark: Benchmark | None, *, overwrite: bool = False
) -> None:
    """Find out whether a benchmark can be carried out, or goes on, in a folder.

    Parameters
    ----------
    folder
        Not there yet, empty, or with a benchmark of the same dataset and settings.
    benchmark
        What is to be done; None to draw the page only.
    overwrite
        Allow that the benchmark there is another: it is removed with its runs.

    Raises
    ------
    InputError
        If not.
    """
    if benchmark is None:
        load_benchmark(folder)
    elif holds(folder, STUDY) and not overwrite and load_benchmark(folder) != benchmark:
        raise InputError(
            f"{folder}: holds a benchmark of another dataset, noise or settings; try another "
            "folder, or --overwrite to remove that one"
        )
