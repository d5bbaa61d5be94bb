"""The networks: a table of names, and how to build one of them or a user's own.

A backbone maps an input ``z`` (B, Cz, H, W) to an image (B, C, H, W). What a name stands for, and
which ``z`` it is fed with when the network input is noise, is a row of `BACKBONES`:

================  =============================  ===============================================
name              network                        z
================  =============================  ===============================================
``normfree``      a U-Net without norm layers    N(0, 1), as many channels as the image
``unet``          the report's UNet              N(0, 1), as many channels as the image
``segnet``        the report's SegNet            N(0, 1), as many channels as the image
``skip``          the DIP paper's denoising net  U(0, 0.1), 32 channels; N(0, 1/30**2) each step
``deep-decoder``  the Deep Decoder               U(0, 0.1), 128 channels
================  =============================  ===============================================

``module:callable`` names a network of the user's own.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from guided_dip.backbones.blocks import PadAndCrop, whole_number
from guided_dip.backbones.deepdecoder import CHANNELS, DeepDecoder
from guided_dip.backbones.normfree import NormFree
from guided_dip.backbones.segnet import SegNet
from guided_dip.backbones.skip import Skip
from guided_dip.backbones.unet import UNet
from guided_dip.errors import InputError, choices

__all__ = [
    "BACKBONES",
    "Backbone",
    "DeepDecoder",
    "NormFree",
    "PadAndCrop",
    "SegNet",
    "Skip",
    "UNet",
    "build",
    "find",
    "network_input",
    "reset_batchnorm",
]


@dataclass(frozen=True)
class Backbone:
    """A row of the table.

    Parameters
    ----------
    constructor
        Called as ``constructor(channels, in_channels=..., **options)``.
    z_channels
        Channels of the noise input; None for as many as the image has.
    z_kind
        ``"normal"`` for N(0, 1), ``"uniform"`` for U(0, 1).
    z_scale
        What the draw is multiplied by.
    jitter
        Standard deviation of the normal noise added to ``z`` afresh at each step.
    sees_input
        Whether the output follows the input pixel by pixel, as recorrupted guides need.
    """

    constructor: Callable[..., nn.Module]
    z_channels: int | None = None
    z_kind: Literal["normal", "uniform"] = "normal"
    z_scale: float = 1.0
    jitter: float = 0.0
    sees_input: bool = True


BACKBONES: dict[str, Backbone] = {
    "normfree": Backbone(NormFree),
    "unet": Backbone(UNet),
    "segnet": Backbone(SegNet),
    "skip": Backbone(Skip, z_channels=32, z_kind="uniform", z_scale=0.1, jitter=1 / 30),
    "deep-decoder": Backbone(
        DeepDecoder, z_channels=CHANNELS, z_kind="uniform", z_scale=0.1, sees_input=False
    ),
}


def find(name: str) -> Backbone:
    """Look up a backbone by name.

    Parameters
    ----------
    name
        A key of `BACKBONES`, or ``module:callable``; the latter gets the report's kind of input.

    Returns
    -------
    Backbone
        Its row.

    Raises
    ------
    InputError
        If there is no such name, or the module cannot be imported or has no such callable.
    """
    if name in BACKBONES:
        return BACKBONES[name]
    if ":" not in name:
        hint = choices(name, BACKBONES)
        raise InputError(f"unknown backbone {name!r}: {hint}, or module:callable for your own")
    return Backbone(_imported(name))


def build(
    name: str,
    channels: int,
    *,
    in_channels: int | None = None,
    options: Mapping[str, object] | None = None,
) -> PadAndCrop:
    """Build a network with fresh weights, drawn from PyTorch's global generator.

    Parameters
    ----------
    name
        A key of `BACKBONES`, or ``module:callable`` for a network of your own: called as
        ``callable(channels, in_channels=..., **options)``, without ``in_channels`` if it takes
        none, it returns a `torch.nn.Module`. The module's attributes `multiple` and `minimum`, if
        it has them, say which heights and widths it can take.
    channels
        Channels of the image.
    in_channels
        Channels of the input; None for what the table says.
    options
        Further keywords of the constructor, such as ``{"widths": [8, 16]}``.

    Returns
    -------
    PadAndCrop
        The network, wrapped to take any size: (B, in_channels, H, W) to (B, channels, H, W).

    Raises
    ------
    InputError
        If the name, an option or what the user's callable returns is not usable.

    Examples
    --------
    >>> network = build("unet", 3)
    >>> sum(weights.numel() for weights in network.parameters())
    1786545
    >>> tuple(network(torch.zeros(1, 3, 50, 70)).shape)  # padded to what it takes, and cropped
    (1, 3, 50, 70)
    """
    backbone = find(name)
    whole_number("channels", channels)
    if in_channels is None:
        in_channels = backbone.z_channels or channels
    try:
        keywords = _keywords(backbone.constructor, channels, in_channels, options or {})
        network = backbone.constructor(channels, **keywords)
        if not isinstance(network, nn.Module):
            raise InputError(f"must give a torch.nn.Module, not a {type(network).__name__}")
        return PadAndCrop(network, channels, name=name)
    except InputError as error:
        raise InputError(f"backbone {name!r}: {error}") from error
    except Exception as error:
        raise InputError(f"backbone {name!r} cannot be built: {_first_line(error)}") from error


def network_input(
    backbone: Backbone, channels: int, size: tuple[int, int], generator: torch.Generator
) -> Tensor:
    """Draw the noise that is a network's input, on the CPU so that devices agree.

    Parameters
    ----------
    backbone
        Whose kind of input to draw.
    channels
        Channels of the image.
    size
        Height and width of the image.
    generator
        A CPU generator.

    Returns
    -------
    Tensor
        ``z``: (1, Cz, H, W), float32.
    """
    shape = (1, backbone.z_channels or channels, *size)
    draw = torch.randn if backbone.z_kind == "normal" else torch.rand
    return draw(shape, generator=generator, dtype=torch.float32) * backbone.z_scale


def reset_batchnorm(module: nn.Module) -> None:
    """Forget the running mean and variance of every BatchNorm layer; weights stay.

    Parameters
    ----------
    module
        The network, changed in place.
    """
    for layer in module.modules():
        if isinstance(layer, _BatchNorm):
            layer.reset_running_stats()


def _imported(name: str) -> Callable[..., nn.Module]:
    where, _, what = name.partition(":")
    try:
        module = importlib.import_module(where)
    except Exception as error:
        raise InputError(
            f"cannot import {where!r} for backbone {name!r}: {_first_line(error)}; "
            "is its folder on PYTHONPATH?"
        ) from error
    found: Callable[..., nn.Module] | None = getattr(module, what, None)
    if callable(found):
        return found
    own = [
        key
        for key, value in vars(module).items()
        if callable(value)
        and not key.startswith("_")
        and getattr(value, "__module__", None) == module.__name__
    ]
    problem = "is not callable" if hasattr(module, what) else "does not exist"
    hint = choices(what, own) if own else f"{where!r} defines no function or class"
    raise InputError(f"{what!r} of backbone {name!r} {problem}: {hint}")


def _keywords(
    constructor: Callable[..., nn.Module],
    channels: int,
    in_channels: int,
    options: Mapping[str, object],
) -> dict[str, object]:
    """Join `in_channels` and the options, after checking that the constructor takes them."""
    parameters = list(inspect.signature(constructor).parameters.values())[1:]
    takes_any = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    by_name = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    names = {p.name for p in parameters if p.kind in by_name}
    own = sorted(names - {"in_channels"})
    for option in options:
        if option == "in_channels" or not (option in own or takes_any):
            hint = choices(option, own) if own else "it has none"
            raise InputError(f"no option {option!r}: {hint}")
    if "in_channels" in names or takes_any:
        return {"in_channels": in_channels, **options}
    if in_channels != channels:
        raise InputError(
            f"its input has as many channels as the image ({channels}), not {in_channels}; "
            "give it a parameter in_channels"
        )
    return dict(options)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
