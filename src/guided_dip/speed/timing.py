"""Steps timed beside the floor and beside the reference loop, which takes turns with ours."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from guided_dip.config import make_config
from guided_dip.errors import InputError
from guided_dip.fit import together
from guided_dip.guidance import Stage
from guided_dip.memory import memory_reused
from guided_dip.noise import add_gaussian_noise
from guided_dip.restoration import Restoration, prepare, why_apart
from guided_dip.speed.counts import Cost, count_step, parameter_count
from guided_dip.speed.loops import ReferenceLoop, quick_steps
from guided_dip.speed.machine import Machine, seconds_of

# What each backbone is used with: (preset, settings).
USES: dict[str, tuple[str | None, dict[str, Any]]] = {
    "normfree": ("balanced", {}),
    "unet": ("report", {}),
    "segnet": ("report", {"backbone": "segnet"}),
    "skip": (None, {"supervision": "observation"}),
}
SIGMA = 25 / 255
# Of one loop before it is the other's turn: steps, and seconds, so that small networks find their
# pace as in a run.
BLOCK, BLOCK_SECONDS = 3, 0.3
FEWEST = 5  # turns
COUNTED = 2  # steps


@dataclass(frozen=True)
class Speed:
    """How long a step takes, in seconds: median and quartiles over the turns."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, seconds: list[float]) -> Speed:
        """Summarise the seconds of some steps."""
        low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75])
        return cls(float(median), float(low), float(high))


@dataclass(frozen=True)
class Row:
    """A backbone at a size.

    Attributes
    ----------
    backbone, size, precision, parameters
        The network, the side of its square picture in pixels, its arithmetic, its weights.
    cost
        Of one of our steps.
    floor
        Seconds that a step takes at least.
    together
        Number of ours that were computed together.
    ours, reference
        Seconds that a step of one run took.
    turns
        How often each loop had its turn.
    """

    backbone: str
    size: int
    precision: str
    together: int
    parameters: int
    cost: Cost
    floor: float
    ours: Speed
    reference: Speed
    turns: int

    @property
    def over_floor(self) -> float:
        """Our step over the floor."""
        return self.ours.median / self.floor

    @property
    def times_faster(self) -> float:
        """Reference step over ours: a ratio of medians."""
        return self.reference.median / self.ours.median

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {
            **asdict(self),
            "over_floor": self.over_floor,
            "times_faster": self.times_faster,
        }


def picture(size: int) -> NDArray[np.float32]:
    """Return a noisy colour picture, (size, size, 3): what is in it does not matter for speed."""
    y, x = np.mgrid[:size, :size] / size
    clean = np.stack([0.5 + 0.3 * np.sin(7 * x + k * y) for k in range(3)], axis=-1)
    return add_gaussian_noise(clean, SIGMA, seed=0).astype(np.float32)


def prepare_bench(backbone: str, size: int, **settings: Any) -> Restoration:
    """Prepare a restoration as the backbone's own use has it.

    Parameters
    ----------
    backbone
        One of `USES`.
    size
        Side of the picture in pixels.
    **settings
        Of `Config`, such as ``device``.
    """
    preset, usual = USES[backbone]
    given = {"noise": "gaussian:25", "check_noise": False} | usual | settings
    return prepare(picture(size), make_config(given, preset=preset))


def whole_picture(restoration: Restoration) -> Stage:
    """Return the last stage, whose steps are on the whole picture."""
    return restoration.plan.stages[-1]


def time_steps(
    restoration: Restoration,
    machine: Machine,
    *,
    seconds: float,
    runs: int = 1,
    on_turn: Callable[[float], None] | None = None,
) -> Row:
    """Time our step and the reference loop's, a few steps of each in turn.

    Parameters
    ----------
    restoration
        From `prepare_bench`.
    machine
        What the floor is reckoned with.
    seconds
        Time to spend; each loop has at least five turns.
    runs
        Number of ours that are computed together, each with a seed of its own.
    on_turn
        Called after each turn with the share of the time that is spent.

    Raises
    ------
    InputError
        If such runs cannot be computed together.
    """
    config, device = restoration.config, torch.device(restoration.config.device)
    stage = whole_picture(restoration)
    fit = restoration.stage_fit(stage, COUNTED)
    cost, parameters = count_step(fit), parameter_count(fit.network)
    reference = ReferenceLoop.of(
        config.backbone, restoration.pixels, options=config.backbone_options, device=device
    )
    ours = _ours(restoration, stage, runs)

    def both_once() -> tuple[float, float]:
        with memory_reused():  # as a run has it, and a plain script has not
            mine = _block(ours, device) / runs
        theirs = _block(reference.step, device)
        reference.snapshots.clear()  # so that memory does not grow with the time spent
        return mine, theirs

    both_once()  # warm
    taken: list[tuple[float, float]] = []
    begun = time.perf_counter()
    while len(taken) < FEWEST or time.perf_counter() - begun < seconds:
        taken.append(both_once())
        if on_turn is not None:
            spent = time.perf_counter() - begun
            on_turn(min(1.0, spent / seconds) if seconds else 1.0)
    mine, theirs = (Speed.of([turn[k] for turn in taken]) for k in range(2))
    floor = cost.floor(machine, config.precision)
    size = restoration.pixels.shape[0]
    return Row(
        config.backbone,
        size,
        config.precision,
        runs,
        parameters,
        cost,
        floor,
        mine,
        theirs,
        len(taken),
    )


def _ours(restoration: Restoration, stage: Stage, runs: int) -> Callable[[], object]:
    """Return what takes a step of each run."""
    if runs == 1:
        return quick_steps(lambda: restoration.stage_fit(stage, 10**6))
    each = [
        replace(restoration, config=restoration.config.replace(seed=seed)) for seed in range(runs)
    ]
    reason = why_apart(each)
    if reason:
        raise InputError(f"{restoration.config.backbone} cannot be timed together: {reason}")
    fits = [one.stage_fit(stage, 10**6) for one in each]
    steps = together(fits)
    return lambda: next(steps)


def _block(step: Callable[[], object], device: torch.device) -> float:
    """Return the seconds a step of a block takes, the first of a turn left out."""
    first = seconds_of(step, device)
    count = max(BLOCK, math.ceil(BLOCK_SECONDS / first))

    def steps() -> None:
        for _ in range(count):
            step()

    return seconds_of(steps, device) / count
