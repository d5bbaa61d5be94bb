"""An image and what is known of it, with all settings filled in: what a run begins with."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from guided_dip import seeds
from guided_dip.config import Config
from guided_dip.diffusion import Schedule, make_schedule
from guided_dip.engine import to_tensor
from guided_dip.guidance import Patches, Plan, make_plan
from guided_dip.noise import LEAST_SIGMA, NoiseModel
from guided_dip.restoration.span import WHITE, Span
from guided_dip.result import Scoring
from guided_dip.sizing import Footprint, Sizes
from guided_dip.tasks import DENOISE, Task
from guided_dip.white import DIM

_WIDTH = 48  # channels of a network that does not say how wide it is


@dataclass
class Prepared:
    """An image and what is known of it, with all settings filled in.

    Attributes
    ----------
    config
        The config with everything filled in.
    pixels : (H, W, C) float32
        The image, missing pixels filled with neighbours.
    dtype, shape
        What the result is given back as.
    noise
        Noise model the supervision reckons with, if it needs one.
    clean : (H, W, C) float32 or None
        Scoring only.
    missing : (H, W) bool or None
        Pixels that were not measured.
    span
        The values the image covers; inside the fit they are mapped to [0, 1], their noise even.
    note
        What to tell the user of how it was prepared.
    task
        What was done to the image.
    first : (H', W', C) float32 or None
        What one would look at without a restoration, where that is not the image itself.
    given
        The image as it was given, where pixels that stay as they are have to be taken from it.
    plan
        Of the fit; no steps where there is nothing to restore.
    schedule, scoring
        What the plan's times mean; what scores, with a clean image.
    """

    config: Config
    pixels: NDArray[np.float32]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    noise: NoiseModel | None
    clean: NDArray[np.float32] | None = None
    missing: NDArray[np.bool_] | None = None
    span: Span = WHITE
    note: str = ""
    task: Task = DENOISE
    first: NDArray[np.float32] | None = None
    given: NDArray[Any] | None = None
    plan: Plan = field(init=False)
    schedule: Schedule = field(init=False, repr=False)
    scoring: Scoring | None = field(init=False, repr=False)

    def __post_init__(self) -> None:
        c = self.config
        self.scoring = None if self.clean is None else Scoring(self.clean, c.quantize)
        self.schedule = make_schedule(c.schedule, lower_clip=c.lower_clip)
        assert c.steps is not None, "prepare() fills in the steps"
        assert c.a_end is not None, "and the weakest strength"
        steps = c.steps
        if self._needs_nothing:
            steps = 0
            self.note = self._told_clean()
        self.plan = make_plan(
            c.supervision,
            self.schedule,
            steps=steps,
            count=c.count,
            start=c.start,
            end=c.end,
            scale=c.scale,
            sigma=self._planned_sigma,
            a_start=c.a_start,
            a_end=c.a_end,
            restarts=c.restarts or 1,
            patches=self._patches,
            order=c.guide_order,
            seed=c.seed,
            hide=(c.hide_start, c.hide_end) if self.hides else None,
        )

    def _told_clean(self) -> str:
        """Say that there is nothing to restore, and what may hide it."""
        said = "no noise was found (below 0.5/255), so the image is returned unchanged"
        brightest = float(self.pixels.max(initial=0.0))
        if not 0 < brightest < DIM:
            return said
        return (
            f"{said}; its brightest pixel is {brightest:.1%} of white, which hides noise: try "
            f"--white {brightest * (self.white or self._usual_white):.6g}"
        )

    @property
    def white(self) -> float | None:
        """Value of the image, as it was given, that is 1.0 in `pixels`; None: its type's."""
        return self.config.white_value

    @property
    def _usual_white(self) -> int:
        """White of the image's type."""
        return int(np.iinfo(self.dtype).max) if self.dtype.kind in "iu" else 1

    @property
    def unrestored(self) -> NDArray[np.float32]:
        """What the image is without a restoration, in its own size."""
        return self.pixels if self.first is None else self.first

    @property
    def _planned_sigma(self) -> float | None:
        """Noise level of the plan; None where it is not known, or there is none to speak of."""
        if self.noise is None or (self.hides and self.sigma < LEAST_SIGMA):
            return None
        return max(self.sigma, LEAST_SIGMA)

    @property
    def hides(self) -> bool:
        """Whether some of what was measured is hidden from the network."""
        return self.missing is not None or self.task.hides

    @property
    def memory_needed(self) -> int:
        """Bytes that running it takes at most, as measured with the default network."""
        c, (height, width, _) = self.config, self.pixels.shape
        network = (c.backbone_options or {}).get("width")
        footprint = Footprint(
            (height, width),
            self.channels,
            network if isinstance(network, int) else _WIDTH,
            "bfloat16" if c.precision == "bfloat16" else "float32",
            on_gpu=c.device.startswith("cuda"),
            pages=c.pages,
            reach=max(self.task.reach),
        )
        needed = footprint.bytes(Sizes(c.patch, c.patch_guides, c.tile), c.count)
        if self.first is None:
            return needed
        size = (self.first.shape[0], self.first.shape[1])  # of which only outputs are computed
        outputs = replace(footprint, size=size).bytes(Sizes(1, c.count, 0), c.count)
        return max(needed, outputs)

    @property
    def channels(self) -> int:
        """Of the image."""
        return int(self.unrestored.shape[2])

    @property
    def keeps_known(self) -> bool:
        """Whether known pixels are right as they are, and only missing ones are restored."""
        return self.missing is not None and self.sigma < LEAST_SIGMA

    @property
    def _patches(self) -> Patches | None:
        height, width, _ = self.pixels.shape
        c = self.config
        return Patches(c.patch, c.patch_guides or 0, height * width) if c.patch else None

    @property
    def sigma(self) -> float:
        """Noise level in the fit; 0 if the supervision needs to know none."""
        return 0.0 if self.noise is None else self.span.sigma

    @property
    def _needs_nothing(self) -> bool:
        """Whether recorrupted guides have nothing to restore, as no noise was found."""
        return (
            self.config.supervision == "recorrupted-guides"
            and self.noise is not None
            and self.sigma < LEAST_SIGMA
            and self.missing is None
            and self.task is DENOISE
        )

    @property
    def measured(self) -> Tensor | None:
        """Which pixels were measured, 1 or 0, as the fit has them: (1, 1, H, W); None: all."""
        if self.missing is None:
            return None
        return torch.from_numpy(~self.missing).to(self.observation)[None, None]

    @cached_property
    def power(self) -> float:
        """Mean square of the image: the loss of a black picture."""
        y = self.observation
        return sum(float((row.double() ** 2).sum()) for row in y[0].transpose(0, 1)) / y.numel()

    @cached_property
    def observation(self) -> Tensor:
        """The image as the fit is given it, (1, C, H, W)."""
        seed = seeds.derive(self.config.seed, "clipped")
        pixels = self.span.observation(self.pixels, seed)
        return to_tensor(pixels, torch.device(self.config.device))
