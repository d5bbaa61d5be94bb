"""The optimisation loop: one for every supervision, backbone and task.

A step asks the supervision for ``(input, target)``, runs the network, compares ``A(output)`` with
the target, steps the optimiser, and yields a record. Progress bars, curves, previews and stopping
rules are consumers of that one stream; the loop knows none of them.
"""

from __future__ import annotations

import copy
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from guided_dip import seeds
from guided_dip.backbones import reset_batchnorm
from guided_dip.backbones.several import join
from guided_dip.guidance import Plan
from guided_dip.members import Members, assembled
from guided_dip.operators import Operator, identity
from guided_dip.supervision import Pair, Supervision
from guided_dip.tiling import Tile, Tiling, Window
from guided_dip.training import TURNS, Batch, FitSettings, Trainer, Trainers, looked_at

HALFWAY = 0.5  # through a restart, from where on it shows more than one that has ended before


@dataclass(frozen=True)
class Step:
    """Record of one step.

    Attributes
    ----------
    index
        0-based step.
    stage
        0-based stage of the plan.
    loss
        Mean squared error between ``A(output)`` and the target before the update, a 0-d tensor (so
        that recording it makes no device wait).
    learning_rate
        Learning rate of the update.
    output : (1, C, H, W) tensor
        The network's raw output: of the step's own forward pass (``measure="before"``), or of a
        second one after the update (``"after"``).
    window
        Rows and columns of the image which that output shows; None for all.
    apart
        Whether it shows no part of the image.
    """

    index: int
    stage: int
    loss: Tensor
    learning_rate: float
    output: Tensor
    window: Window | None = None
    apart: bool = False


@dataclass(frozen=True)
class Task:
    """What the next step is: its place in the plan, its data, and how they are turned.

    `begins` says that the optimisers begin anew with it.
    """

    step: int
    stage: int
    begins: bool
    pair: Pair
    turns: int


