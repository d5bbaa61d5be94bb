"""A backbone as a diagram, drawn from the instantiated module.

The network is run once and every leaf layer noted with what went in and what came out. A layer
whose input is no other layer's output sits behind something without parameters: a smaller input
means that it was pooled, a larger one that it was un-pooled or enlarged, more channels that
outputs nobody had used so far were joined to it. So the diagram follows the code, whatever the
code becomes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from torch import Tensor, nn

from guided_dip import backbones
from guided_dip.plots.charts import FAINT

SHOWN_SIZE = 128  # pixels
TIMES = "\N{MULTIPLICATION SIGN}"
_COLOURS = {
    "convolution": "#4f86b5",
    "stride-2 convolution": "#1f4e79",
    "transposed convolution": "#c8553d",
    "skip convolution": "#8a9a5b",
}
_POOL, _UNPOOL = "#3f7d58", "#e0a030"


@dataclass
class Block:
    """A convolution and the layers without spatial extent that follow it.

    Attributes
    ----------
    kind
        Which convolution.
    kernel, stride
        Of the convolution.
    channels
        Of the output, with what was joined.
    size
        Height of the output.
    after
        Names of the layers that follow.
    resampled
        ``pool`` or ``unpool`` before it, without parameters; else empty.
    joined
        Blocks whose output is joined to this one's.
    side
        Whether it leads aside, to be joined further on.
    """

    kind: str
    kernel: int
    stride: int
    channels: int
    size: int
    after: list[str] = field(default_factory=list)
    resampled: str = ""
    joined: list[Block] = field(default_factory=list)
    side: bool = False

    @property
    def label(self) -> str:
        """Its layers in words."""
        stride = f" /{self.stride}" if self.stride > 1 else ""
        own = f"{self.kernel}{TIMES}{self.kernel}{stride}"
        return "\n".join([own, *self.after])


def walk(network: nn.Module, channels: int, size: int = SHOWN_SIZE) -> list[Block]:
    """Run a network once and return its blocks in the order in which they ran.

    Parameters
    ----------
    network
        Takes (1, channels, size, size).
    channels, size
        Of its input.
    """
    walker = _Walker()
    leaves = [module for module in network.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(walker.note) for leaf in leaves]
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, channels, size, size))
    finally:
        for hook in hooks:
            hook.remove()
    return walker.blocks


class _Walker:
    """Puts leaf layers together to blocks as they run."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._made: dict[int, Block] = {}  # by the identity of an output
        self._kept: list[Tensor] = []  # outputs, so that no identity is used twice
        self._last: Block | None = None

    def note(self, layer: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        """Take in a layer that has just run."""
        entry: Tensor = inputs[0]
        source = self._made.get(id(entry))
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            block = self._begin(layer, entry, output, source)
        else:
            found = source or self._last
            if found is None:  # before the first convolution
                return
            block = found
            if source is None:
                self._join(block, entry)
            block.after.append(_short(layer))
            block.channels = output.shape[1]
        self._made[id(output)] = block
        self._kept.append(output)

    def _begin(self, layer: Any, entry: Tensor, output: Tensor, source: Block | None) -> Block:
        kind = "convolution"
        if isinstance(layer, nn.ConvTranspose2d):
            kind = "transposed convolution"
        elif layer.stride[0] > 1:
            kind = "stride-2 convolution"
        block = Block(kind, layer.kernel_size[0], layer.stride[0], output.shape[1], output.shape[2])
        if source is not None and source is not self._last and self._last is not None:
            self._last.side, self._last.kind = True, "skip convolution"
        if source is None and self._last is not None:
            if entry.shape[2] < self._last.size:
                block.resampled = "pool"
            elif entry.shape[2] > self._last.size:
                block.resampled = "unpool"
            self._join(block, entry)
        self.blocks.append(block)
        self._last = block
        return block

    def _join(self, block: Block, entry: Tensor) -> None:
        """Find the branch whose channels make up for those that the main path does not have."""
        waiting = [b for b in self.blocks if b.side and not self._is_joined(b)]
        fitting = [b for b in waiting if b.size == entry.shape[2]]
        main = self._last.channels if self._last is not None else 0
        if fitting and entry.shape[1] == main + fitting[-1].channels:
            block.joined.append(fitting[-1])

    def _is_joined(self, side: Block) -> bool:
        return any(side in block.joined for block in self.blocks)


def _short(layer: nn.Module) -> str:
    name = type(layer).__name__
    return {"BatchNorm2d": "BN", "LeakyReLU": "LReLU", "Sigmoid": "sigmoid"}.get(name, name)


def backbone_figure(
    name: str, *, channels: int = 3, options: dict[str, Any] | None = None
) -> Figure:
    """Draw a backbone at 128 x 128 pixels.

    Parameters
    ----------
    name
        Of the backbone.
    channels
        Of the image.
    options
        Of its constructor.
    """
    network = backbones.build(name, channels, options=options)
    entry = backbones.find(name).z_channels or channels
    blocks = walk(network, entry)
    parameters = sum(p.numel() for p in network.parameters())
    figure = Figure(figsize=(11, 4.3), layout="constrained")
    axes = figure.add_subplot()
    inside = type(network.network).__name__
    title = f"{inside}: {parameters:,} parameters, {SHOWN_SIZE}{TIMES}{SHOWN_SIZE} pixels"
    axes.set_title(title, loc="left", fontsize=10, weight="bold")
    _draw(axes, blocks, entry)
    return figure


def _draw(axes: Axes, blocks: list[Block], entry: int) -> None:
    main = [block for block in blocks if not block.side]
    top = math.log2(SHOWN_SIZE)
    places: dict[int, float] = {}
    x = 1.0
    _box(axes, 0, SHOWN_SIZE, 0.3, FAINT)
    _name(axes, 0, SHOWN_SIZE, str(entry), "z")
    for block in main:
        if block.resampled:
            colour = _POOL if block.resampled == "pool" else _UNPOOL
            _box(axes, x - 0.28, block.size, 0.16, colour)
            x += 0.25
        width = 0.22 + 0.05 * math.log2(block.channels)
        _box(axes, x, block.size, width, _COLOURS[block.kind])
        _name(axes, x, block.size, str(block.channels), block.label)
        places[id(block)] = x
        x += 1.0
    for block in main:
        for side in block.joined:
            before = next(b for b in reversed(blocks[: blocks.index(side)]) if not b.side)
            _arc(axes, places[id(before)], places[id(block)], side)
    _sizes(axes, main, places)
    _legend(axes, blocks)
    axes.set_xlim(-0.8, x - 0.2)
    axes.set_ylim(-top / 2 - 2.2, top / 2 + 2.0)
    axes.set_axis_off()


def _half(size: int) -> float:
    return (math.log2(size) + 0.6) / 2


def _box(axes: Axes, x: float, size: int, width: float, colour: str) -> None:
    half = _half(size)
    axes.add_patch(
        Rectangle((x - width / 2, -half), width, 2 * half, facecolor=colour, edgecolor="white")
    )


def _name(axes: Axes, x: float, size: int, over: str, under: str) -> None:
    half = _half(size)
    axes.text(x, half + 0.08, over, ha="center", va="bottom", fontsize=7)
    axes.text(x, -half - 0.12, under, ha="center", va="top", fontsize=5.6, linespacing=1.1)


def _arc(axes: Axes, start: float, end: float, side: Block) -> None:
    """Draw a branch from the block it leaves to the block it joins."""
    foot, colour = _half(side.size) + 0.45, _COLOURS["skip convolution"]
    rise = 0.25 + 0.16 * (end - start)
    along = np.linspace(0, 1, 50)
    x, y = start + along * (end - start), foot + 4 * rise * along * (1 - along)
    axes.plot(x, y, color=colour, linewidth=1.2)
    arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.2}
    axes.annotate("", (end, foot), (x[-3], y[-3]), arrowprops=arrow)
    text = f"{side.kernel}{TIMES}{side.kernel}, {side.channels}"
    middle = (start + end) / 2
    axes.text(middle, foot + rise + 0.06, text, ha="center", va="bottom", fontsize=6.5)


