"""Diagrams of the method, drawn from a config and a plan: the two algorithms, and the flow."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

from guided_dip.config import Config
from guided_dip.experiments.rows import BACKBONE_NAMES
from guided_dip.guidance import DEFAULT_SCALE, Plan

INK, EDGE, PAPER = "#1d2730", "#8d99a5", "#f4f6f8"
TUNABLE, TUNABLE_EDGE, ADDED = "#ffe9a8", "#c99a1e", "#a03a25"

_SIGMA = "\N{GREEK SMALL LETTER SIGMA}"
_SIGNAL = {
    "offset": "√ᾱ_t·x_0 + ½√(1-ᾱ_t)·(ε + 1)",
    "centred": "√ᾱ_t·x_0 + ½√(1-ᾱ_t)·ε + ½(1-√ᾱ_t)",
    "unbiased": "x_0 + ½√((1-ᾱ_t)/ᾱ_t)·ε",
}


@dataclass(frozen=True)
class Example:
    """A config, with the plan it makes."""

    config: Config
    plan: Plan

    @property
    def backbone(self) -> str:
        """Name of the network."""
        return BACKBONE_NAMES.get(self.config.backbone, self.config.backbone)

    @property
    def scale(self) -> float:
        """The iteration generator's c."""
        given = self.config.scale
        return DEFAULT_SCALE[self.config.schedule] if given is None else given


def algorithms(dip: Example, guided: Example) -> Figure:
    """Draw DIP and Guided-DIP side by side as pseudo-code; what Guided-DIP adds stands out.

    Parameters
    ----------
    dip, guided
        Where the values come from.
    """
    columns = (("DIP", _dip(dip)), ("Guided-DIP", _guided(guided)))
    longest = max(len(lines) for _, lines in columns)
    figure = Figure(figsize=(11, 0.6 + 0.235 * longest))
    for number, (name, lines) in enumerate(columns):
        axes = figure.add_axes((0.01 + 0.44 * number, 0.02, (0.43, 0.54)[number], 0.96))
        axes.set_axis_off()
        axes.set_xlim(0, 1)
        axes.set_ylim(longest + 1.6, 0)
        axes.add_patch(_rounded((0.005, 0.1), 0.985, longest + 1.4, PAPER, EDGE, 0.02))
        axes.text(0.03, 1.0, name, fontsize=11, weight="bold", va="center", color=INK)
        for row, (text, added) in enumerate(lines, start=2):
            colour = ADDED if added else INK
            axes.text(
                0.03, row, text, fontsize=8, family="monospace", va="center", color=colour,
                parse_math=False,
            )  # fmt: skip
    return figure


Line = tuple[str, bool]  # text, and whether DIP has no such line


def _dip(example: Example) -> list[Line]:
    c = example.config
    lines = [
        f"f_θ ← {example.backbone} with random weights",
        "z ← N(0, I), drawn once",
        _dip_target(example),
        f"repeat {example.plan.steps} times:",
        f"    θ ← {_optimizer(c)}(θ, ∇_θ mse(f_θ(z), {_target(c)}))",
        "return f_θ(z)",
    ]
    return [(line, False) for line in lines]


def _dip_target(example: Example) -> str:
    if example.config.supervision == "observation":
        return "y ← the noisy observation"
    return f"x_t ← one draw of the image at t = {example.plan.stages[0].t}"


def _target(c: Config) -> str:
    return "y" if c.supervision == "observation" else "x_t"


def _guided(example: Example) -> list[Line]:
    c, plan = example.config, example.plan
    recorrupted = c.supervision == "recorrupted-guides"
    times = ", ".join(str(stage.t) for stage in plan)
    shares = ", ".join(str(stage.steps) for stage in plan)
    lines: list[Line] = [(f"f_θ ← {example.backbone} with random weights", False)]
    if not recorrupted and not c.redraw_z:
        lines.append(("z ← N(0, I), drawn once", False))
    lines.append((f"t_1 … t_{len(plan)} ← {_time_generator(c)}", True))
    lines += [(f"    {part}", True) for part in textwrap.wrap(times, 62)]
    lines.append(
        (f"n_i ← {plan.steps} · exp(-{example.scale:g} β_t) / Σ, rounded down; rest to the last",
         True)
    )  # fmt: skip
    lines += [(f"    {part}", True) for part in textwrap.wrap(shares, 62)]
    lines.append((f"for i = 1 … {len(plan)}:", True))
    if c.redraw_z and not recorrupted:
        lines.append(("    z ← N(0, I), drawn anew", True))
    if c.rebuild_optimizer:
        lines.append((f"    {c.optimizer.capitalize()} starts anew", True))
    lines += _guide(c)
    lines.append(("return mean of f_θ(y + a·η)" if recorrupted else "return f_θ(z)", False))
    return lines


