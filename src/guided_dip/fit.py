"""The optimisation loop: one for every supervision, backbone and task.

A step asks the supervision for ``(input, target)``, runs the network, compares ``A(output)`` with
the target, steps the optimiser, and yields a record. Progress bars, curves, previews and stopping
rules are consumers of that one stream; the loop knows none of them.
"""

from __future__ import annotations

import copy
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from guided_dip import seeds
from guided_dip.backbones import reset_batchnorm
from guided_dip.guidance import Plan
from guided_dip.members import Members, assembled
from guided_dip.operators import Operator, identity
from guided_dip.optimizers import make_optimizers
from guided_dip.supervision import Supervision
from guided_dip.tiling import Tile, Tiling, Window

WARM_UP = 0.1  # of the run, under the linear schedule
TURNS = 8  # four quarter turns, with and without a flip


@dataclass(frozen=True)
class FitSettings:
    """How the loop fits; every field is described where the user sets it, in `Config`.

    The defaults here are plain DIP's: Adam at a constant rate and nothing else.
    """

    optimizer: Literal["adam", "adamw", "muon"] = "adam"
    learning_rate: float = 1e-3
    muon_learning_rate: float = 0.02
    learning_rate_schedule: Literal["constant", "cosine", "one-cycle", "linear"] = "constant"
    weight_decay: float = 0.0
    clip_gradients: float | None = None
    rebuild_optimizer: bool = False
    reset_batchnorm: bool = False
    flips_and_turns: bool = False
    weight_average: float = 0.0
    output_average: float = 0.0
    measure: Literal["before", "after"] = "before"
    eval_mode: bool = False
    final_draws: int = 1
    seed: int = 0


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
    """

    index: int
    stage: int
    loss: Tensor
    learning_rate: float
    output: Tensor
    window: Window | None = None


def turn(image: Tensor, k: int) -> Tensor:
    """Turn a (…, H, W) image by ``k % 4`` quarter turns, and flip it first if ``k >= 4``."""
    if k >= 4:
        image = image.flip(-1)
    return torch.rot90(image, k % 4, (-2, -1)) if k % 4 else image


def unturn(image: Tensor, k: int) -> Tensor:
    """Undo `turn`."""
    if k % 4:
        image = torch.rot90(image, -(k % 4), (-2, -1))
    return image.flip(-1) if k >= 4 else image


def learning_rate_at(schedule: str, peak: float, progress: float) -> float:
    """Return the learning rate at `progress` in [0, 1] of the run.

    ``one-cycle`` rises along a cosine from ``peak / 25`` over the first 30% and falls to
    ``peak / 250000`` (Smith & Topin 2019, with PyTorch's default divisors); ``cosine`` falls from
    the peak to 0; ``linear`` rises from ``peak / 25`` over the first tenth while it falls to 0
    over the whole run; ``constant`` stays.
    """
    if schedule == "constant":
        return peak
    if schedule == "cosine":
        return _cosine(peak, 0.0, progress)
    if schedule == "linear":
        return peak * min(1.0, max(1 / 25, progress / WARM_UP)) * (1 - progress)
    low, end, rise = peak / 25, peak / 25e4, 0.3
    if progress < rise:
        return _cosine(low, peak, progress / rise)
    return _cosine(peak, end, (progress - rise) / (1 - rise))


def _cosine(first: float, last: float, progress: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2


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

    def __post_init__(self) -> None:
        self._ends = (0, *self.plan.ends)
        self._begin()
        self._ended = Members()
        # Of a large image the weights are kept, which are less than its estimates.
        self._ended_weights: list[dict[str, Tensor]] = []
        self._stage = 0
        self._done = 0
        self.rate_factor = 1.0

    def _begin(self) -> None:
        """Begin with what the network is now."""
        self._weights = list(self.network.parameters())
        self._optimizers = self._make_optimizers()
        self._average = copy.deepcopy(self.network) if self.settings.weight_average else None
        self._mean_output: Tensor | None = None

    def __iter__(self) -> Iterator[Step]:
        while self._done < self.plan.steps:
            stage_index, is_first = self._place()
            if self._has_ended():
                self._restart()
            elif is_first:
                self._enter(stage_index)
            self._stage = stage_index
            record = self._step(stage_index)
            self._done += 1
            yield record

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
        return tuple(self._optimizers)

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
            "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
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
        self._optimizers = self._make_optimizers()
        for optimizer, saved in zip(self._optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        if self._average is not None:
            self._average.load_state_dict(state["average"])
        mean = state["mean_output"]
        device = next(self.network.parameters()).device
        self._mean_output = None if mean is None else mean.to(device)
        self._ended = Members.of(ended["ended"], device)
        self._ended_weights = list(ended["ended_weights"])
        torch.set_rng_state(state["random"])

    def _enter(self, stage_index: int) -> None:
        if stage_index and self.settings.rebuild_optimizer:
            self._optimizers = self._make_optimizers()
        if stage_index and self.settings.reset_batchnorm:
            reset_batchnorm(self.network)

    def _make_optimizers(self) -> list[torch.optim.Optimizer]:
        s = self.settings
        return make_optimizers(
            self.network,
            s.optimizer,
            learning_rate=s.learning_rate,
            weight_decay=s.weight_decay,
            muon_learning_rate=s.muon_learning_rate,
        )

    def _set_rates(self, index: int) -> float:
        """Set the learning rates of a step, and return that of everything but Muon."""
        s = self.settings
        member = bisect_right(self._ends, index)
        first, end = self._ends[member - 1], self._ends[member]
        done, now, last = (self.plan.work_done(n) for n in (first, index, end - 1))
        progress = (now - done) / ((last - done) or 1.0)

        def rate(peak: float) -> float:
            return learning_rate_at(s.learning_rate_schedule, peak, progress) * self.rate_factor

        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate(group["peak"])
        return rate(s.learning_rate)

    def _step(self, stage_index: int) -> Step:
        s, index = self.settings, self._done
        rate = self._set_rates(index)
        pair = self.supervision.pair(stage_index, index)
        k = seeds.derive(s.seed, "turn", index) % TURNS if s.flips_and_turns else 0

        if not self.network.training:  # to go through all modules again costs small networks 1%
            self.network.train()
        output = unturn(self.network(turn(pair.input, k)), k)
        loss = F.mse_loss(self.operator(output), pair.target)
        for weight in self._weights:
            weight.grad = None
        loss.backward()  # type: ignore[no-untyped-call]
        if s.clip_gradients is not None:
            nn.utils.clip_grad_norm_(self._weights, s.clip_gradients)
        for optimizer in self._optimizers:
            optimizer.step()

        self._update_averages(output.detach())
        measured = output.detach() if s.measure == "before" else self._run(pair.input)
        return Step(index, stage_index, loss.detach(), rate, measured, pair.window)

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

    @torch.no_grad()
    def _run(self, network_input: Tensor, k: int = 0, network: nn.Module | None = None) -> Tensor:
        network = self.network if network is None else network
        network.train(not self.settings.eval_mode)
        with batchnorm_untouched(network):
            return unturn(network(turn(network_input, k)), k)

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

    def _draws(self, wanted: int | None) -> int:
        """Return how many outputs there are to average."""
        s = self.settings
        varied = self.supervision.draws_differ or s.flips_and_turns
        return max(1, s.final_draws if wanted is None else wanted) if varied else 1

    def _own_estimate(self, draws: int | None) -> tuple[Tensor, Tensor | None]:
        """Return estimate and spread of the restart under way."""
        if self._mean_output is not None:
            return self._mean_output.clone(), None
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
        return self._run(self.supervision.final_input(stage, draw, window), k, network).float()

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


@contextmanager
def batchnorm_untouched(network: nn.Module) -> Iterator[None]:
    """Run a network in training mode without moving its running statistics."""
    norms = [
        m
        for m in network.modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.track_running_stats
    ]
    if not network.training:
        norms = []
    for norm in norms:
        norm.track_running_stats = False
    try:
        yield
    finally:
        for norm in norms:
            norm.track_running_stats = True
