"""A restoration that is ready to run: it carries out the plan, and can be cut anywhere."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from guided_dip import seeds
from guided_dip.engine import thread_count, to_array
from guided_dip.errors import RunError
from guided_dip.fit import Fit, Step
from guided_dip.guidance import Plan, Stage
from guided_dip.memory import memory_reused, peak_memory
from guided_dip.restoration.checkpoint import Checkpoint
from guided_dip.restoration.course import Course
from guided_dip.restoration.making import make_fit, make_network
from guided_dip.restoration.outcome import (
    blended,
    given_back,
    pixels_of,
    residual_of,
    share_kept,
    told_noise,
    told_rollbacks,
    told_share,
    with_mean,
)
from guided_dip.restoration.prepared import Prepared
from guided_dip.restoration.structure import Coarse, coarse_of
from guided_dip.result import Record, Result
from guided_dip.sizing import margin
from guided_dip.stopping import make_stopping
from guided_dip.tiling import Tiling, Window, middle

SNAPSHOTS = 8
SNAPSHOT_DRAWS = 4
SHOWN = 512  # pixels a side of the middle of a large picture, which is what snapshots show of it
ROLLBACKS = 2
PACE_STEPS = 4  # taken to foretell a run's time
EXPLODED = 10.0  # times the first loss, or the picture's own power


class Restoration(Prepared):
    """A restoration that is ready to run, once.

    Parameters
    ----------
    config, pixels, dtype, shape, noise, clean, missing, span, note, task, first, given
        As those of `Prepared`.
    """

    _course: Course | None = None
    _ended_early = False
    _look_seconds = 0.0  # that looking across wide holes took

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
            course.snapshots.append((step.index, pixels_of(self, estimate, self.shown)))
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
        multiple = math.lcm(getattr(make_network(self), "multiple", 1), self.task.multiple)
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
            return pixels_of(self, self.task.cut(rule.best)), None
        estimate, spread = course.fit.estimate_and_spread()
        pixels = with_mean(self, pixels_of(self, estimate))
        if spread is None:
            return pixels, None
        return pixels, self.span.spread_from_fit(to_array(spread), to_array(estimate))

    def _has_diverged(self, course: Course, loss: float) -> bool:
        usual = max(self.power, course.records[0].loss) if course.records else math.inf
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
        pixels = self._final(self._course)[0]
        return given_back(self, blended(self, pixels, share_kept(self, pixels)))

    def preview(self) -> NDArray[Any] | None:
        """Return about what the estimate is now, for little time; None if nothing can be shown.

        It is one output of the network, of the result's shape and type, and changes nothing of
        what comes of the run. Only in a call of `run`'s `on_step`.
        """
        if self._course is None:
            return None
        with self._glancing():
            pixels = pixels_of(self, self._course.fit.glance())
        if not np.isfinite(pixels).all():
            return None
        return given_back(self, blended(self, pixels))

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
    def coarse(self) -> Coarse | None:
        """The picture made smaller, to look at first; None without wide holes."""
        guided = self.config.supervision == "recorrupted-guides"
        measured = self.measured
        if measured is None or self.config.pages > 1 or not guided:
            return None
        return coarse_of(self.observation, measured, self.config)

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
        seen = self._structure if structure else None
        plan = self.plan if plan is None else plan
        return make_fit(self, plan, tiling=self._tiling, structure=seen)

    def _record(self, step: Step, loss: float, seconds: float) -> Record:
        score = None
        if self.scoring is not None and not step.apart:
            pixels = pixels_of(self, self.task.cut(step.output), step.window)
            score = self.scoring.psnr(pixels, step.window)
        return Record(
            step.index,
            step.stage,
            self.plan.stages[step.stage].t,
            loss,
            step.learning_rate,
            seconds,
            score,
        )

    def _result(
        self,
        pixels: NDArray[np.float32],
        spread: NDArray[np.float32] | None,
        stopped_at: int | None,
        rollbacks: tuple[int, ...],
    ) -> Result:
        course = self._course
        share = share_kept(self, pixels)
        picture = blended(self, pixels, share)
        notes = (
            self.note,
            told_noise(self.span),
            told_rollbacks(rollbacks),
            told_share(share),
            self._told_end(),
        )
        scores = None if self.scoring is None else self.scoring.scores
        return Result(
            image=given_back(self, picture),
            config=self.config,
            plan=self.plan,
            noise=self.noise,
            records=() if course is None else tuple(course.records),
            snapshots=() if course is None else tuple(course.snapshots),
            seconds=0.0 if course is None else self._look_seconds + course.seconds,
            stopped_at=stopped_at,
            rollbacks=rollbacks,
            spread=None if spread is None else spread.reshape(self.shape),
            residual=residual_of(self, pixels),
            scores=None if scores is None else scores(picture),
            scores_before=None if scores is None else scores(self.unrestored),
            note="; ".join(filter(None, notes)),
        )

    def _told_end(self) -> str:
        """Say that the run was ended early, if it was."""
        if not self._ended_early or self._course is None:
            return ""
        done = self._course.records[-1].step + 1
        return f"ended at step {done} of {self.plan.steps}, as was asked"


def _snapshot_steps(plan: Plan) -> frozenset[int]:
    """Return the steps at which an intermediate picture is kept: evenly spaced, the last included.

    >>> sorted(_snapshot_steps(Plan("observation", "cosine", (Stage(80),))))
    [9, 19, 29, 39, 49, 59, 69, 79]
    """
    work = plan.work_done(plan.steps)
    return frozenset(plan.steps_for(work * (k + 1) / SNAPSHOTS) - 1 for k in range(SNAPSHOTS))
