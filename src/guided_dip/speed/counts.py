"""What one step of a fit costs: its arithmetic, and the bytes that it must move at least.

Operations are counted by PyTorch as they run: two for each multiplication with an addition, in the
network's forward and backward passes and in Muon's matrix products. Elementwise work is not among
them; it is bound by memory.

Bytes are those that a step moves where it is computed layer by layer and no kernel moves anything
twice: every weight, its gradient and what the optimiser remembers of it are read once and written
once, and the output of every layer is written once on the way forward and read once on the way
back, in the type that it has. A layer that works in place, or hands its input on, has no output of
its own. What is computed between the layers (sums, concatenations, upsampling), casts and copies
are left out. So this is a floor for an engine that does not fuse layers; one that fuses them, or a
cache that holds some of it, can go below.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from guided_dip.engine import Engine
from guided_dip.fit import Fit
from guided_dip.speed.machine import Machine


@dataclass(frozen=True)
class Cost:
    """What one step costs.

    Attributes
    ----------
    operations
        Multiplications and additions of convolutions and matrix products.
    bytes
        Read or written, layer by layer.
    forwards
        Forward passes of the network.
    """

    operations: int
    bytes: int
    forwards: int

    def floor(self, machine: Machine, precision: str) -> float:
        """Return the time that arithmetic and bytes take at a machine's rates, in seconds.

        Parameters
        ----------
        machine
            Its rates.
        precision
            ``float32`` or ``bfloat16``.
        """
        return max(self.operations / machine.rate(precision), self.bytes / machine.bandwidth)


def count_step(fit: Fit) -> Cost:
    """Take one step of a fit, and count.

    Parameters
    ----------
    fit
        One that is not done; its first step is not counted, as optimisers have no memory before.
    """
    steps = iter(fit)
    next(steps)
    with watched(fit.network) as seen, FlopCounterMode(display=False) as counter:
        next(steps)
    weights = list(fit.network.parameters())
    remembered = [t for o in fit.optimizers for state in o.state.values() for t in state.values()]
    held = 2 * _size(weights) + _size(remembered)
    return Cost(counter.get_total_flops(), 2 * held + 2 * seen.bytes, seen.forwards)


@dataclass
class Seen:
    """Bytes of the layers' own outputs, and forward passes of the whole network."""

    bytes: int = 0
    forwards: int = 0


@contextmanager
def watched(network: nn.Module) -> Iterator[Seen]:
    """Count what the layers of a network put out.

    Parameters
    ----------
    network
        Any; its leaf modules are its layers.

    Yields
    ------
    Seen
        The counts so far.
    """
    seen = Seen()

    def note(_layer: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        outputs = output if isinstance(output, tuple) else (output,)
        given = {value.data_ptr() for value in _tensors(inputs)}
        seen.bytes += _size(value for value in _tensors(outputs) if value.data_ptr() not in given)

    def passed(*_: Any) -> None:
        seen.forwards += 1

    modules = network.layers if isinstance(network, Engine) else network.modules()
    leaves = [module for module in modules if not list(module.children())]
    hooks = [leaf.register_forward_hook(note) for leaf in leaves]
    hooks.append(network.register_forward_hook(passed))
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _tensors(values: Iterable[Any]) -> list[Tensor]:
    return [value for value in values if isinstance(value, Tensor)]


def _size(values: Iterable[Any]) -> int:
    """Return the bytes of the tensors among some values; single numbers do not count."""
    return sum(value.numel() * value.element_size() for value in _tensors(values) if value.dim())


def parameter_count(network: nn.Module) -> int:
    """Return how many weights a network has."""
    return sum(parameter.numel() for parameter in network.parameters())
