"""Optimisers of the fit: Adam, AdamW, and Muon for the convolutions of a network.

Muon (Jordan, Jin, Boza, You, Cecista, Newhouse and Bernstein, "Muon: an optimizer for hidden layers
in neural networks", 2024) takes momentum's update of a weight matrix, ``G = U S V^T``, and makes
all its singular values about 1, ``U V^T``, so that directions with small gradients are learned as
fast as those with large ones. ``U V^T`` comes from five Newton-Schulz steps
``X <- a X + b (X X^T) X + c (X X^T)^2 X``, which need matrix products only. A convolution's
(O, I, k, k) weights are the matrix (O, I k k); biases, norms and the layer that makes the image
stay with AdamW.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

OPTIMIZERS = ("adam", "adamw", "muon")
MOMENTUM = 0.95
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # a, b, c: the steepest rise from 0 that stays about 1
ITERATIONS = 5
TINY = 1e-7


def make_optimizers(
    network: nn.Module,
    name: str,
    *,
    learning_rate: float,
    weight_decay: float = 0.0,
    muon_learning_rate: float = 0.02,
    capturable: bool = False,
) -> list[torch.optim.Optimizer]:
    """Return the optimisers that together train every parameter of a network.

    Every parameter group has its peak learning rate as ``"peak"``.

    Parameters
    ----------
    network
        To be trained.
    name
        One of `OPTIMIZERS`.
    learning_rate
        Peak of Adam's or AdamW's.
    weight_decay
        Of AdamW and Muon, as a multiple of the learning rate.
    muon_learning_rate
        Peak of Muon's.
    capturable
        Keep the learning rates on the GPU, so that a graph may take the steps.
    """
    parameters = list(network.parameters())
    optimizers: list[torch.optim.Optimizer] = []
    if name == "adam":
        optimizers.append(FusedAdam(parameters, lr=learning_rate, capturable=capturable))
    else:
        networks = _networks(network)
        kernels = _kernels(network, networks) if name == "muon" else []
        taken = {id(kernel) for kernel in kernels}
        others = [parameter for parameter in parameters if id(parameter) not in taken]
        if kernels:
            optimizers.append(
                Muon(
                    kernels,
                    lr=muon_learning_rate,
                    weight_decay=weight_decay,
                    networks=networks,
                )
            )
        if others:
            optimizers.append(
                FusedAdam(
                    others, lr=learning_rate, weight_decay=weight_decay, capturable=capturable
                )
            )
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak"] = group["lr"]
            if capturable:
                group["lr"] = torch.tensor(group["lr"], device=parameters[0].device)
    return optimizers


def _kernels(network: nn.Module, networks: int) -> list[Tensor]:
    """Return the weights of the convolutions, but for the last one, which makes the image."""
    convolutions = [
        module
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.groups == networks
    ]
    return [module.weight for module in convolutions[:-1]]


def _networks(network: nn.Module) -> int:
    """Return how many networks are joined in one, side by side."""
    return max((getattr(module, "networks", 1) for module in network.modules()), default=1)


class FusedAdam(torch.optim.Adam):
    """Adam, or with a weight decay AdamW, in one kernel for all parameters.

    On small networks a plain loop over the parameters costs a fifth of the step. PyTorch's fused
    kernel copies every parameter that is not contiguous and its gradient, which for a large network
    in channels-last costs as much again as the update; so it is given them as flat vectors, in the
    order in which they lie in memory.

    Parameters
    ----------
    parameters
        To be trained.
    lr
        Learning rate.
    weight_decay
        Share of a weight that a step takes away, as a multiple of `lr`.
    capturable
        Whether a CUDA graph may take its steps.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        weight_decay: float = 0.0,
        capturable: bool = False,
    ) -> None:
        self._whole = list(parameters)
        self._flat = [_flattened(whole) for whole in self._whole]
        super().__init__(
            self._flat,
            lr=lr,
            weight_decay=weight_decay,
            decoupled_weight_decay=True,
            fused=True,
            capturable=capturable,
        )

    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take a step; there is no use for a closure."""
        assert closure is None, "the loss is computed before the step"
        for flat, whole in zip(self._flat, self._whole, strict=True):
            if flat is not whole:
                flat.grad = None if whole.grad is None else _laid_out_as(whole, whole.grad)
        super().step()


def _flattened(whole: Tensor) -> Tensor:
    """Return a parameter as a vector that shares its memory, or as it is where it has gaps."""
    if whole.is_contiguous() or (
        whole.dim() == 4 and whole.is_contiguous(memory_format=torch.channels_last)
    ):
        return nn.Parameter(_in_memory_order(whole.detach()))
    return whole


def _in_memory_order(tensor: Tensor) -> Tensor:
    """View a tensor that is contiguous, in either memory format, as a vector."""
    return (tensor if tensor.is_contiguous() else tensor.permute(0, 2, 3, 1)).view(-1)


def _laid_out_as(whole: Tensor, gradient: Tensor) -> Tensor:
    """Return a gradient as a vector in the memory order of its parameter."""
    usual = whole.is_contiguous()
    layout = torch.contiguous_format if usual else torch.channels_last
    return _in_memory_order(gradient.contiguous(memory_format=layout))


class Muon(torch.optim.Optimizer):
    """Muon for matrices and convolution kernels.

    Parameters
    ----------
    parameters
        Of two or more axes; the first is kept, the others are one.
    lr
        Learning rate: the root mean square of an update is about ``lr / sqrt(longer side)``, times
        ``sqrt(rows / columns)`` for tall matrices.
    momentum
        Decay of the gradients' running mean, with Nesterov's look ahead.
    weight_decay
        Share of a weight that a step takes away, as a multiple of `lr`.
    networks
        Number of equal parts along the first axis, each a matrix of its own.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        lr: float,
        momentum: float = MOMENTUM,
        weight_decay: float = 0.0,
        networks: int = 1,
    ) -> None:
        self._networks = networks
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        super().__init__(list(parameters), defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Take a step; there is no use for a closure."""
        assert closure is None, "the loss is computed before the step"
        for group in self.param_groups:
            moved = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not moved:
                continue
            ahead = self._momentum(moved, group["momentum"])
            shapes: dict[tuple[int, int], list[int]] = defaultdict(list)
            for k, parameter in enumerate(moved):
                rows = parameter.shape[0]
                shapes[rows // self._networks, parameter.numel() // rows].append(k)
            torch._foreach_mul_(moved, 1 - group["lr"] * group["weight_decay"])
            # Kernels of one shape are orthogonalised together: small products cost mostly calls.
            for (rows, columns), numbers in shapes.items():
                matrices = torch.stack([ahead[k] for k in numbers]).reshape(-1, rows, columns)
                each = torch.split(orthogonalized(matrices), self._networks)
                updates = [
                    part.reshape(moved[k].shape) for k, part in zip(numbers, each, strict=True)
                ]
                rate = group["lr"] * max(1.0, rows / columns) ** 0.5
                _subtract([moved[k] for k in numbers], updates, rate)

    def _momentum(self, parameters: list[Tensor], momentum: float) -> tuple[Tensor, ...]:
        """Move the running means of the gradients on, and return them one step ahead."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        for parameter, gradient in zip(parameters, gradients, strict=True):
            if "mean" not in self.state[parameter]:
                self.state[parameter]["mean"] = torch.zeros_like(gradient)
        means = [self.state[parameter]["mean"] for parameter in parameters]
        torch._foreach_lerp_(means, gradients, 1 - momentum)
        return torch._foreach_lerp(gradients, means, momentum)


def _subtract(parameters: list[Tensor], updates: list[Tensor], rate: float | Tensor) -> None:
    """Move parameters against their updates; by a rate that lies on the GPU, or not."""
    if isinstance(rate, Tensor):
        torch._foreach_mul_(updates, rate)
        torch._foreach_sub_(parameters, updates)
    else:
        torch._foreach_add_(parameters, updates, alpha=-rate)


def orthogonalized(matrices: Tensor) -> Tensor:
    """Return matrices with the same singular vectors, and singular values of about 1.

    Parameters
    ----------
    matrices : (N, R, C)
        Whose singular values may be anything.

    Returns
    -------
    (N, R, C)
        With those that are not tiny against the largest between 0.65 and 1.25.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp_min(TINY)
    a, b, c = NEWTON_SCHULZ
    for _ in range(ITERATIONS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    found: Tensor = x.mT if tall else x
    return found
