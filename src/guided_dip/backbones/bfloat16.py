"""A network whose convolutions compute in bfloat16, with few calls: for NVIDIA GPUs.

Autocast casts each weight and each gradient by a call of its own. Here all weights are cast at
once, and all gradients, with the same results. While the gradient of a layer's input is handed on
to the layer before, those of its weights are computed on a stream beside: on small pictures neither
fills a GPU.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

KINDS = (nn.Conv2d, nn.ConvTranspose2d)
SMALL = 2**17  # pixels; a larger picture fills a GPU, and what the gradients need takes memory


class InBfloat16:
    """A network, its convolutions computed in bfloat16, but for those of kinds of their own.

    Parameters
    ----------
    network
        One of this project's, on its device; its weights stay where and what they are.

    Attributes
    ----------
    layers
        The network as it runs.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network, self.layers = network, copy.deepcopy(network)
        self._aside = Aside(next(network.parameters()).device)
        self._weights: list[Tensor] = []
        self._places: list[tuple[dict[str, Any], str]] = []
        for name, layer in network.named_modules():
            mine = self.layers.get_submodule(name)
            if type(layer) in KINDS:
                self._take(layer, mine)
            elif [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]:
                parent, _, leaf = name.rpartition(".")
                setattr(self.layers.get_submodule(parent), leaf, layer)

    def __deepcopy__(self, memo: dict[int, Any]) -> None:
        """Copy as nothing: a copy of the network makes its own when it needs one."""

    def _take(self, layer: nn.Module, mine: nn.Module) -> None:
        """Have a convolution's weights given at each run."""
        for key in ("weight", "bias"):
            weight = getattr(layer, key)
            if weight is not None:
                del mine._parameters[key]
                self._weights.append(weight)
                self._places.append((mine.__dict__, key))
        mine.__dict__["aside"] = self._aside
        mine.__class__ = Convolution if isinstance(layer, nn.Conv2d) else TransposedConvolution

    def __call__(self, x: Tensor) -> Tensor:
        """Run the network."""
        if self.layers.training != self._network.training:
            self.layers.train(self._network.training)
        self._aside.begin(x.shape[-2] * x.shape[-1] <= SMALL)
        cast = _Cast.apply(self._aside, *self._weights)  # type: ignore[no-untyped-call]
        for (place, key), weight in zip(self._places, cast, strict=True):
            place[key] = weight
        output: Tensor = self.layers(x)
        return output


class Aside:
    """A stream beside the one that work is on, and what the work there still reads.

    Parameters
    ----------
    device
        A CUDA device; on another one everything is done in turn.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        self.begin(False)

    def begin(self, use: bool) -> None:
        """Begin a run, whose weights' gradients are to be computed beside, or not."""
        self._used, self._read = use, list[Tensor]()

    def gradients(self, *arguments: Any) -> Sequence[Tensor]:
        """Compute the gradients of a convolution's weights, to be used after `join`.

        Parameters
        ----------
        arguments
            Of PyTorch's ``convolution_backward``, but for the last: the gradient of the output and
            the input, neither of which may be freed before; the weight; the bias's size or None.
        """
        gradient, given, _, channels, *_ = arguments
        mask = [False, True, channels is not None]
        if self._stream is None or not self._used:
            return _backward(*arguments, mask)[1:]
        self._read += [gradient, given]
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            return _backward(*arguments, mask)[1:]

    def join(self) -> None:
        """Have what is asked for from now on wait for the gradients."""
        if self._stream is not None and self._used:
            torch.cuda.current_stream(self._device).wait_stream(self._stream)
            self._read.clear()


class _Cast(torch.autograd.Function):
    """Weights to bfloat16, and their gradients to float32."""

    @staticmethod
    def forward(ctx: Any, aside: Aside, *weights: Tensor) -> tuple[Tensor, ...]:
        ctx.aside = aside
        return _cast(weights, torch.bfloat16)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        ctx.aside.join()
        return None, *_cast(gradients, torch.float32)


def _cast(tensors: Sequence[Tensor], kind: torch.dtype) -> tuple[Tensor, ...]:
    cast = tuple(torch.empty_like(tensor, dtype=kind) for tensor in tensors)
    torch._foreach_copy_(cast, tuple(tensors))
    return cast


class _Convolve(torch.autograd.Function):
    """A convolution, the gradient of whose weights is computed aside."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, layer: Any) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.layer, ctx.biased = layer, bias is not None
        convolved: Tensor = torch.ops.aten.convolution(x, weight, bias, *_geometry(layer))
        return convolved

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        (gradient,) = gradients
        channels = [gradient.shape[1]] if ctx.biased else None
        arguments = (gradient, x, weight, channels, *_geometry(ctx.layer))
        of_weights = ctx.layer.aside.gradients(*arguments)
        given = _backward(*arguments, [True, False, False])[0] if ctx.needs_input_grad[0] else None
        return given, *of_weights, None


def _geometry(layer: nn.modules.conv._ConvNd) -> tuple[Any, ...]:
    """Return stride, padding, dilation, whether it is transposed, output padding and groups."""
    assert layer.padding_mode == "zeros", "no network of this project pads otherwise here"
    return (
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.transposed,
        layer.output_padding,
        layer.groups,
    )


def _backward(*arguments: Any) -> tuple[Tensor, Tensor, Tensor]:
    found: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(*arguments)
    return found


class Convolution(nn.Conv2d):
    """A convolution in bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        """Convolve: (B, I, H, W) to (B, O, h, w)."""
        return _convolved(self, x)


class TransposedConvolution(nn.ConvTranspose2d):
    """A transposed convolution in bfloat16."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve: (B, I, H, W) to (B, O, h, w)."""
        assert output_size is None, "the size follows from the input's"
        return _convolved(self, x)


def _convolved(layer: nn.modules.conv._ConvNd, x: Tensor) -> Tensor:
    out: Tensor = _Convolve.apply(x.to(torch.bfloat16), layer.weight, layer.bias, layer)  # type: ignore[no-untyped-call]
    return out
