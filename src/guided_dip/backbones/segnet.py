"""SegNet (Badrinarayanan, Kendall & Cipolla, TPAMI 2017), as the report uses it.

The encoder is VGG-16's thirteen 3x3 convolutions in five groups, each convolution followed by
BatchNorm and ReLU and each group by 2x2 max pooling. The decoder mirrors it: it puts every pooled
value back where its maximum was found, zeros elsewhere, and convolves. The last convolution is
linear. Every convolution has a bias. That makes 29,444,739 parameters at 3 channels; the report's
code counts 29,444,745, with the six of a last BatchNorm that its forward pass never calls.

PyTorch's own un-pooling has no deterministic form, nor has the CUDA gradient of its max pooling.
Here a window of four pixels is described by one number, the place of its first maximum
(``0 1`` over ``2 3``), and pooling, un-pooling and their gradients only read or write the four
interleaved quarters of the picture: elementwise arithmetic, reproducible on every device.

In bfloat16 the forward pass of the encoder's deep groups stays with float32, as pooling there picks
among outputs which bfloat16 cannot tell apart: the gradients of the middle layers would be off by
up to their own norm, and the fit of the report's picture ends 0.3 dB lower.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from guided_dip.backbones.blocks import check_input, whole_number, whole_numbers

MOMENTUM = 0.5
EXACT = 2  # last groups of the encoder, whose forward pass is in float32


def quarters(x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """View the four pixels of all 2x2 windows, in reading order.

    Parameters
    ----------
    x
        (B, C, 2 H, 2 W).

    Returns
    -------
    tuple of Tensor
        Four views, (B, C, H, W) each.
    """
    return x[..., ::2, ::2], x[..., ::2, 1::2], x[..., 1::2, ::2], x[..., 1::2, 1::2]


def gather(x: Tensor, code: Tensor) -> Tensor:
    """Take from each window the pixel that `code` names.

    Parameters
    ----------
    x
        (B, C, 2 H, 2 W).
    code
        (B, C, H, W), uint8 in 0..3.

    Returns
    -------
    Tensor
        (B, C, H, W).
    """
    if x.is_cuda:
        return (_windows(x) * code).sum((3, 5))
    first, second, third, fourth = quarters(x)
    taken = torch.where(code == 1, second, first)
    taken = torch.where(code == 2, third, taken)
    return torch.where(code == 3, fourth, taken)


def scatter(v: Tensor, code: Tensor) -> Tensor:
    """Put each value into the pixel of its window that `code` names, zeros into the others.

    Parameters
    ----------
    v
        (B, C, H, W).
    code
        (B, C, H, W), uint8 in 0..3.

    Returns
    -------
    Tensor
        (B, C, 2 H, 2 W), in the memory layout of `v`.
    """
    batch, channels, height, width = v.shape
    # By the strides' order, which holds where `is_contiguous` cannot tell (one channel, one pixel).
    layout = torch.channels_last if v.stride(1) < v.stride(3) else torch.contiguous_format
    size = (batch, channels, 2 * height, 2 * width)
    x = torch.empty(size, dtype=v.dtype, device=v.device, memory_format=layout)
    if x.is_cuda:
        torch.mul(v[..., None, :, None], code, out=_windows(x))
        return x
    for place, quarter in enumerate(quarters(x)):
        quarter.copy_(v * (code == place))
    return x


def _windows(x: Tensor) -> Tensor:
    """View all 2x2 windows of an image: (B, C, 2 H, 2 W) as (B, C, H, 2, W, 2)."""
    batch, channels, height, width = x.shape
    return x.view(batch, channels, height // 2, 2, width // 2, 2)


def _pooled_on_gpu(x: Tensor) -> tuple[Tensor, Tensor]:
    """Pool by few calls, as those take longer on a GPU than what they do.

    The code tells there of each pixel whether it is the maximum: (B, C, H, 2, W, 2) bool.
    """
    pooled, places = F.max_pool2d(x, 2, return_indices=True)
    height, width = x.shape[2:]
    pixels = torch.arange(height * width, device=x.device).view(height // 2, 2, width // 2, 2)
    return pooled, places[..., None, :, None] == pixels


def _pooled(x: Tensor) -> tuple[Tensor, Tensor]:
    first, second, third, fourth = quarters(x)
    pooled = torch.maximum(torch.maximum(first, second), torch.maximum(third, fourth))
    # The number of places passed over before the first maximum.
    passed = first != pooled
    code = passed.to(torch.uint8)
    for quarter in (second, third):
        passed = passed & (quarter != pooled)
        code += passed
    return pooled, code


class _Pool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        pooled, code = _pooled_on_gpu(x) if x.is_cuda else _pooled(x)
        ctx.save_for_backward(code)
        ctx.mark_non_differentiable(code)
        return pooled, code

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (code,) = ctx.saved_tensors
        return unpool(grads[0], code)


class _Unpool(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, v: Tensor, code: Tensor) -> Tensor:
        ctx.save_for_backward(code)
        return scatter(v, code)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (code,) = ctx.saved_tensors
        return gather(grads[0], code), None


def pool(x: Tensor) -> tuple[Tensor, Tensor]:
    """Take the maximum of each 2x2 window; of equal ones, the first in reading order.

    Parameters
    ----------
    x
        (B, C, 2 H, 2 W).

    Returns
    -------
    pooled : Tensor
        (B, C, H, W).
    code : Tensor
        (B, C, H, W), uint8 in 0..3: where in its window each maximum stood.
    """
    pooled, code = _Pool.apply(x)  # type: ignore[no-untyped-call]
    return pooled, code


def unpool(v: Tensor, code: Tensor) -> Tensor:
    """Put each value back where its maximum stood; the inverse that `pool` allows.

    Parameters
    ----------
    v, code
        (B, C, H, W) each; `code` is the one `pool` returned.

    Returns
    -------
    Tensor
        (B, C, 2 H, 2 W).
    """
    x: Tensor = _Unpool.apply(v, code)  # type: ignore[no-untyped-call]
    return x


class SegNet(nn.Module):
    """VGG-16 and its mirror image, joined by the places of the maxima.

    Parameters
    ----------
    channels
        Channels of the output.
    in_channels
        Channels of the input; None for as many as the output has.
    widths
        Channels of each group of convolutions. The first two groups have two convolutions, the
        others three.

    Attributes
    ----------
    multiple : int
        H and W of the input must be multiples of this, ``2**len(widths)``.
    minimum : int
        And at least this; the same number, since the deepest convolution works on a 2x2 map.
    """

    def __init__(
        self,
        channels: int = 3,
        *,
        in_channels: int | None = None,
        widths: Sequence[int] = (64, 128, 256, 512, 512),
    ) -> None:
        super().__init__()
        whole_number("channels", channels)
        entry = channels if in_channels is None else whole_number("in_channels", in_channels)
        widths = whole_numbers("widths", widths)
        self.in_channels = entry
        self.multiple = self.minimum = 2 ** len(widths)

        encoder: list[nn.Module] = []
        decoder: list[nn.Module] = []
        for level, width in enumerate(widths):
            depth = 2 if level < 2 else 3
            exact = level >= len(widths) - EXACT
            encoder.append(_group([entry] + [width] * depth, exact=exact))
            leaving = [width] * depth + [entry]
            decoder.append(_group(leaving) if level else _last_group(leaving[:-1], channels))
            entry = width
        self.encoder = nn.ModuleList(encoder)
        self.decoder = nn.ModuleList(reversed(decoder))

    def forward(self, z: Tensor) -> Tensor:
        """Map an input to an image.

        Parameters
        ----------
        z
            (B, in_channels, H, W), H and W multiples of `multiple`.

        Returns
        -------
        Tensor
            (B, channels, H, W), without bounds.
        """
        check_input(z, self.in_channels, self.multiple, self.minimum)
        x, codes = z, []
        for group in self.encoder:
            x, code = pool(group(x))
            codes.append(code)
        for group in self.decoder:
            x = group(unpool(x, codes.pop()))
        return x


class ExactForward(nn.Conv2d):
    """A convolution of which autocast only computes the gradients in its narrow type."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve: (B, I, H, W) to (B, O, H, W)."""
        device = x.device.type
        if not torch.is_autocast_enabled(device):
            return super().forward(x)
        kind = torch.get_autocast_dtype(device)
        with torch.autocast(device, enabled=False):
            out: Tensor = _Convolve.apply(  # type: ignore[no-untyped-call]
                x.to(self.weight.dtype), self.weight, self.bias, kind, self.padding
            )
        return out


class _Convolve(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        kind: torch.dtype,
        padding: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(x.to(kind), weight.to(kind))
        ctx.padding = padding
        return F.conv2d(x, weight, bias, padding=padding)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        (grad,) = grads
        found = torch.ops.aten.convolution_backward(
            *(grad.to(x.dtype), x, weight, [len(weight)]),
            *([1, 1], ctx.padding, [1, 1], False, [0, 0], 1),
            [ctx.needs_input_grad[0], True, True],
        )
        return *(None if part is None else part.to(grad.dtype) for part in found), None, None


def _group(widths: Sequence[int], *, exact: bool = False) -> nn.Sequential:
    convolution = ExactForward if exact else nn.Conv2d
    layers: list[nn.Module] = []
    for entry, width in pairwise(widths):
        layers += [
            convolution(entry, width, 3, padding=1),
            nn.BatchNorm2d(width, momentum=MOMENTUM),
            nn.ReLU(inplace=True),
        ]
    return nn.Sequential(*layers)


def _last_group(widths: Sequence[int], channels: int) -> nn.Sequential:
    return nn.Sequential(*_group(widths), nn.Conv2d(widths[-1], channels, 3, padding=1))