def _time_generator(c: Config) -> str:
    if c.supervision == "recorrupted-guides":
        return f"{c.count} strengths from a = {c.a_start:g} down to {c.a_end:g}, at t ="
    return f"{c.count} timesteps from {c.start} down to {c.end}"


def _guide(c: Config) -> list[Line]:
    update = f"        θ ← {_optimizer(c)}(θ, ∇_θ mse("
    if c.supervision == "recorrupted-guides":
        return [
            ("    repeat n_i times:", False),
            (f"        η ← N(0, {_SIGMA}²), drawn anew", True),
            (f"{update}f_θ(y + a·η), y - η/a))", True),
        ]
    if c.supervision == "observation-guides":
        drawn = f"    x_t ← y + √({_SIGMA}_t² - {_SIGMA}²)·ξ,  ξ ← N(0, I); {c.noise_convention}"
    else:
        drawn = f"    x_t ← {_SIGNAL[c.noise_convention]},  ε ← N(0, I)"
    return [
        (drawn, True),
        ("    repeat n_i times:", False),
        (f"{update}f_θ(z), x_t))", False),
    ]


def _optimizer(c: Config) -> str:
    names = {"adam": "Adam", "adamw": "AdamW", "muon": "Muon"}
    return f"{names[c.optimizer]}[{_peak_rate(c):g}]"


def _peak_rate(c: Config) -> float | None:
    return c.muon_learning_rate if c.optimizer == "muon" else c.learning_rate


@dataclass(frozen=True)
class _Box:
    x: float
    y: float
    title: str
    chips: tuple[str, ...] = ()
    width: float = 2.3

    @property
    def height(self) -> float:
        return 0.62 + 0.36 * len(self.chips)


def flow(guided: Example, *, picture: str) -> Figure:
    """Draw the whole flow of Guided-DIP, its tunable parameters highlighted.

    Parameters
    ----------
    guided
        Where the values come from.
    picture
        What goes in: how the page calls it.
    """
    boxes = _boxes(guided, picture)
    figure = Figure(figsize=(11, 4.9))
    axes = figure.add_axes((0.005, 0.01, 0.99, 0.98))
    axes.set_axis_off()
    axes.set_xlim(0, 14.2)
    axes.set_ylim(0, 6.3)
    for one, other, label in _ARROWS:
        _connect(axes, boxes[one], boxes[other], label)
    _send_weights(axes, boxes["fit"], boxes["network"])
    for box in boxes.values():
        _draw(axes, box)
    axes.add_patch(_rounded((0.2, 0.12), 0.42, 0.26, TUNABLE, TUNABLE_EDGE, 0.04))
    axes.text(0.75, 0.25, "tunable parameter", fontsize=8, va="center", color=INK)
    return figure


def _boxes(guided: Example, picture: str) -> dict[str, _Box]:
    c, plan = guided.config, guided.plan
    recorrupted = c.supervision == "recorrupted-guides"
    span = (f"a_start = {c.a_start:g}", f"a_end = {c.a_end:g}") if recorrupted else (
        f"start = {c.start}", f"end = {c.end}"
    )  # fmt: skip
    convention = () if recorrupted else (f"noise_convention = {c.noise_convention}",)
    guide = (f"supervision = {c.supervision}", *convention)
    source = "y + a η, drawn each step" if recorrupted else "z ~ N(0, I)"
    drawn = (
        (f"seed = {c.seed}",) if recorrupted else (f"redraw_z = {c.redraw_z}", f"seed = {c.seed}")
    )
    fit = (f"optimizer = {c.optimizer}", f"learning_rate = {_peak_rate(c):g}",
           f"rebuild_optimizer = {c.rebuild_optimizer}")  # fmt: skip
    schedule = (f"schedule = {c.schedule}", f"lower_clip = {c.lower_clip:g}")
    return {
        "schedule": _Box(1.5, 5.2, "Beta schedule", schedule),
        "times": _Box(5.0, 5.2, "Time generator", (*span, f"count = {c.count}")),
        "shares": _Box(
            9.0, 5.2, "Iteration generator", (f"steps = {plan.steps}", f"scale = {guided.scale:g}")
        ),
        "picture": _Box(1.5, 3.0, picture, width=2.1),
        "guides": _Box(5.0, 3.0, f"Forward process: {len(plan)} guides", guide, 3.3),
        "loss": _Box(9.0, 3.0, "mean squared error"),
        "fit": _Box(12.6, 3.0, "Update of θ", fit, 2.7),
        "z": _Box(5.0, 0.85, source, drawn),
        "network": _Box(9.0, 0.85, "Network f_θ", (f"backbone = {c.backbone}",)),
        "result": _Box(12.6, 0.85, "Restoration f_θ", width=2.0),
    }