@dataclass
class Fit:
    """A fit in progress: iterate over it for its steps, ask it for the current estimate.

    Parameters
    ----------
    network
        Maps (1, Cin, H, W) to (1, C, H, W); trained in place.
    supervision
        Where input and target come from.
    plan
        The stages.
    settings
        How to fit.
    operator
        Forward operator ``A``.
    fresh
        Gives the weights with which a restart, counted from 0, begins; of the first they are the
        network's own. The estimate is the mean over the restarts that have ended.
    tiling
        How final outputs are parted, where the image is too large for one; None for all at once.
    cut
        Takes what is wanted of an output.

    Attributes
    ----------
    rate_factor
        Every learning rate is multiplied by it.
    """

    network: nn.Module
    supervision: Supervision
    plan: Plan
    settings: FitSettings = field(default_factory=FitSettings)
    operator: Operator = identity
    fresh: Callable[[int], dict[str, Any]] | None = None
    tiling: Tiling | None = None
    cut: Callable[[Tensor], Tensor] = identity

    def __post_init__(self) -> None:
        self._ends = (0, *self.plan.ends)
        self._trainer = Trainer(self.network, self.settings)
        self._begin()
        self._ended = Members()
        # Of a large image the weights are kept, which are less than its estimates.
        self._ended_weights: list[dict[str, Tensor]] = []
        self._stage = 0
        self._done = 0
        self.rate_factor = 1.0

    def _begin(self) -> None:
        """Begin to average what the network is from now on."""
        self._average = copy.deepcopy(self.network) if self.settings.weight_average else None
        self._mean_output: Tensor | None = None

    def __iter__(self) -> Iterator[Step]:
        return (step for (step,) in _steps([self], self._trainer))

    def _next(self) -> Task:
        """Get ready for the next step, and return what it is."""
        stage_index, is_first = self._place()
        s, restarts = self.settings, self._has_ended()
        if restarts:
            self._restart()
        elif is_first and stage_index and s.reset_batchnorm:
            reset_batchnorm(self.network)
        self._stage = stage_index
        index = self._done
        pair = self.supervision.pair(stage_index, index)
        k = seeds.derive(s.seed, "turn", index) % TURNS if s.flips_and_turns else 0
        begins = restarts or bool(s.rebuild_optimizer and is_first and stage_index)
        return Task(index, stage_index, begins, pair, k)

    def _has_ended(self) -> bool:
        """Whether a restart has just ended."""
        return self._done in self._ends[1:]

    def _restart(self) -> None:
        """Keep the estimate of the restart that has ended, and begin anew."""
        if self.tiling is None:
            self._ended.add(*self._own_estimate(None))
        else:
            self._ended_weights.append(copy.deepcopy(self._shown.state_dict()))
        assert self.fresh is not None, "a plan with restarts needs fresh weights"
        self.network.load_state_dict(self.fresh(self._ends.index(self._done)))
        self._begin()

    @property
    def optimizers(self) -> tuple[torch.optim.Optimizer, ...]:
        """Those at work now."""
        return tuple(self._trainer.optimizers)

    @property
    def done(self) -> int:
        """Number of steps that are done."""
        return self._done

    def _place(self) -> tuple[int, bool]:
        """Return the stage of the next step, and whether that is the stage's first."""
        first = 0
        for index, stage in enumerate(self.plan):
            if self._done < first + stage.steps:
                return index, self._done == first
            first += stage.steps
        raise AssertionError("a finished fit has no next step")

    def state(self) -> dict[str, Any]:
        """Return a copy of all that the rest of the fit depends on: tensors and plain values."""
        average = self._average
        changing = {
            "done": self._done,
            "stage": self._stage,
            "network": dict(self.network.state_dict()),
            "optimizers": self._trainer.state(),
            "average": None if average is None else dict(average.state_dict()),
            "mean_output": self._mean_output,
            "random": torch.get_rng_state(),
        }
        # What has ended is never changed, and may be as large as some images.
        ended = {"ended": self._ended.state(), "ended_weights": list(self._ended_weights)}
        return copy.deepcopy(changing) | ended

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on from a state, of this fit or of another one with the same settings.

        Parameters
        ----------
        state
            What `state` returned; it is copied.
        """
        ended = {name: state[name] for name in ("ended", "ended_weights")}
        state = copy.deepcopy({name: value for name, value in state.items() if name not in ended})
        self._done, self._stage = state["done"], state["stage"]
        self.network.load_state_dict(state["network"])
        self._trainer.load_state(state["optimizers"])
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        mean = state["mean_output"]
        device = next(self.network.parameters()).device
        self._mean_output = None if mean is None else mean.to(device)
        self._ended = Members.of(ended["ended"], device)
        self._ended_weights = list(ended["ended_weights"])
        torch.set_rng_state(state["random"])

    def _progress(self) -> float:
        """Return how much of the restart is done when the next step is taken, 1 at its last."""
        index = self._done
        member = bisect_right(self._ends, index)
        first, end = self._ends[member - 1], self._ends[member]
        done, now, last = (self.plan.work_done(n) for n in (first, index, end - 1))
        return (now - done) / ((last - done) or 1.0)

    def _took(self, task: Task, loss: Tensor, rate: float, output: Tensor, shown: Tensor) -> Step:
        """Note a step that was taken, and return its record."""
        self._update_averages(output)
        self._done += 1
        pair = task.pair
        return Step(task.step, task.stage, loss, rate, shown, pair.window, pair.apart)

    def _update_averages(self, output: Tensor) -> None:
        s = self.settings
        if self._average is not None:
            # The early weights are far from any answer: let the average forget them quickly.
            keep = min(s.weight_average, (1 + self._done) / (10 + self._done))
            with torch.no_grad():
                for mean, now in zip(
                    self._average.state_dict().values(),
                    self.network.state_dict().values(),
                    strict=True,
                ):
                    if mean.is_floating_point():
                        mean.lerp_(now, 1 - keep)
        if s.output_average:
            if self._mean_output is None:
                self._mean_output = output.clone()
            else:
                self._mean_output.lerp_(output, 1 - s.output_average)

    def estimate(self, draws: int | None = None, window: Window | None = None) -> Tensor:
        """Return the current estimate of the image.

        The mean over `draws` final inputs, each in another of the eight orientations where the fit
        uses flips and turns; or the running mean of the outputs where that is kept.

        Parameters
        ----------
        draws
            Number of outputs to average; None means the settings' ``final_draws``. One is enough
            where the supervision's final inputs do not differ.
        window
            Rows and columns of a part of an image with a tiling; None for all of the image.

        Returns
        -------
        x_hat : (1, C, H, W) float32
        """
        return self.estimate_and_spread(draws, window)[0]

    def estimate_and_spread(
        self, draws: int | None = None, window: Window | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return the current estimate, and how far the outputs it averages lie apart.

        Parameters
        ----------
        draws
            As for `estimate`.
        window
            Rows and columns of a part of an image with a tiling; None for all of the image.

        Returns
        -------
        x_hat : (1, C, H, W) float32
        spread : (1, C, H, W) float32 or None
            Sample standard deviation over the draws of all restarts; None if there is only one.
        """
        if self.tiling is not None and self._mean_output is None:
            count, networks = self._draws(draws), self._networks()
            return assembled(self.tiling, window, lambda tile: self._tile(tile, count, networks))
        if not self._ended.count:
            return self._own_estimate(draws)
        members = copy.copy(self._ended)
        if self._has_ended():
            members.add(*self._own_estimate(draws))
        return members.estimate_and_spread()

    def glance(self) -> Tensor:
        """Return about what the estimate is now, by one output of the network.

        A restart under way counts the more the farther it is, beside those that have ended; of a
        large image only the one that shows more is looked at.

        Returns
        -------
        x_hat : (1, C, H, W) float32
        """
        reached = 1.0 if self._has_ended() else self._progress()
        if self.tiling is not None and self._mean_output is None:
            ended = [] if self._has_ended() else self._networks()
            networks = ended[-1:] if reached < HALFWAY and ended else [(self._shown, self._stage)]
            return assembled(self.tiling, None, lambda tile: self._tile(tile, 1, networks))[0]
        own, count = self._own_estimate(1)[0], self._ended.count
        if not count:
            return own
        return (count * self._ended.estimate_and_spread()[0] + reached * own) / (count + reached)

    def _draws(self, wanted: int | None) -> int:
        """Return how many outputs there are to average."""
        s = self.settings
        varied = self.supervision.draws_differ or s.flips_and_turns
        return max(1, s.final_draws if wanted is None else wanted) if varied else 1

    def _own_estimate(self, draws: int | None) -> tuple[Tensor, Tensor | None]:
        """Return estimate and spread of the restart under way."""
        if self._mean_output is not None:
            return self.cut(self._mean_output).clone(), None
        outputs = Members()
        for draw in range(self._draws(draws)):
            outputs.add(self._draw(draw, self._shown, self._stage), None)
        return outputs.estimate_and_spread()

    @property
    def _shown(self) -> nn.Module:
        """The network whose outputs are shown: its weights now, or their running mean."""
        return self.network if self._average is None else self._average

    def _draw(
        self, draw: int, network: nn.Module, stage: int, window: Window | None = None
    ) -> Tensor:
        k = draw % TURNS if self.settings.flips_and_turns else 0
        given: Tensor | None = self.supervision.final_input(stage, draw, window)
        passes = 0
        while given is not None:
            output = looked_at(network, [given], [k], eval_mode=self.settings.eval_mode).float()
            passes += 1
            given = self.supervision.again(output, passes)
        return self.cut(output)

    def _networks(self) -> list[tuple[nn.Module, int]]:
        """Return the networks whose mean is the estimate, and the stages at whose end they are."""
        ended = [copy.deepcopy(self._shown) for _ in self._ended_weights]
        for network, weights in zip(ended, self._ended_weights, strict=True):
            network.load_state_dict(weights)
        networks = [(network, len(self.plan) - 1) for network in ended]
        if not networks or self._has_ended():
            networks.append((self._shown, self._stage))
        return networks

    def _tile(
        self, tile: Tile, draws: int, networks: list[tuple[nn.Module, int]]
    ) -> tuple[Tensor, Tensor | None]:
        """Return estimate and spread of one tile."""
        members = Members()
        for network, stage in networks:
            outputs = Members()
            for draw in range(draws):
                output = self._draw(draw, network, stage, tile.outer)
                outputs.add(output[..., *tile.core].clone(), None)
            if len(networks) == 1:
                return outputs.estimate_and_spread()
            members.add(*outputs.estimate_and_spread())
        return members.estimate_and_spread()