def _sizes(axes: Axes, main: list[Block], places: dict[int, float]) -> None:
    """Write the side in pixels under each run of blocks of one size."""
    bottom = -_half(SHOWN_SIZE) - 1.35
    first = 0
    for number in range(1, len(main) + 1):
        if number == len(main) or main[number].size != main[first].size:
            left, right = places[id(main[first])] - 0.4, places[id(main[number - 1])] + 0.4
            axes.plot([left, right], [bottom, bottom], color=FAINT, linewidth=1.5)
            text = f"{main[first].size}²"
            axes.text((left + right) / 2, bottom - 0.1, text, ha="center", va="top", fontsize=7.5)
            first = number


def _legend(axes: Axes, blocks: list[Block]) -> None:
    kinds = [kind for kind in _COLOURS if any(block.kind == kind for block in blocks)]
    handles = [Patch(color=_COLOURS[kind], label=kind) for kind in kinds]
    for what, colour, label in (
        ("pool", _POOL, f"max pooling 2{TIMES}2, places kept"),
        ("unpool", _UNPOOL, "un-pooling to those places"),
    ):
        if any(block.resampled == what for block in blocks):
            handles.append(Patch(color=colour, label=label))
    axes.legend(handles=handles, loc="upper center", ncols=5, fontsize=7.5, frameon=False)
