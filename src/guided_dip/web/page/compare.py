"""The tab that compares methods on one picture."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import gradio as gr

from guided_dip.errors import InputError
from guided_dip.web.jobs import NotReadyError, UnknownJobError
from guided_dip.web.models import ENDED, JobState
from guided_dip.web.page import examples, form
from guided_dip.web.page.context import Context, ToldError, alert
from guided_dip.web.page.parts import buttons, drop, plain
from guided_dip.web.page.restore import example_buttons, keep_example
from guided_dip.web.page.show import text
from guided_dip.words import duration


@dataclass(frozen=True)
class Method:
    """A method to compare: settings with a name."""

    title: str
    settings: Mapping[str, Any]


def _method(title: str, **settings: Any) -> Method:
    return Method(title, MappingProxyType(settings))


METHODS = (
    _method("Guided-DIP, fast", effort="fast"),
    _method("Guided-DIP, balanced", effort="balanced"),
    _method("Plain DIP", lines="supervision=observation"),
    _method("Guides as targets", lines="supervision=observation-guides"),
    _method("Guided-DIP on skip", effort="fast", lines="backbone=skip"),
    _method("Guided-DIP on U-Net", effort="fast", lines="backbone=unet"),
    _method("Plain DIP, stopped early (ES-WMV)", lines="supervision=observation\nstopping=es-wmv"),
)
BY_TITLE = {method.title: method for method in METHODS}
CANCEL_ALL = "Cancel all"
FIRST = [METHODS[0].title, METHODS[2].title, METHODS[3].title]


def build(context: Context) -> None:
    """Build the tab."""
    limit = context.jobs.limits.upload
    with gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=290, elem_classes="gd-panel"):
            plain("<h2>One picture, several methods</h2>")  # fmt: skip
            image = drop("Noisy picture", hint="Drop it here, or press to choose", role="image",
                         group="compare", limit=limit, elem_id="gd-compare-image",
                         elem_classes="gd-slim")  # fmt: skip
            chosen = buttons(example_buttons(), elem_id="gd-compare-examples")
            clean = drop("Clean picture (optional)", hint="To score with", role="clean",
                         group="compare", limit=limit, elem_classes="gd-slim")  # fmt: skip
            noise = gr.Textbox("auto", label="Noise", max_lines=1, info="As on the Restore tab.")
            methods = gr.CheckboxGroup(list(BY_TITLE), value=FIRST, label="Methods")
            budget = gr.Textbox("", label="Time budget for each, in seconds", max_lines=1,
                                info="Empty: as long as each takes.")  # fmt: skip
            told = plain(alert(""))
            button = gr.Button("Compare", variant="primary", elem_id="gd-compare-start")
            stop = gr.Button(CANCEL_ALL, visible=False)
        with gr.Column(scale=7, min_width=300, elem_classes="gd-panel"):
            view = plain(cards([], []), elem_id="gd-compare")  # fmt: skip
    ids = gr.Textbox(visible=False)
    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    button.click(_start(context), [image, clean, noise, methods, budget], [ids, told], **quiet)
    chosen.select(_take(context), None, [image, clean], **quiet)
    stop.click(_cancel(context), [ids], None, **quiet)
    ids.change(_watch(context), [ids], [view, stop], concurrency_limit=None,
               trigger_mode="multiple", **quiet)  # fmt: skip


def _start(context: Context) -> Any:
    def start(
        image: Any, clean: Any, noise: str, titles: list[str], budget: str,
        request: gr.Request,
    ) -> tuple[Any, str]:  # fmt: skip
        owner = context.owner(request)
        begun: list[str] = []
        if not titles:
            return gr.skip(), alert("choose a method at least")
        for title in titles:
            if title not in BY_TITLE:
                return gr.skip(), alert("choose methods of the list")
            asked = dict(BY_TITLE[title].settings) | {"noise": noise, "time_budget": budget}
            try:
                settings = form.settings_of(asked)
                state = context.begin({"image": image, "clean": clean}, settings, owner)
            except (InputError, ToldError) as error:
                told = f"{title}: {error}" if begun else str(error)
                return (",".join(begun) if begun else gr.skip()), alert(told)
            begun.append(f"{list(BY_TITLE).index(title)}:{state.id}")
        return ",".join(begun), alert("")

    return start


def _take(context: Context) -> Any:
    def take(event: gr.EventData, request: gr.Request) -> list[Any]:
        example = examples.find(str(event._data.get("of", "")))
        if example is None:
            return [gr.skip(), gr.skip()]
        return keep_example(context, example, context.owner(request))[:2]

    return take


def _cancel(context: Context) -> Any:
    def cancel(ids: str, request: gr.Request) -> None:
        for _, id in _pairs(ids):
            try:
                context.jobs.cancel(id, context.owner(request))
            except (NotReadyError, UnknownJobError):
                continue

    return cancel


def _watch(context: Context) -> Any:
    async def watch(ids: str, request: gr.Request) -> AsyncIterator[list[Any]]:
        pairs = _pairs(ids)
        if not pairs:
            return
        owner, session = context.owner(request), f"compare {request.session_hash}"
        titles = {id: METHODS[number].title for number, id in pairs}
        async for states in context.watcher.watch(list(titles), owner, session):
            running = any(state.status not in ENDED for state in states)
            yield [cards(states, [titles[state.id] for state in states]),
                   gr.update(visible=running, value=CANCEL_ALL)]  # fmt: skip

    return watch


def _pairs(ids: str) -> list[tuple[int, str]]:
    pairs = []
    for part in filter(None, ids.split(",")[: len(METHODS)]):
        number, _, id = part.partition(":")
        if number.isdigit() and int(number) < len(METHODS):
            pairs.append((int(number), id))
    return pairs


def cards(states: Sequence[JobState], titles: Sequence[str]) -> str:
    """Return jobs side by side as HTML.

    Parameters
    ----------
    states
        The jobs.
    titles
        Of their methods.
    """
    if not states:
        return (
            '<section class="gd-job" aria-label="Comparison"><h2>Side by side</h2>'
            '<p class="gd-status" role="status">Nothing yet: give a picture and press Compare.</p>'
            "</section>"
        )
    done = sum(state.status in ENDED for state in states)
    figures = _before(states[0]) + "".join(map(_card, states, titles))
    return (
        '<section class="gd-job" aria-label="Comparison"><h2>Side by side</h2>'
        f'<p class="gd-status" role="status">{done} of {len(states)} methods have ended.</p>'
        f'<div class="gd-grid">{figures}</div>'
        '<p class="gd-hint">PSNR is of the final picture, never '
        "of the best moment, which nobody can see without the clean one.</p></section>"
    )


def _before(state: JobState) -> str:
    outcome = state.outcome
    psnr = ""
    if outcome is not None and outcome.psnr_before is not None:
        psnr = f"<br>{outcome.psnr_before:.2f} dB"
    if outcome is None:
        return ""
    return (
        f'<figure><img src="v1/jobs/{state.id}/views/input" alt="Before: {text(state.name)}" '
        f'width="{state.width}" height="{state.height}">'
        f"<figcaption><b>Before</b>{psnr}</figcaption>"
        "</figure>"
    )


def _card(state: JobState, title: str) -> str:
    size = f'width="{state.width}" height="{state.height}"'
    shape = f'style="aspect-ratio: {state.width} / {state.height}"'
    outcome, preview = state.outcome, state.progress.preview
    picture = f'<div class="gd-well" {shape}></div>'
    if outcome is not None:
        picture = f'<img src="v1/jobs/{state.id}/views/restored" alt="{text(title)}" {size}>'
    elif preview and state.status not in ENDED:
        picture = (
            f'<img src="v1/jobs/{state.id}/views/preview?v={preview}" alt="{text(title)}, so far" '
            f"{size}>"
        )
    return (
        f"<figure>{picture}<figcaption><b>{text(title)}</b><br>{_said(state)}</figcaption></figure>"
    )


def _said(state: JobState) -> str:
    outcome = state.outcome
    if outcome is not None:
        psnr = "" if outcome.psnr is None else f"{outcome.psnr:.2f} dB, "
        note = f"<details><summary>Notes</summary>{text(outcome.note)}</details>"
        note = note if outcome.note else ""
        return f"{psnr}{duration(outcome.seconds)}{note}"
    if state.status == "failed":
        return f"failed: {text(state.reason)}"
    if state.status == "queued":
        return "waiting"
    if state.status == "cancelled":
        return "cancelled"
    return f"{state.progress.share:.0%}, step {state.progress.step} of {state.progress.steps}"