_ARROWS = (
    ("schedule", "times", ""),
    ("times", "shares", "t_i, β_t"),
    ("times", "guides", "t_i"),
    ("shares", "loss", "n_i steps each"),
    ("picture", "guides", ""),
    ("guides", "loss", "target x_t"),
    ("loss", "fit", "gradient"),
    ("z", "network", "input"),
    ("network", "loss", "output"),
    ("network", "result", "after the last guide"),
)


def _draw(axes: Axes, box: _Box) -> None:
    left, bottom = box.x - box.width / 2, box.y - box.height / 2
    axes.add_patch(_rounded((left, bottom), box.width, box.height, PAPER, EDGE, 0.08))
    top = bottom + box.height
    axes.text(
        box.x, top - 0.31, box.title, ha="center", va="center", fontsize=9, weight="bold", color=INK
    )
    for number, chip in enumerate(box.chips):
        y = top - 0.62 - 0.36 * number
        axes.add_patch(
            _rounded((left + 0.12, y - 0.26), box.width - 0.24, 0.28, TUNABLE, TUNABLE_EDGE, 0.04)
        )
        axes.text(box.x, y - 0.13, chip, ha="center", va="center", fontsize=7.5, color=INK)


def _connect(axes: Axes, one: _Box, other: _Box, label: str) -> None:
    """Draw an arrow from edge to edge, straight across or straight up or down."""
    across = one.y == other.y
    side = (1 if other.x > one.x else -1) if across else (1 if other.y > one.y else -1)
    if across:
        start = (one.x + side * one.width / 2, one.y)
        end = (other.x - side * other.width / 2, other.y)
    else:
        start = (one.x, one.y + side * one.height / 2)
        end = (other.x, other.y - side * other.height / 2)
    _arrow(axes, start, end)
    x, y = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2
    if across:
        axes.text(x, y + 0.1, label, ha="center", va="bottom", fontsize=7.5, color=INK)
    else:
        axes.text(x + 0.12, y, label, ha="left", va="center", fontsize=7.5, color=INK)


def _send_weights(axes: Axes, fit: _Box, network: _Box) -> None:
    """Draw the way back from the update to the network."""
    start, end = fit.x - fit.width / 2 + 0.3, network.x + network.width / 2 - 0.35
    low, top = fit.y - fit.height / 2, network.y + network.height / 2
    middle = (low + top) / 2
    axes.plot([start, start, end], [low, middle, middle], color=EDGE, linewidth=1.4)
    _arrow(axes, (end, middle), (end, top))
    x = (start + end) / 2
    axes.text(x, middle + 0.07, "weights", ha="center", va="bottom", fontsize=7.5, color=INK)


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float]) -> None:
    arrow = FancyArrowPatch(
        start, end, arrowstyle="-|>", mutation_scale=12, shrinkA=0, shrinkB=0, color=EDGE
    )
    arrow.set_linewidth(1.4)
    axes.add_patch(arrow)


def _rounded(
    corner: tuple[float, float], width: float, height: float, face: str, edge: str, radius: float
) -> FancyBboxPatch:
    style = f"round,pad=0,rounding_size={radius}"
    return FancyBboxPatch(
        corner, width, height, boxstyle=style, facecolor=face, edgecolor=edge, linewidth=1.0
    )
