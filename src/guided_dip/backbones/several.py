"""Several networks of one kind as one: each image of a batch goes through a network of its own.

Small networks cost calls more than arithmetic, and calls are shared: convolutions of several
networks become one grouped convolution, their batch norms one over all their channels. Everything
else works on each image of a batch by itself anyway. The weights lie side by side in memory, and
each network's own are views of its part: what one changes, the other sees.

On maps of some four pixels a convolution is little more than a product of its weights with a few
columns; PyTorch's grouped kernels take several times as long for that as a product of matrices
does, as which it is computed here.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from guided_dip.backbones.segnet import ExactForward

__all__ = ["join"]

TINY = 4  # pixels of a map on which a convolution is computed as a product of matrices, on a CPU


def join(networks: Sequence[nn.Module]) -> nn.Module:
    """Return one network that takes each image of a batch through a network of its own.

    Parameters
    ----------
    networks
        Alike but for their weights, which become views of the joint network's. Their parameters and
        running statistics may only be those of convolutions and batch norms.

    Returns
    -------
    Module
        Maps (B, Cin, H, W) to (B, C, H, W), image k by network k.

    Raises
    ------
    TypeError
        If a layer has other parameters, or is a convolution of another kind.
    """
    joint = copy.deepcopy(networks[0])
    for name, layer in joint.named_modules():
        own = [network.get_submodule(name) for network in networks]
        tensors = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
        if type(layer) not in KINDS:
            if tensors:
                raise TypeError(f"several networks with a {type(layer).__name__} cannot be joined")
            if hasattr(layer, "inplace"):
                layer.inplace = False  # in place on a view, autograd copies more than that saves
            continue
        _check(layer)
        layer.__class__ = KINDS[type(layer)]
        layer.networks = len(networks)
        if isinstance(layer, nn.BatchNorm2d):
            layer.num_features *= len(networks)
        else:
            layer.groups = len(networks)
            layer.in_channels *= len(networks)
            layer.out_channels *= len(networks)
        for kind in ("_parameters", "_buffers"):
            for key, value in getattr(layer, kind).items():
                if value is not None and value.dim():
                    getattr(layer, kind)[key] = _joined([getattr(each, kind)[key] for each in own])
    return joint


def _check(layer: nn.Module) -> None:
    if isinstance(layer, nn.BatchNorm2d):
        usual = layer.momentum is not None
    else:
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d), "no other layer is joined"
        usual = (
            layer.groups == 1
            and set(layer.dilation) == {1}
            and layer.padding_mode == "zeros"
            and not isinstance(layer.padding, str)
            and not any(layer.output_padding)
        )
    if not usual:
        raise TypeError(f"several networks with {layer} cannot be joined")


def _joined(own: Sequence[Tensor]) -> Tensor:
    """Lay tensors side by side, of which they become views."""
    whole = torch.cat([each.detach() for each in own])
    if own[0].dim() == 4 and own[0].is_contiguous(memory_format=torch.channels_last):
        whole = whole.contiguous(memory_format=torch.channels_last)
    for each, part in zip(own, whole.chunk(len(own)), strict=True):
        each.data = part
    return nn.Parameter(whole) if isinstance(own[0], nn.Parameter) else whole


class Convolution(nn.Conv2d):
    """A convolution of each image with its own network's kernels: (B, I, H, W) to (B, O, h, w)."""

    networks: int

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        size = [
            (length + 2 * pad - kernel) // stride + 1
            for length, pad, kernel, stride in zip(
                x.shape[-2:], _numbers(self.padding), self.kernel_size, self.stride, strict=True
            )
        ]
        if size[0] * size[1] <= TINY and x.device.type == "cpu":
            return self._by_matrices(x, size)
        return _apart(super().forward(_side_by_side(x)), self.networks)

    def _by_matrices(self, x: Tensor, size: Sequence[int]) -> Tensor:
        x = _as_autocast(x)
        batch, entry = x.shape[:2]
        padding = _numbers(self.padding)
        columns = F.unfold(x, self.kernel_size, padding=padding, stride=self.stride)
        # Kernels lie in memory with their channels last.
        columns = columns.view(batch, entry, -1, columns.shape[-1]).transpose(1, 2).flatten(1, 2)
        matrices = self.weight.permute(0, 2, 3, 1).reshape(batch, -1, columns.shape[1])
        out: Tensor = _Product.apply(columns, matrices)  # type: ignore[no-untyped-call]
        return _with_bias(out.reshape(batch, -1, *size), self.bias)