def together(fits: Sequence[Fit]) -> Iterator[tuple[Step, ...]]:
    """Take the steps of several fits at once.

    On a CPU their networks are joined in one (`guided_dip.backbones.several`); a GPU takes the
    steps of all of them at the same time.

    Parameters
    ----------
    fits
        Not begun, and alike: of one operator, of the same settings but for seeds, without averages
        or clipped gradients; and of one plan, or of plans that have the same guides in other
        orders, where nothing begins anew with a stage.

    Yields
    ------
    tuple of Step
        One of each fit.
    """
    networks = [fit.network for fit in fits]
    if next(networks[0].parameters()).is_cuda:
        return _steps(fits, Trainers([fit._trainer for fit in fits]))
    return _steps(fits, Trainer(join(networks), fits[0].settings))


def _steps(fits: Sequence[Fit], trainer: Trainer | Trainers) -> Iterator[tuple[Step, ...]]:
    """Take the steps that are left: the optimisation loop."""
    lead = fits[0]
    while lead.done < lead.plan.steps:
        tasks = [fit._next() for fit in fits]
        if tasks[0].begins:
            trainer.begin()
        rate = trainer.set_rates(lead._progress(), lead.rate_factor)
        batch = Batch(
            [task.pair.input for task in tasks],
            [task.pair.target for task in tasks],
            [task.turns for task in tasks],
            lead.operator,
            [task.pair.weight for task in tasks if task.pair.weight is not None],
        )
        taken = trainer.take(batch)
        losses = taken.losses.reshape(-1).unbind()
        pictures = (torch.split(part, 1) for part in (taken.outputs, taken.shown))
        yield tuple(
            fit._took(task, loss, rate, output, shown)
            for fit, task, loss, output, shown in zip(fits, tasks, losses, *pictures, strict=True)
        )
