"""A restoration that is ready to run: it carries out the plan, and can be cut anywhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from guided_dip import backbones, seeds
from guided_dip import supervision as supervisions
from guided_dip.config import Config
from guided_dip.diffusion import make_schedule
from guided_dip.engine import Engine, thread_count, to_array, to_tensor
from guided_dip.errors import RunError
from guided_dip.fit import Fit, Step
from guided_dip.guidance import Patches, Plan, Stage, make_plan
from guided_dip.hiding import Hiding
from guided_dip.images import from_float
from guided_dip.memory import memory_reused, peak_memory
from guided_dip.noise import LEAST_SIGMA, NoiseModel
from guided_dip.operators import Mask
from guided_dip.residual import ResidualCheck, check_residual, explained_share
from guided_dip.restoration.checkpoint import Checkpoint
from guided_dip.restoration.course import SMALLER, Course
from guided_dip.restoration.span import WHITE, Span, in_bands
from guided_dip.restoration.structure import Coarse, coarse_of
from guided_dip.result import Record, Result, Scores, Scoring
from guided_dip.sizing import Footprint, Sizes, margin
from guided_dip.stopping import make_stopping
from guided_dip.tasks import DENOISE, Task
from guided_dip.tiling import Tiling, Window, middle
from guided_dip.training import FitSettings
from guided_dip.white import DIM

SNAPSHOTS = 8
SNAPSHOT_DRAWS = 4
SHOWN = 512  # pixels a side of the middle of a large picture, which is what snapshots show of it
ROLLBACKS = 2
PACE_STEPS = 4  # taken to foretell a run's time
_WIDTH = 48  # channels of a network that does not say how wide it is
EXPLODED = 10.0  # times the first loss, or the picture's own power


@dataclass
class Restoration:
    """A restoration that is ready to run, once.

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
    _look_seconds: float = field(init=False, default=0.0)  # that looking across wide holes took

    def __post_init__(self) -> None:
        c = self.config
        self._scoring = None if self.clean is None else Scoring(self.clean, c.quantize)
        self._schedule = make_schedule(c.schedule, lower_clip=c.lower_clip)
        self._course: Course | None = None
        self._ended_early = False
        assert c.steps is not None, "prepare() fills in the steps"
        assert c.a_end is not None, "and the weakest strength"
        steps = c.steps
        if self._is_clean:
            steps = 0
            self.note = self._told_clean()
        self.plan = make_plan(
            c.supervision,
            self._schedule,
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
            hide=(c.hide_start, c.hide_end) if self._hides else None,
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
        if self.noise is None or (self._hides and self._sigma < LEAST_SIGMA):
            return None
        return max(self._sigma, LEAST_SIGMA)

    @property
    def _hides(self) -> bool:
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
    def _keeps_known(self) -> bool:
        """Whether known pixels are right as they are, and only missing ones are restored."""
        return self.missing is not None and self._sigma < LEAST_SIGMA

    @property
    def _patches(self) -> Patches | None:
        height, width, _ = self.pixels.shape
        c = self.config
        return Patches(c.patch, c.patch_guides or 0, height * width) if c.patch else None

    @property
    def _sigma(self) -> float:
        """Noise level in the fit; 0 if the supervision needs to know none."""
        return 0.0 if self.noise is None else self.span.sigma

    @property
    def _is_clean(self) -> bool:
        return (
            self.config.supervision == "recorrupted-guides"
            and self.noise is not None
            and self._sigma < LEAST_SIGMA
            and self.missing is None
            and self.task is DENOISE
        )

    def run(
        self, on_step: Callable[[Record], None] | None = None, *, resume: Checkpoint | None = None
    ) -> Result:
        """Carry out the plan.

        Parameters
        ----------
        on_step
            Called with the `Record` of each step; may ask for `checkpoint` and `estimate`.
        resume
            Where an earlier run of the same restoration had got to.

        Returns
        -------
        Result

        Raises
        ------
        RunError
            If the fit diverges, and does so again at smaller rates.
        """
        # Networks of one's own may draw random numbers of PyTorch's; nobody else's are touched.
        with self.at_work():
            result = self._run(on_step, resume)
        return replace(result, peak_memory=peak_memory(self.config.device))

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Have threads, memory and PyTorch's random numbers as a run needs them, for a while."""
        with thread_count(self.config.threads), torch.random.fork_rng(devices=[]), memory_reused():
            torch.default_generator.manual_seed(seeds.derive(self.config.seed, "network"))
            yield

    def _run(self, on_step: Callable[[Record], None] | None, resume: Checkpoint | None) -> Result:
        if not self.plan.steps:
            return self._result(self.unrestored, None, None, ())
        course = self.begin()
        if resume is not None:
            course.load(resume)
        course.begin()
        while True:
            for step in course.steps():
                if self.take(course, step):
                    course.keep_now_and_then()
                    if on_step is not None:
                        on_step(course.records[-1])
                else:
                    self._go_back(course, step.index, float(step.loss))
            result = self.finish(course)
            if result is not None:
                return result
            self._go_back(course, course.fit.done, math.nan)

    def begin(self) -> Course:
        """Return the fit that is to be done, not begun."""
        self._course = Course(self._fit(), make_stopping(self.config.stopping))
        return self._course

    def take(self, course: Course, step: Step) -> bool:
        """Note a step, and look at the estimate now and then.

        Parameters
        ----------
        course
            Of the fit.
        step
            What the loop yielded.

        Returns
        -------
        bool
            False if the fit has diverged, and the step is not noted.
        """
        loss = float(step.loss)
        if self._has_diverged(course, loss):
            return False
        course.take(self._record(step, loss, course.seconds), step.output)
        if step.index in self._marks:
            estimate = course.fit.estimate(SNAPSHOT_DRAWS, self.shown)
            course.snapshots.append((step.index, self._pixels_of(estimate, self.shown)))
        return True

    def finish(self, course: Course) -> Result | None:
        """Return the result of a fit that is done; None if it is no picture, as it diverged.

        Parameters
        ----------
        course
            Of the fit.
        """
        pixels, spread = self._final(course)
        if not np.isfinite(pixels).all():
            return None
        return self._result(pixels, spread, course.stopped_at, tuple(course.rollbacks))

    @cached_property
    def _marks(self) -> frozenset[int]:
        """Steps after which the estimate is looked at."""
        return _snapshot_steps(self.plan)

    @cached_property
    def _tiling(self) -> Tiling | None:
        """How final outputs are parted; None if they are computed at once."""
        height, width = self.pixels.shape[:2]
        if not self.config.tile:
            return None
        reach, pages = max(self.task.reach), self.config.pages
        multiple = math.lcm(getattr(self._network(), "multiple", 1), self.task.multiple)
        # No mirror image of a picture is blurred as the picture is.
        beyond = not reach
        size, side = (height, width), self.config.tile
        return Tiling(size, side, margin(reach), multiple, pages, beyond)

    @cached_property
    def shown(self) -> Window | None:
        """What snapshots show of the picture; None for all of it."""
        if self._tiling is None:
            return None
        return middle(self._tiling.size, SHOWN, self.task.multiple, self._tiling.pages)

    def _final(self, course: Course) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        rule = course.stopping
        if rule is not None and rule.best is not None:
            return self._pixels_of(self.task.cut(rule.best)), None
        estimate, spread = course.fit.estimate_and_spread()
        pixels = self._with_mean(self._pixels_of(estimate))
        if spread is None:
            return pixels, None
        return pixels, self.span.spread_from_fit(to_array(spread), to_array(estimate))

    def _with_mean(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Give a restoration each channel's mean, of which noise over many pixels leaves no doubt.

        Counted light is scaled, so that none stays none. Where noise was cut off, or pixels are
        missing, the image's own mean is not the right one.
        """
        noise, c = self.noise, self.config
        if noise is None or c.supervision != "recorrupted-guides" or self.task is not DENOISE:
            return pixels
        if self.missing is not None or self.span.clipping is not None:
            return pixels
        if c.pages == 1:
            return _with_mean_of(self.pixels, pixels, noise)
        both = zip(*(np.split(image, c.pages) for image in (self.pixels, pixels)), strict=True)
        return np.concatenate([_with_mean_of(image, part, noise) for image, part in both])

    def _has_diverged(self, course: Course, loss: float) -> bool:
        usual = max(self._power, course.records[0].loss) if course.records else math.inf
        return not math.isfinite(loss) or loss > EXPLODED * usual

    def _go_back(self, course: Course, at: int, loss: float) -> None:
        """Go back to the last good state, with a smaller rate; or give up."""
        if len(course.rollbacks) == ROLLBACKS:
            rate = self.config.learning_rate
            raise RunError(
                f"the fit diverged at step {at} (its loss is {loss:.3g}), and {ROLLBACKS} times "
                f"before at larger rates: try a learning rate much smaller than {rate:g}"
            )
        course.go_back(at)

    def checkpoint(self) -> Checkpoint:
        """Return the last good state of the run under way: up to 20 steps back, never less safe.

        Only in a call of `run`'s `on_step`.
        """
        assert self._course is not None, "there is a checkpoint only while a run is under way"
        return self._course.good

    def estimate(self) -> NDArray[Any]:
        """Return the current estimate of the run under way, as the result would be given back.

        Only in a call of `run`'s `on_step`.
        """
        assert self._course is not None, "there is an estimate only while a run is under way"
        return self._given_back(self._blended(self._final(self._course)[0]))

    def preview(self) -> NDArray[Any] | None:
        """Return about what the estimate is now, for little time; None if nothing can be shown.

        It is one output of the network, of the result's shape and type, and changes nothing of
        what comes of the run. Only in a call of `run`'s `on_step`.
        """
        if self._course is None:
            return None
        with self._glancing():
            pixels = self._pixels_of(self._course.fit.glance())
        if not np.isfinite(pixels).all():
            return None
        return self._given_back(self._mixed(pixels, self.config.strength))

    def preview_seconds(self) -> float:
        """Foretell how long a preview takes, by a part of it.

        Only in a call of `run`'s `on_step`.

        Returns
        -------
        float
            Seconds; 0 if that is about a step's.
        """
        if self._course is None or self._tiling is None:
            return 0.0
        with self._glancing():
            return self._draw_times(self._course.fit)[0]

    @contextmanager
    def _glancing(self) -> Iterator[None]:
        """Keep random numbers that a network of one's own draws from being missed by its fit."""
        device = torch.device(self.config.device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield

    def end_here(self) -> None:
        """End the run with this step: what is estimated now is its result.

        Only in a call of `run`'s `on_step`.
        """
        assert self._course is not None, "only a run that is under way can be ended"
        self._course.stopped = self._ended_early = True

    def pace(self) -> tuple[float, float]:
        """Time a few throw-away steps, to foretell how long the run will take.

        Returns
        -------
        step, around
            Seconds a step on the mean, with its share of what is done at each restart's end, and
            seconds for all else.
        """
        kinds = {stage.patch: stage for stage in self.plan if stage.steps}
        if not kinds:
            return 0.0, 0.0
        with self.at_work():
            taken = {patch: self._step_time(stage) for patch, stage in kinds.items()}
            draw, glance = self._draw_times(self._fit(structure=False))
        step = sum(taken[stage.patch] * stage.steps for stage in self.plan) / self.plan.steps
        varied = self.config.supervision == "recorrupted-guides" or self.config.flips_and_turns
        final, shown = (self.config.final_draws, SNAPSHOT_DRAWS) if varied else (1, 1)
        if self.plan.restarts > 1:
            step += draw * final * self.plan.restarts / self.plan.steps
            final = 0
        first = 0.0
        if self.coarse is not None:
            each, first = self.coarse.fit.pace()
            first += each * self.coarse.fit.plan.steps
        return step, first + glance * SNAPSHOTS * shown + draw * final

    def _draw_times(self, fit: Fit) -> tuple[float, float]:
        """Time a throw-away output; seconds of one, and of what a snapshot shows of one."""
        before = time.perf_counter()
        fit.estimate(1, self.shown)
        glance = time.perf_counter() - before
        if self._tiling is None:
            return glance, glance
        areas = [
            sum(math.prod(part.stop - part.start for part in tile.outer) for tile in tiles)
            for tiles in (self._tiling.tiles(), self._tiling.tiles(self.shown))
        ]
        return glance * areas[0] / areas[1], glance

    def stage_fit(self, stage: Stage, steps: int) -> Fit:
        """Return a fit of its own of nothing but one stage, to time it or to count in it.

        Parameters
        ----------
        stage
            Of the plan.
        steps
            Of the fit.
        """
        plan = replace(self.plan, stages=(replace(stage, steps=steps),), restarts=1)
        return self._fit(plan, structure=False)

    def _step_time(self, stage: Stage) -> float:
        """Time some throw-away steps of a stage; seconds a step."""
        times = [time.perf_counter() for _ in self.stage_fit(stage, PACE_STEPS)]
        return float(np.median(np.diff(times)))

    @cached_property
    def _power(self) -> float:
        """Mean square of the image: the loss of a black picture."""
        y = self._observation
        return sum(float((row.double() ** 2).sum()) for row in y[0].transpose(0, 1)) / y.numel()

    @cached_property
    def _observation(self) -> Tensor:
        """The image as the fit is given it, (1, C, H, W)."""
        seed = seeds.derive(self.config.seed, "clipped")
        pixels = self.span.observation(self.pixels, seed)
        return to_tensor(pixels, torch.device(self.config.device))

    @cached_property
    def coarse(self) -> Coarse | None:
        """The picture made smaller, to look at first; None without wide holes."""
        guided = self.config.supervision == "recorrupted-guides"
        if self.missing is None or self.config.pages > 1 or not guided:
            return None
        y = self._observation
        return coarse_of(y, torch.from_numpy(~self.missing).to(y)[None, None], self.config)

    def look_across(self, on_step: Callable[[Record], None] | None = None) -> None:
        """Look at what goes on across wide holes, which a run does first if it has not been done.

        Parameters
        ----------
        on_step
            Called with the record of each step of that.
        """
        self._structure = self._seen_across(on_step)

    @cached_property
    def _structure(self) -> Tensor | None:
        """What goes on across wide holes, in the fit's values; None without any."""
        return self._seen_across()

    def _seen_across(self, on_step: Callable[[Record], None] | None = None) -> Tensor | None:
        if self.coarse is None:
            return None
        began = time.perf_counter()
        seen = self.coarse.look(on_step)
        self._look_seconds = time.perf_counter() - began
        return seen

    def _fit(self, plan: Plan | None = None, *, structure: bool = True) -> Fit:
        c = self.config
        plan = self.plan if plan is None else plan
        device, y = torch.device(c.device), self._observation
        settings = FitSettings(
            **{name: getattr(c, name) for name in FitSettings.__dataclass_fields__}
        )
        known = c.backbone in backbones.BACKBONES
        engine = Engine(self._network(), device, c.precision, replayable=known)
        supervision = self._supervision(y, plan, self._structure if structure else None)
        if device.type == "cuda":
            supervision = supervisions.Ahead(supervision, plan)

        def fresh(restart: int) -> dict[str, Any]:
            network = self._network(restart)
            return Engine(network, device, c.precision).state_dict()

        if c.supervision == "recorrupted-guides":
            operator = self.task.compared
        elif self.missing is None:
            operator = self.task.operator
        else:
            operator = Mask(torch.from_numpy(~self.missing).to(y)[None, None])
            supervision = supervisions.Measured(supervision, operator)
        return Fit(
            engine, supervision, plan, settings, operator, fresh, self._tiling, self.task.cut
        )

    def _network(self, restart: int = 0) -> nn.Module:
        c, channels = self.config, self.channels
        in_channels = None  # those of z
        if c.supervision == "recorrupted-guides":
            in_channels = channels + self._hides
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seeds.derive(c.seed, "weights", *([restart] if restart else [])))
            return backbones.build(
                c.backbone, channels, in_channels=in_channels, options=c.backbone_options
            )

    def _supervision(
        self, y: Tensor, plan: Plan, structure: Tensor | None
    ) -> supervisions.Supervision:
        c = self.config
        if c.supervision == "recorrupted-guides":
            local, grain = self.span.local_share(self.pixels), self.span.grain
            correlate = hiding = None
            if grain is not None:
                kernel, mixing = (
                    torch.from_numpy(part).to(y) for part in (grain.kernel, grain.mixing)
                )
                correlate = supervisions.Filter(kernel, mixing)
            if self.missing is not None:
                hiding = Hiding(torch.from_numpy(~self.missing).to(y)[None, None], c.seed)
            return self.task.guides(
                y,
                plan,
                sigma=self._sigma,
                seed=c.seed,
                share=None if local is None else to_tensor(local, y.device),
                grain=correlate,
                hiding=hiding,
                pages=c.pages,
                structure=structure,
            )
        z = self._z(self.task.lift(y))
        fixed: dict[str, Any] = {"jitter": c.jitter or 0.0, "seed": c.seed}
        if c.supervision == "observation":
            return supervisions.observation(y, z, **fixed)
        shared = c.guide_noise == "shared"
        guided = fixed | {"convention": c.noise_convention, "shared_noise": shared}
        if c.supervision == "clean-guides":
            return supervisions.clean_guides(y, z, plan, self._schedule, **guided)
        return supervisions.observation_guides(
            y, z, plan, self._schedule, sigma=self._sigma, **guided
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

    def _record(self, step: Step, loss: float, seconds: float) -> Record:
        score = None
        if self._scoring is not None and not step.apart:
            pixels = self._pixels_of(self.task.cut(step.output), step.window)
            score = self._scoring.psnr(pixels, step.window)
        return Record(
            step.index,
            step.stage,
            self.plan.stages[step.stage].t,
            loss,
            step.learning_rate,
            seconds,
            score,
        )

    def _pixels_of(self, image: Tensor, window: Window | None = None) -> NDArray[np.float32]:
        """Turn a cut (1, C, H, W) tensor of the fit into an (H, W, C) array in the image's values.

        It shows a window of the image; None: all of it.
        """
        finished = self.task.finished(image, self._observation, window)
        pixels = self.span.from_fit(to_array(finished))
        if self._keeps_known:
            assert self.missing is not None, "or none would be known"
            part = (slice(None), slice(None)) if window is None else window
            known = ~self.missing[part]
            pixels[known] = self.pixels[part][known]
        return pixels

    def _told_end(self) -> str:
        """Say that the run was ended early, if it was."""
        if not self._ended_early or self._course is None:
            return ""
        done = self._course.records[-1].step + 1
        return f"ended at step {done} of {self.plan.steps}, as was asked"

    def _residual_check(self, pixels: NDArray[np.float32]) -> ResidualCheck | None:
        """Check an estimate before it is blended with the image."""
        if self.noise is None or self.config.oracle or not self.plan.steps:
            return None
        if self.task is not DENOISE:  # what was taken away is more than noise
            return None
        correlated = self.span.grain is not None
        return check_residual(self.pixels, pixels, self.noise, self.missing, correlated=correlated)

    def _scores(self, pixels: NDArray[np.float32]) -> Scores | None:
        return None if self._scoring is None else self._scoring.scores(pixels)

    def _blended(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Blend an estimate with the image, as the strength says and its residual allows."""
        return self._mixed(pixels, self.config.strength * self._share(pixels))

    def _mixed(self, pixels: NDArray[np.float32], strength: float) -> NDArray[np.float32]:
        """Blend pixels with the image."""
        if strength == 1:
            return pixels
        blended = in_bands(
            lambda y, x: np.float32(1 - strength) * y + np.float32(strength) * x,
            self.unrestored,
            pixels,
        )
        if self.missing is not None:  # what was never measured cannot be blended with
            blended[self.missing] = pixels[self.missing]
        return blended

    def _share(self, pixels: NDArray[np.float32]) -> float:
        """Share of an estimate that is kept: all, unless it left out more than the noise."""
        if self.config.supervision != "recorrupted-guides" or self.noise is None:
            return 1.0
        if self.task is not DENOISE:
            return 1.0
        return explained_share(self.pixels, pixels, self.noise, self.missing)

    def _given_back(self, pixels: NDArray[np.float32]) -> NDArray[Any]:
        """Return pixels in the image's own units, type and shape."""
        if self.white is not None and self.dtype.kind in "iu" and self.pixels.max() <= 1:
            pixels = np.minimum(pixels, np.float32(1))  # as at the largest value of a type
        values = from_float(pixels, self.dtype, self.white)
        if self.given is not None:
            kept = pixels == self.pixels
            if self.missing is not None:
                kept[self.missing] = False
            np.copyto(values, self.given.reshape(values.shape), where=kept, casting="same_kind")
        return values.reshape(self.shape)

    def _result(
        self,
        pixels: NDArray[np.float32],
        spread: NDArray[np.float32] | None,
        stopped_at: int | None,
        rollbacks: tuple[int, ...],
    ) -> Result:
        course = self._course
        blended = self._blended(pixels)
        notes = (
            self.note,
            _told_noise(self.span),
            _told(rollbacks),
            _told_share(self._share(pixels)),
            self._told_end(),
        )
        return Result(
            image=self._given_back(blended),
            config=self.config,
            plan=self.plan,
            noise=self.noise,
            records=() if course is None else tuple(course.records),
            snapshots=() if course is None else tuple(course.snapshots),
            seconds=0.0 if course is None else self._look_seconds + course.seconds,
            stopped_at=stopped_at,
            rollbacks=rollbacks,
            spread=None if spread is None else spread.reshape(self.shape),
            residual=self._residual_check(pixels),
            scores=self._scores(blended),
            scores_before=self._scores(self.unrestored),
            note="; ".join(filter(None, notes)),
        )


def _with_mean_of(
    image: NDArray[np.float32], pixels: NDArray[np.float32], noise: NoiseModel
) -> NDArray[np.float32]:
    """Give pixels the mean of each channel of an image; scaled, where noise goes with the light."""
    wanted, found = (part.mean((0, 1), dtype=np.float64) - noise.black for part in (image, pixels))
    if noise.gain and not (found > 0).all():
        return pixels
    factor = wanted / found if noise.gain else np.ones_like(found)
    shift = noise.black * (1 - factor) + (0.0 if noise.gain else wanted - found)
    factor, shift = factor.astype(np.float32), shift.astype(np.float32)
    return in_bands(lambda part: part * factor + shift, pixels)


def _told_noise(span: Span) -> str:
    """Say what was found out about the noise beyond its model."""
    parts = []
    if span.clipping is not None:
        ends = (("black", span.clipping.low), ("white", span.clipping.high))
        cut = " and ".join(name for name, limit in ends if math.isfinite(limit))
        parts.append(f"its noise was cut off at {cut}, where it is filled in")
    if span.grain is not None:
        parts.append(
            f"its noise is correlated ({span.grain.correlation:.2f} between neighbours), so the "
            "guides' is, too"
        )
    return "; ".join(parts)


def _told(rollbacks: tuple[int, ...]) -> str:
    if not rollbacks:
        return ""
    steps = " and ".join(str(step) for step in rollbacks)
    rate = f"{SMALLER ** len(rollbacks):g}"
    return f"the fit diverged at step {steps} and went back, to go on at {rate} of its rate"


def _told_share(share: float) -> str:
    if share > 0.995:
        return ""
    return (
        f"the fit left out more than the noise, so only {share:.0%} of it is in the result; the "
        "rest is the input"
    )


def _snapshot_steps(plan: Plan) -> frozenset[int]:
    """Return the steps at which an intermediate picture is kept: evenly spaced, the last included.

    >>> sorted(_snapshot_steps(Plan("observation", "cosine", (Stage(80),))))
    [9, 19, 29, 39, 49, 59, 69, 79]
    """
    work = plan.work_done(plan.steps)
    return frozenset(plan.steps_for(work * (k + 1) / SNAPSHOTS) - 1 for k in range(SNAPSHOTS))
