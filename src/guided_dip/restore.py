"""From an array and a config to a restored array.

`prepare` fills in what follows from the image and the machine (noise level, steps, device) and
returns a `Restoration`; running that yields a `Result`. `restore` does both.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from guided_dip import backbones, seeds
from guided_dip import config as configs
from guided_dip import supervision as supervisions
from guided_dip.config import Config
from guided_dip.diffusion import make_schedule
from guided_dip.engine import Engine, resolve_device, resolve_precision, thread_count
from guided_dip.errors import InputError, RunError
from guided_dip.fit import Fit, FitSettings, Step
from guided_dip.guidance import Plan, make_plan
from guided_dip.images import from_float, to_float
from guided_dip.images.resize import resize_square
from guided_dip.noise import NoiseModel, estimate_sigma, parse_noise
from guided_dip.result import Record, Result, Scores, Scoring
from guided_dip.stopping import make_stopping

MAX_CHANNELS = 4
SNAPSHOTS = 8
SNAPSHOT_DRAWS = 4
# Noise weaker than half a level of an 8-bit image cannot be told from none.
LEAST_SIGMA = 0.5 / 255


def restore(
    image: NDArray[Any],
    *,
    effort: str = "balanced",
    preset: str | None = None,
    clean: NDArray[Any] | None = None,
    on_step: Callable[[Record], None] | None = None,
    **settings: Any,
) -> Result:
    """Restore one noisy image.

    Parameters
    ----------
    image : (H, W) or (H, W, C) array, C from 1 to 4
        Integers (white is the type's largest value) or floats (1.0 is white; values outside [0, 1]
        are kept). Not modified.
    effort
        ``fast``, ``balanced`` or ``best``: the one dial between time and quality.
    preset
        ``report`` or ``author``, the report's experiment, instead of an effort.
    clean : array of the image's shape, optional
        Scores the records and the result; changes nothing else.
    on_step
        Called with the `Record` of each step.
    **settings
        Any field of `Config`, such as ``noise="gaussian:25"``, ``seed=1`` or ``steps=500``.

    Returns
    -------
    Result

    Raises
    ------
    InputError
        If the image or a setting is not usable.
    RunError
        If the fit fails on the way.

    Examples
    --------
    >>> import numpy as np
    >>> noisy = np.random.default_rng(0).normal(0.5, 0.1, (32, 32)).astype("float32")
    >>> restore(noisy, noise="gaussian:25", steps=2, backbone_options={"width": 4}).image.shape
    (32, 32)
    """
    chosen = configs.make_config(settings, preset=effort if preset is None else preset)
    return prepare(image, chosen, clean=clean).run(on_step)


def prepare(
    image: NDArray[Any], config: Config, *, clean: NDArray[Any] | None = None
) -> Restoration:
    """Check the image and fill in what the config leaves to it and to the machine.

    Parameters
    ----------
    image, clean
        As for `restore`.
    config
        Settings.

    Raises
    ------
    InputError
        If the image or a setting is not usable.
    """
    pixels = _checked(image, "image")
    reference = None if clean is None else _checked(clean, "clean image")
    if reference is not None and reference.shape != pixels.shape:
        raise InputError(
            f"the clean image's shape {reference.shape} is not the image's {pixels.shape}"
        )
    if config.resize is not None:
        image = resize_square(image, config.resize)
        reference = None if clean is None else _checked(resize_square(clean, config.resize), "")
        pixels = _checked(image, "image")
    noise = _noise_of(pixels, config)
    device = resolve_device(config.device)
    span = _span_of(pixels, 0.0 if noise is None else noise.sigma)
    sigma = None if noise is None else noise.sigma / span.size
    pixel_count = pixels.shape[0] * pixels.shape[1]
    resolved = configs.fill_in(config, pixels=pixel_count, sigma=sigma).replace(
        noise=config.noise if noise is None or config.noise != "auto" else str(noise),
        device=str(device),
        precision=resolve_precision(config.precision, device),
        threads=config.threads or torch.get_num_threads(),
        jitter=backbones.find(config.backbone).jitter if config.jitter is None else config.jitter,
    )
    dtype = np.dtype(np.float32) if image.dtype.kind == "f" else image.dtype
    return Restoration(resolved, pixels, dtype, image.shape, noise, reference, span)


def _checked(image: NDArray[Any], name: str) -> NDArray[np.float32]:
    """Return the image as float32 (H, W, C) after refusing what cannot be restored."""
    image = np.asarray(image)
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise InputError(
            f"the {name} must be (H, W) or (H, W, C) with at least one pixel, not {image.shape}"
        )
    if image.dtype.kind not in "buif":
        raise InputError(f"the {name} must hold numbers, not {image.dtype}")
    pixels = image if image.ndim == 3 else image[..., None]
    if pixels.shape[2] > MAX_CHANNELS:
        raise InputError(
            f"the {name} has {pixels.shape[2]} channels (its last axis), more than {MAX_CHANNELS}: "
            "restore the images of a stack one by one"
        )
    pixels = to_float(pixels)
    if not np.isfinite(pixels).all():
        raise InputError(f"the {name} holds NaN or infinite pixels: replace them first")
    return pixels


class Span(NamedTuple):
    """The values an image covers: `low` to ``low + size``. Networks end in a sigmoid, in [0, 1]."""

    low: float = 0.0
    size: float = 1.0


WHITE = Span()


def _span_of(pixels: NDArray[np.float32], sigma: float) -> Span:
    """Return [0, 1], or more where the image itself, and not only its noise, goes beyond it."""
    lowest, highest = np.quantile(pixels, [0.001, 0.999])
    low = min(0.0, float(lowest) + 4 * sigma)
    high = max(1.0, float(highest) - 4 * sigma)
    # Room for what the quantiles and the noise hide, only where [0, 1] is left at all.
    margin = 0.1 * (high - low)
    low, high = (low - margin if low < 0 else 0.0), (high + margin if high > 1 else 1.0)
    return Span(low, high - low)


def _noise_of(pixels: NDArray[np.float32], config: Config) -> NoiseModel | None:
    given = parse_noise(config.noise)
    if given is not None:
        return given
    if config.supervision not in ("recorrupted-guides", "observation-guides"):
        return None
    estimated = NoiseModel("gaussian", estimate_sigma(pixels, channel_axis=-1))
    # Rounded to what the resolved config says of it, so that the config repeats the run.
    return parse_noise(str(estimated))


@dataclass
class Restoration:
    """A restoration that is ready to run, once.

    Attributes
    ----------
    config
        The config with everything filled in.
    pixels : (H, W, C) float32
        The image.
    dtype, shape
        What the result is given back as.
    noise
        Noise model the supervision reckons with, if it needs one.
    clean : (H, W, C) float32 or None
        Scoring only.
    span
        The values the image covers; inside the fit they are mapped to [0, 1].
    """

    config: Config
    pixels: NDArray[np.float32]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    noise: NoiseModel | None
    clean: NDArray[np.float32] | None = None
    span: Span = WHITE
    plan: Plan = field(init=False)
    note: str = field(init=False, default="")

    def __post_init__(self) -> None:
        c = self.config
        self._scoring = None if self.clean is None else Scoring(self.clean, c.quantize)
        self._schedule = make_schedule(c.schedule, lower_clip=c.lower_clip)
        assert c.steps is not None, "prepare() fills in the steps"
        assert c.a_end is not None, "prepare() fills in the strength"
        steps = c.steps
        if self._is_clean:
            steps = 0
            self.note = "no noise was found (below 0.5/255), so the image is returned unchanged"
        self.plan = make_plan(
            c.supervision,
            self._schedule,
            steps=steps,
            count=c.count,
            start=c.start,
            end=c.end,
            scale=c.scale,
            sigma=None if self.noise is None else max(self._sigma, LEAST_SIGMA),
            a_start=c.a_start,
            a_end=c.a_end,
        )

    @property
    def _sigma(self) -> float:
        """Noise level where the span is [0, 1]; 0 if the supervision needs to know none."""
        return 0.0 if self.noise is None else self.noise.sigma / self.span.size

    @property
    def _is_clean(self) -> bool:
        return (
            self.config.supervision == "recorrupted-guides"
            and self.noise is not None
            and self._sigma < LEAST_SIGMA
        )

    def run(self, on_step: Callable[[Record], None] | None = None) -> Result:
        """Carry out the plan.

        Parameters
        ----------
        on_step
            Called with the `Record` of each step.
        """
        with thread_count(self.config.threads):
            return self._run(on_step)

    def _run(self, on_step: Callable[[Record], None] | None) -> Result:
        if not self.plan.steps:
            return self._result(self.pixels, (), (), 0.0, None)
        began = time.perf_counter()
        fit = self._fit()
        stopping = make_stopping(self.config.stopping)
        records: list[Record] = []
        snapshots: list[tuple[int, NDArray[np.float32]]] = []
        marks = _snapshot_steps(self.plan.steps)
        for step in fit:
            record = self._record(step, time.perf_counter() - began)
            records.append(record)
            if step.index in marks:
                snapshots.append((step.index, self._pixels_of(fit.estimate(SNAPSHOT_DRAWS))))
            if on_step is not None:
                on_step(record)
            if stopping is not None and stopping.update(step.output):
                break
        if stopping is not None and stopping.best is not None:
            estimate, stopped_at = stopping.best, stopping.best_step
        else:
            estimate, stopped_at = fit.estimate(), None
        seconds = time.perf_counter() - began
        pixels = self._pixels_of(estimate)
        return self._result(pixels, tuple(records), tuple(snapshots), seconds, stopped_at)

    def seconds_per_step(self) -> float:
        """Time a few throw-away steps, to foretell how long the run will take."""
        with thread_count(self.config.threads):
            steps: Iterator[Step] = iter(self._fit())
            times = [time.perf_counter() for _ in islice(steps, 4)]
        if len(times) < 2:
            return 0.0
        return float(np.median(np.diff(times)))

    def _fit(self) -> Fit:
        c = self.config
        device = torch.device(c.device)
        spread = (self.pixels - np.float32(self.span.low)) / np.float32(self.span.size)
        y = torch.from_numpy(spread.transpose(2, 0, 1)[None].copy()).to(device)
        network = self._network(y.shape[1])
        settings = FitSettings(
            **{name: getattr(c, name) for name in FitSettings.__dataclass_fields__}
        )
        return Fit(
            Engine(network, device, c.precision),
            self._supervision(y),
            self.plan,
            settings,
        )

    def _network(self, channels: int) -> nn.Module:
        c = self.config
        in_channels = channels if c.supervision == "recorrupted-guides" else None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds.derive(c.seed, "weights"))
            return backbones.build(
                c.backbone, channels, in_channels=in_channels, options=c.backbone_options
            )

    def _supervision(self, y: Tensor) -> supervisions.Supervision:
        c = self.config
        sigma = self._sigma
        if c.supervision == "recorrupted-guides":
            return supervisions.RecorruptedGuides(y, self.plan, sigma=sigma, seed=c.seed)
        z = self._z(y)
        fixed: dict[str, Any] = {"jitter": c.jitter or 0.0, "seed": c.seed}
        if c.supervision == "observation":
            return supervisions.observation(y, z, **fixed)
        guided = fixed | {"convention": c.noise_convention}
        if c.supervision == "clean-guides":
            return supervisions.clean_guides(y, z, self.plan, self._schedule, **guided)
        return supervisions.observation_guides(
            y, z, self.plan, self._schedule, sigma=sigma, **guided
        )

    def _z(self, y: Tensor) -> tuple[Tensor, ...]:
        c = self.config
        backbone = backbones.find(c.backbone)
        height, width = y.shape[-2:]
        return tuple(
            backbones.network_input(
                backbone, y.shape[1], (height, width), seeds.generator(c.seed, "z", stage)
            ).to(y.device)
            for stage in range(len(self.plan) if c.redraw_z else 1)
        )

    def _record(self, step: Step, seconds: float) -> Record:
        loss = float(step.loss)
        if not np.isfinite(loss):
            raise RunError(
                f"the fit diverged at step {step.index} (its loss is {loss}): try a smaller "
                f"learning rate than {self.config.learning_rate:g}"
            )
        score = None if self._scoring is None else self._scoring.psnr(self._pixels_of(step.output))
        return Record(
            step.index,
            step.stage,
            self.plan.stages[step.stage].t,
            loss,
            step.learning_rate,
            seconds,
            score,
        )

    def _pixels_of(self, image: Tensor) -> NDArray[np.float32]:
        """Turn a (1, C, H, W) tensor of the fit into an (H, W, C) array in the image's values."""
        array: NDArray[np.float32] = image[0].permute(1, 2, 0).float().cpu().numpy()
        return array * np.float32(self.span.size) + np.float32(self.span.low)

    def _scores(self, pixels: NDArray[np.float32]) -> Scores | None:
        return None if self._scoring is None else self._scoring.scores(pixels)

    def _result(
        self,
        pixels: NDArray[np.float32],
        records: tuple[Record, ...],
        snapshots: tuple[tuple[int, NDArray[np.float32]], ...],
        seconds: float,
        stopped_at: int | None,
    ) -> Result:
        return Result(
            image=from_float(pixels, self.dtype).reshape(self.shape),
            config=self.config,
            plan=self.plan,
            noise=self.noise,
            records=records,
            snapshots=snapshots,
            seconds=seconds,
            stopped_at=stopped_at,
            scores=self._scores(pixels),
            scores_before=self._scores(self.pixels),
            note=self.note,
        )


def _snapshot_steps(steps: int) -> frozenset[int]:
    """Return the steps at which an intermediate picture is kept: evenly spaced, the last included.

    >>> sorted(_snapshot_steps(80))
    [9, 19, 29, 39, 49, 59, 69, 79]
    """
    return frozenset(steps * (k + 1) // SNAPSHOTS - 1 for k in range(SNAPSHOTS)) - {-1}