class TransposedConvolution(nn.ConvTranspose2d):
    """A transposed convolution of each image with its own network's kernels."""

    networks: int

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve: (B, I, H, W) to (B, O, h, w)."""
        assert output_size is None, "the size follows from the input's"
        if x.shape[-2] * x.shape[-1] <= TINY and x.device.type == "cpu":
            return self._by_matrices(x)
        return _apart(super().forward(_side_by_side(x)), self.networks)

    def _by_matrices(self, x: Tensor) -> Tensor:
        x = _as_autocast(x)
        batch, entry = x.shape[:2]
        matrices = self.weight.permute(0, 2, 3, 1).reshape(batch, entry, -1)
        columns: Tensor = _Expansion.apply(x.flatten(2), matrices)  # type: ignore[no-untyped-call]
        area = self.kernel_size[0] * self.kernel_size[1]
        columns = columns.reshape(batch, area, -1, columns.shape[-1])
        columns = columns.transpose(1, 2).flatten(1, 2)
        padding = _numbers(self.padding)
        height, width = (
            (length - 1) * stride - 2 * pad + kernel
            for length, pad, kernel, stride in zip(
                x.shape[-2:], padding, self.kernel_size, self.stride, strict=True
            )
        )
        out = F.fold(
            columns, (height, width), self.kernel_size, padding=padding, stride=self.stride
        )
        return _with_bias(out, self.bias)


class Normalisation(nn.BatchNorm2d):
    """A batch norm of each image by itself, with its own network's scales."""

    networks: int

    def forward(self, x: Tensor) -> Tensor:
        """Normalise: (B, C, H, W) to the same."""
        return _apart(super().forward(_side_by_side(x)), self.networks)


KINDS: dict[type, Any] = {
    nn.Conv2d: Convolution,
    ExactForward: Convolution,
    nn.ConvTranspose2d: TransposedConvolution,
    nn.BatchNorm2d: Normalisation,
}


class _Product(torch.autograd.Function):
    """(B, K, L) columns and (B, O, K) matrices to (B, O, L), each product with its longest rows.

    PyTorch's own gradient of a product takes other layouts, in which it is up to ten times slower.
    It is computed in the columns' type, and handed on in the matrices'.
    """

    @staticmethod
    def forward(ctx: Any, columns: Tensor, matrices: Tensor) -> Tensor:
        ctx.kind, matrices = matrices.dtype, matrices.to(columns.dtype)
        ctx.save_for_backward(columns, matrices)
        return (columns.mT @ matrices.mT).mT

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        columns, matrices = ctx.saved_tensors
        (gradient,) = gradients
        return (gradient.mT @ matrices).mT, (gradient @ columns.mT).to(ctx.kind)


class _Expansion(torch.autograd.Function):
    """(B, I, L) pixels and (B, I, K) matrices to (B, K, L) columns, likewise."""

    @staticmethod
    def forward(ctx: Any, pixels: Tensor, matrices: Tensor) -> Tensor:
        ctx.kind, matrices = matrices.dtype, matrices.to(pixels.dtype)
        ctx.save_for_backward(pixels, matrices)
        return (pixels.mT @ matrices).mT

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        pixels, matrices = ctx.saved_tensors
        (gradient,) = gradients
        return (gradient.mT @ matrices.mT).mT, (pixels @ gradient.mT).to(ctx.kind)


def _numbers(padding: str | tuple[int, ...]) -> tuple[int, ...]:
    assert not isinstance(padding, str), "such convolutions are not joined"
    return padding


def _as_autocast(x: Tensor) -> Tensor:
    """Return a tensor in the type that autocast has products computed in."""
    kind = x.device.type
    return x.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else x


def _side_by_side(x: Tensor) -> Tensor:
    """Take (B, C, H, W) to (1, B C, H, W), channels last: without a copy if `_apart` made it."""
    # The new axis goes before the slowest one, so that its stride is the whole image's. That of a
    # channel is taken for channels last as well, and PyTorch 2.13's oneDNN kernels then give wrong
    # gradients of grouped 1x1 kernels on a CPU.
    image = x.flatten(0, 1).permute(1, 2, 0).contiguous()[None]
    return image.permute(0, 3, 1, 2)


def _apart(x: Tensor, networks: int) -> Tensor:
    """View (1, B C, H, W) as (B, C, H, W)."""
    parted: Tensor = x[0].unflatten(0, (networks, -1))  # type: ignore[no-untyped-call]
    return parted


def _with_bias(x: Tensor, bias: Tensor | None) -> Tensor:
    return x if bias is None else x + bias.to(x.dtype).view(len(x), -1, 1, 1)
