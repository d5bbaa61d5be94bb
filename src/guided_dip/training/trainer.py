"""A network with its optimisers, which takes steps: by itself, or several of them as one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from guided_dip.graphs import Replay, replay_of
from guided_dip.operators import Operator, identity
from guided_dip.optimizers import make_optimizers
from guided_dip.training.passes import looked_at, through
from guided_dip.training.rates import learning_rate_at
from guided_dip.training.turns import joined, turned, unturned


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


class Batch(NamedTuple):
    """What a step is given, for one network or for each of several.

    Attributes
    ----------
    inputs : (1, Cin, H, W) each
        What goes in.
    targets : (1, C, H, W) each
        What the operator is to make of the outputs.
    turns
        How each is turned in the network.
    operator
        Forward operator.
    weights : (1, 1 or C, H, W) each
        What measured outputs are multiplied by before they are compared; none for nothing.
    """

    inputs: Sequence[Tensor]
    targets: Sequence[Tensor]
    turns: Sequence[int]
    operator: Operator
    weights: Sequence[Tensor] = ()


class Taken(NamedTuple):
    """What a step gives: a loss for each network, (B,) or without axes, and (B, C, H, W) pictures.

    `shown` is what is measured: `outputs`, or what comes out after the step.
    """

    losses: Tensor
    outputs: Tensor
    shown: Tensor


class Trainer:
    """A network, or several as one, and the optimisers that train it.

    Parameters
    ----------
    network
        To be trained.
    settings
        How.

    Attributes
    ----------
    weights
        Of the network.
    optimizers
        Those at work now.
    """

    def __init__(self, network: nn.Module, settings: FitSettings) -> None:
        self.network, self._settings = network, settings
        self.weights = list(network.parameters())
        self._replay = replay_of(network)
        self.begin()

    def begin(self) -> None:
        """Begin with optimisers that know nothing yet."""
        s = self._settings
        self.optimizers = make_optimizers(
            self.network,
            s.optimizer,
            learning_rate=s.learning_rate,
            weight_decay=s.weight_decay,
            muon_learning_rate=s.muon_learning_rate,
            capturable=self._replay is not None,
        )
        if self._replay is not None:
            self._replay.forget()

    def state(self) -> list[dict[str, Any]]:
        """Return what the optimisers know."""
        return [optimizer.state_dict() for optimizer in self.optimizers]

    def load_state(self, state: list[dict[str, Any]]) -> None:
        """Go on with what optimisers knew, on whatever device that was.

        Parameters
        ----------
        state
            What `state` returned.
        """
        self.begin()
        for optimizer, saved in zip(self.optimizers, state, strict=True):
            own = [dict(group) for group in optimizer.param_groups]
            optimizer.load_state_dict(saved)
            for group, kept in zip(optimizer.param_groups, own, strict=True):
                group.update({key: kept[key] for key in ("lr", "capturable") if key in kept})

    def set_rates(self, progress: float, factor: float) -> float:
        """Set the learning rates of a step, and return that of everything but Muon.

        Parameters
        ----------
        progress
            Share of the run that is done.
        factor
            Every rate is multiplied by it.

        Returns
        -------
        float
        """
        schedule = self._settings.learning_rate_schedule

        def rate(peak: float) -> float:
            return learning_rate_at(schedule, peak, progress) * factor

        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                if isinstance(group["lr"], Tensor):  # which a graph reads where it lies
                    group["lr"].fill_(rate(group["peak"]))
                else:
                    group["lr"] = rate(group["peak"])
        return rate(self._settings.learning_rate)

    def take(self, batch: Batch) -> Taken:
        """Take a step: fit the outputs to their targets.

        Parameters
        ----------
        batch
            One image, or one for each of the networks in this one.

        Returns
        -------
        Taken
        """
        self.fork()
        taken = self.launch(batch)
        self.wait()
        return taken

    def fork(self) -> None:
        """Have a step wait for what was asked for before; on a GPU, where it has its own stream."""
        if self._replay is not None:
            self._replay.fork()

    def launch(self, batch: Batch) -> Taken:
        """Take a step between `fork` and `wait`, as `take` does.

        Parameters
        ----------
        batch
            What it is given.

        Returns
        -------
        Taken
        """
        if self._replay is None:
            return self._taken(batch)
        with self._replay.on_stream():
            return self._replayed(self._replay, batch)

    def _replayed(self, replay: Replay, batch: Batch) -> Taken:
        inputs, targets, turns, operator, weights = batch
        # One recording serves all turns, where nothing in a step knows which way is up.
        outside = operator is identity and self._settings.measure == "before"
        if outside:
            inputs, targets = turned(inputs, turns), turned(targets, turns)
            weights = turned(weights, turns) if weights else ()
        inside = [0] * len(turns) if outside else turns

        def work(*tensors: Tensor) -> Taken:
            count = len(inputs)
            parts = tensors[:count], tensors[count : 2 * count], tensors[2 * count :]
            return self._taken(Batch(parts[0], parts[1], inside, operator, parts[2]))

        taken = Taken(*replay(work, (*inputs, *targets, *weights), tuple(inside)))
        if not outside:
            return taken
        upright = unturned(taken.outputs, turns)
        return Taken(taken.losses, upright, upright)

    def wait(self) -> None:
        """Have what is asked for from now on wait for the step."""
        if self._replay is not None:
            self._replay.wait()

    def _taken(self, batch: Batch) -> Taken:
        s, (inputs, targets, turns, operator, weights) = self._settings, batch
        if not self.network.training:  # going through all modules costs small networks 1%
            self.network.train()
        outputs = through(self.network, inputs, turns)
        measured, aims = operator(outputs), joined(targets)
        if weights:
            measured = measured * joined(weights)
        losses = _losses(measured, aims)
        self.step(losses)
        outputs, losses = outputs.detach(), losses.detach()
        if s.measure == "before":
            return Taken(losses, outputs, outputs)
        upright = [0] * len(inputs)
        shown = looked_at(self.network, inputs, upright, eval_mode=s.eval_mode)
        return Taken(losses, outputs, shown)

    def step(self, losses: Tensor) -> None:
        """Move the weights, so that each loss falls.

        Parameters
        ----------
        losses
            One, without axes; or one of each network, which depends on that network only, so that
            the gradient of their sum is that of each.
        """
        for weight in self.weights:
            weight.grad = None
        losses.sum().backward()  # type: ignore[no-untyped-call]
        if self._settings.clip_gradients is not None:
            nn.utils.clip_grad_norm_(self.weights, self._settings.clip_gradients)
        for optimizer in self.optimizers:
            optimizer.step()


class Trainers:
    """Trainers of networks on a GPU, whose steps it takes at the same time.

    Parameters
    ----------
    each
        One for each network.
    """

    def __init__(self, each: Sequence[Trainer]) -> None:
        self._each = each

    def begin(self) -> None:
        """Begin with optimisers that know nothing yet."""
        for trainer in self._each:
            trainer.begin()

    def set_rates(self, progress: float, factor: float) -> float:
        """Set the learning rates of a step, and return that of everything but Muon.

        Parameters
        ----------
        progress, factor
            As for `Trainer.set_rates`.

        Returns
        -------
        float
        """
        rates = [trainer.set_rates(progress, factor) for trainer in self._each]
        return rates[0]

    def take(self, batch: Batch) -> Taken:
        """Take a step of each, as `Trainer.take` does.

        Parameters
        ----------
        batch
            An input and a target for each network.

        Returns
        -------
        Taken
        """
        for trainer in self._each:
            trainer.fork()
        taken = [
            trainer.launch(Batch([given], [target], [k], batch.operator, weight))
            for trainer, given, target, k, weight in zip(
                self._each,
                batch.inputs,
                batch.targets,
                batch.turns,
                [[each] for each in batch.weights] or [[] for _ in self._each],
                strict=True,
            )
        ]
        for trainer in self._each:
            trainer.wait()
        losses, outputs, shown = zip(*taken, strict=True)
        return Taken(torch.stack(losses), joined(outputs), joined(shown))


def _losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean squared error of each output of a batch; of one, without axes."""
    if len(outputs) == 1:
        return F.mse_loss(outputs, targets)
    return F.mse_loss(outputs, targets, reduction="none").mean((1, 2, 3))
