"""A network's way from inputs to outputs: turned, or only looked at, its statistics unmoved."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from guided_dip.training.turns import joined, turned, unturned


def through(network: nn.Module, inputs: Sequence[Tensor], turns: Sequence[int]) -> Tensor:
    """Run a network: on one input, or on as many as there are networks in it.

    Parameters
    ----------
    network
        The network.
    inputs : (1, Cin, H, W) each
        What goes in.
    turns
        How each is turned meanwhile.

    Returns
    -------
    (B, C, H, W)
    """
    return unturned(network(joined(turned(inputs, turns))), turns)


@torch.no_grad()
def looked_at(
    network: nn.Module, inputs: Sequence[Tensor], turns: Sequence[int], *, eval_mode: bool
) -> Tensor:
    """Run a network without training it, in the mode in which it is measured, as `through` does.

    Parameters
    ----------
    network, inputs, turns
        As for `through`.
    eval_mode
        In eval mode; else in training mode, with its running statistics left as they are.

    Returns
    -------
    Tensor
        (B, C, H, W), without gradients.
    """
    network.train(not eval_mode)
    with batchnorm_untouched(network):
        return through(network, inputs, turns)


@contextmanager
def batchnorm_untouched(network: nn.Module) -> Iterator[None]:
    """Run a network in training mode without moving its running statistics.

    Parameters
    ----------
    network
        The network.
    """
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
