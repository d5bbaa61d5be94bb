"""The tab that explores the plan: which guides, how noisy, for how many iterations."""

from __future__ import annotations

import base64
from functools import lru_cache
from typing import Any

import gradio as gr

from guided_dip.diffusion import SCHEDULES, forward
from guided_dip.errors import InputError
from guided_dip.guidance import DEFAULT_SCALE, Plan
from guided_dip.web.page import charts, examples
from guided_dip.web.page.context import alert
from guided_dip.web.page.parts import plain
from guided_dip.web.page.show import NONE
from guided_dip.web.plans import betas_of, plan_of

STEPS, COUNT, START, END = 2000, 20, 500, 40  # the report's
SHOWN = 6  # guides in the strip
SIDE = 128
_ABOUT = (
    "<h2>The plan of a fit</h2>"
    "<p class='gd-hint'>Guides are the picture diffused to some timesteps, "
    "from most to least noisy; each gets a share of the iterations that falls with its noise rate: "
    "n<sub>i</sub> proportional to exp(-c β<sub>t</sub>). The values here are the report's.</p>"
)


def build() -> None:
    """Build the tab."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=280, elem_classes="gd-panel"):
            plain(_ABOUT)
            schedule = gr.Radio(list(SCHEDULES), value="cosine", label="Schedule")
            count = gr.Slider(1, 40, value=COUNT, step=1, label="Count", info="Number of guides.")
            start = gr.Slider(
                0, 999, value=START, step=1, label="Start", info="Timestep of the most noisy guide."
            )
            end = gr.Slider(
                0, 999, value=END, step=1, label="End", info="Timestep of the least noisy guide."
            )
            scale = gr.Slider(0, 1500, value=400, step=10, label="c",
                info="0 shares equally; more favours the less noisy guides.")  # fmt: skip
            steps = gr.Slider(
                100, 5000, value=STEPS, step=50, label="Steps", info="Iterations in all."
            )
            again = gr.Button("The report's values", size="sm")
        with gr.Column(scale=7, min_width=300, elem_classes="gd-panel"):
            drawn = plain(
                draw("cosine", COUNT, START, END, DEFAULT_SCALE["cosine"], STEPS),
                elem_id="gd-plan")  # fmt: skip
    inputs = [schedule, count, start, end, scale, steps]
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}

    def usual(name: str) -> list[Any]:
        return [COUNT, START, END, DEFAULT_SCALE.get(name, DEFAULT_SCALE["cosine"]), STEPS]

    schedule.input(
        lambda name: DEFAULT_SCALE.get(name, DEFAULT_SCALE["cosine"]), [schedule], [scale], **quiet
    )
    again.click(usual, [schedule], inputs[1:], **quiet)
    gr.on(
        [part.change for part in inputs], draw, inputs, [drawn],
        trigger_mode="always_last", **quiet,
    )  # fmt: skip


def draw(schedule: str, count: float, start: float, end: float, scale: float, steps: float) -> str:
    """Return a plan as HTML: two charts, a strip of guides, a table; or why there is none.

    Parameters
    ----------
    schedule, count, start, end, scale, steps
        As for `make_plan`.
    """
    try:
        plan = _plan(schedule, int(count), int(start), int(end), float(scale), int(steps))
    except (InputError, TypeError, ValueError) as error:
        return alert(str(error)) + '<div class="gd-well gd-blank" aria-hidden="true"></div>'
    return (
        '<section class="gd-job" aria-label="Plan"><h2>Guides and their iterations</h2>'
        f"<figure>{charts.counts_chart(plan)}<figcaption>Bars: iterations of each guide, at its "
        "timestep. Line: noise of the guide, of 255, at the right axis.</figcaption></figure>"
        f"<figure>{charts.plan_chart(plan)}<figcaption>"
        "The fit from its first iteration to its last: "
        "noise of the guide, of 255, with its timestep.</figcaption></figure>"
        f'<figure><img class="gd-strip" src="{_strip(plan)}" alt="Guides of an example picture, '
        'from the most to the least noisy"><figcaption>Some of the guides of an example picture, '
        f"in their order: t = {', '.join(str(plan.stages[k].t) for k in _some(plan))}</figcaption>"
        f"</figure>{_table(plan)}</section>"
    )


def _plan(schedule: str, count: int, start: int, end: int, scale: float, steps: int) -> Plan:
    if not 0 < steps <= 100_000 or not 0 < count <= 200:
        raise InputError("a plan here has 1 to 200 guides and up to 100000 steps")
    return plan_of(schedule, steps=steps, count=count, start=start, end=end, scale=scale)


def _some(plan: Plan) -> list[int]:
    """Return numbers of a few stages, evenly over all."""
    last = len(plan) - 1
    most = min(SHOWN, len(plan))
    return sorted({round(k * last / max(1, most - 1)) for k in range(most)})


@lru_cache(maxsize=256)
def _guide(schedule: str, t: int) -> Any:
    import numpy as np

    clean = examples.picture(examples.EXAMPLES[0])
    step = max(1, min(clean.shape[:2]) // SIDE)
    x_0 = clean[::step, ::step][:SIDE, :SIDE] / 255
    eps = np.random.default_rng(t).standard_normal(x_0.shape)
    x_t = forward(x_0, eps, t, betas_of(schedule))
    return np.rint(np.clip(x_t, 0, 1) * 255).astype(np.uint8)


def _strip(plan: Plan) -> str:
    import numpy as np

    from guided_dip.web.page.aside import png

    tiles = [_guide(plan.schedule, plan.stages[k].t or 0) for k in _some(plan)]
    data = png(np.concatenate(tiles, axis=1))
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def _table(plan: Plan) -> str:
    heads = "".join(
        f'<th scope="col">{head}</th>'
        for head in ("Guide", "t", "Noise, of 255", "Iterations", "First step")
    )
    rows = "".join(
        f"<tr><td>{number}</td><td>{stage.t}</td><td>{(stage.sigma or 0) * 255:.2f}</td>"
        f"<td>{stage.steps}</td><td>{first if stage.steps else NONE}</td></tr>"
        for number, (stage, first) in enumerate(zip(plan, plan.boundaries, strict=True), start=1)
    )
    return (
        '<div class="gd-scroll" tabindex="0" role="region" aria-label="Table of the guides">'
        f'<table class="gd-table"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table>'
        "</div>"
    )
