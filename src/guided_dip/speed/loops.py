"""The loops that are timed: ours, and the one that most scripts of Deep Image Prior have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional as F

from guided_dip import backbones, seeds
from guided_dip.engine import to_array, to_tensor
from guided_dip.fit import Fit, Step
from guided_dip.memory import memory_now

POINTS = 11  # at which memory is read, the start among them


class ReferenceLoop:
    """Plain PyTorch, as the report's code and most scripts of Deep Image Prior are written.

    Eager float32 in PyTorch's usual memory layout, Adam, the loss read at every step, and at every
    step a second forward pass in eval mode whose picture is kept.

    Parameters
    ----------
    network
        Maps the input to an image.
    given : (1, Cin, H, W)
        The network's input.
    target : (1, C, H, W)
        What its output is fitted to.

    Attributes
    ----------
    snapshots
        The pictures that were kept, (H, W, C) float32 in [0, 1].
    losses
        Of each step.
    """

    def __init__(self, network: nn.Module, given: torch.Tensor, target: torch.Tensor) -> None:
        self._network, self._given, self._target = network, given, target
        self._optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
        self.snapshots: list[NDArray[np.float32]] = []
        self.losses: list[float] = []

    @classmethod
    def of(
        cls,
        backbone: str,
        image: NDArray[np.float32],
        *,
        options: dict[str, object] | None = None,
        device: torch.device,
    ) -> ReferenceLoop:
        """Fit a network to an image from noise.

        Parameters
        ----------
        backbone, options
            The network.
        image : (H, W, C)
            What it is fitted to.
        device
            Where.
        """
        target = to_tensor(image, device)
        row, size = backbones.find(backbone), (image.shape[0], image.shape[1])
        given = backbones.network_input(row, image.shape[2], size, seeds.generator(0, "z"))
        network = backbones.build(backbone, image.shape[2], options=options).to(device)
        return cls(network, given.to(device), target)

    def step(self) -> None:
        """Take a step."""
        self._network.train()
        self._optimizer.zero_grad()
        loss = F.mse_loss(self._network(self._given), self._target)
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimizer.step()
        self.losses.append(loss.item())
        self._network.eval()
        with torch.no_grad():
            output = self._network(self._given)
        self.snapshots.append(np.ascontiguousarray(to_array(output.clamp(0, 1))))


def quick_steps(make: Callable[[], Fit]) -> Callable[[], None]:
    """Return a function that takes one step of a fit, and of a new one where that has ended.

    Parameters
    ----------
    make
        Makes a fit.
    """

    def endless() -> Iterator[Step]:
        while True:
            yield from make()

    steps = endless()

    def step() -> None:
        next(steps)

    return step


@dataclass(frozen=True)
class Growth:
    """Memory over the steps of a fit.

    Attributes
    ----------
    steps, mebibytes
        Steps done, and the resident memory then, in MiB.
    """

    steps: tuple[int, ...]
    mebibytes: tuple[int, ...]

    @property
    def mebibytes_grown(self) -> int:
        """From the second reading, when all buffers are there, to the last."""
        return self.mebibytes[-1] - self.mebibytes[1]

    def as_dict(self) -> dict[str, Any]:
        """Return all of it as plain values."""
        return {**asdict(self), "mebibytes_grown": self.mebibytes_grown}


def memory_growth(fit: Fit, on_step: Callable[[int], None] | None = None) -> Growth | None:
    """Run a fit to its end and read the memory now and then.

    Parameters
    ----------
    fit
        Of at least ten steps.
    on_step
        Called with the number of steps done.

    Returns
    -------
    Growth or None
        None where memory is not counted: outside Linux.
    """
    total = fit.plan.steps
    marks = {round(total * k / (POINTS - 1)) for k in range(POINTS)}
    steps, memory = [0], [memory_now()]
    for step in fit:
        done = step.index + 1
        if done in marks:
            steps.append(done)
            memory.append(memory_now())
        if on_step is not None:
            on_step(done)
    known = [value for value in memory if value is not None]
    return Growth(tuple(steps), tuple(known)) if len(known) == len(memory) else None
