"""The tab with the runs that there have been."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import gradio as gr

from guided_dip.web.jobs import UnknownJobError
from guided_dip.web.models import ENDED, JobState
from guided_dip.web.page.context import Context
from guided_dip.web.page.parts import buttons, plain
from guided_dip.web.page.restore import Shown
from guided_dip.web.page.show import TIMES, text
from guided_dip.words import duration

MOST = 60


def build(context: Context, tab: gr.Tab, tabs: gr.Tabs, shown: Shown) -> None:
    """Build the tab."""
    with gr.Column(elem_classes="gd-panel"):
        plain(
            "<h2>Runs on this server</h2>"
            "<p class='gd-hint'>Yours, the newest first. They stay when "
            "the page is closed, and when the server starts again.</p>")  # fmt: skip
        again = gr.Button("Look again", size="sm", elem_id="gd-again")
        listed = buttons("<p>…</p>", elem_id="gd-history")

    def look(request: gr.Request) -> str:
        return runs(context.jobs.states(context.owner(request), MOST))

    def press(event: gr.EventData, request: gr.Request) -> list[Any]:
        id, owner = str(event._data.get("of", "")), context.owner(request)
        if event._data.get("what") == "open":
            return [look(request), gr.Tabs(selected="restore"), id]
        with suppress(UnknownJobError):
            context.jobs.remove(id, owner)
        return [look(request), gr.skip(), gr.skip()]

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    # One after another: a list that was asked for before a run was removed is not shown after it.
    quiet |= {"concurrency_limit": 1, "concurrency_id": "history"}
    tab.select(look, None, [listed], **quiet)
    again.click(look, None, [listed], **quiet)
    listed.select(press, None, [listed, tabs, shown.job], **quiet)


def runs(states: Sequence[JobState]) -> str:
    """Return a list of jobs as HTML."""
    if not states:
        return "<p>There is none yet.</p>"
    return f'<ul class="gd-list">{"".join(map(_entry, states))}</ul>'


def _entry(state: JobState) -> str:
    name = text(state.name)
    picture = '<div class="gd-well" aria-hidden="true"></div>'
    if state.outcome is not None:
        picture = f'<img src="v1/jobs/{state.id}/views/restored" alt="" loading="lazy">'
    facts = [_status(state), f"{state.width} {TIMES} {state.height}",
             text(state.settings.task or "denoise")]  # fmt: skip
    if state.outcome is not None and state.outcome.psnr is not None:
        facts.append(f"{state.outcome.psnr:.2f} dB")
    ago = duration(time.time() - state.created, tenths_below=0)
    reason = f"<p>{text(state.reason)}</p>" if state.reason else ""
    return (
        f"<li>{picture}<div><h3>{name}</h3><p>{' · '.join(facts)}</p><p>{ago} ago</p>{reason}"
        '<div class="gd-tools">'
        f'<button type="button" class="gd-small" data-what="open" data-of="{state.id}" '
        f'aria-label="Open {name}">Open</button>'
        f'<button type="button" class="gd-small" data-what="remove" data-of="{state.id}" '
        f'aria-label="Remove {name}">{"Remove" if state.status in ENDED else "Cancel and remove"}'
        "</button></div></div></li>"
    )


def _status(state: JobState) -> str:
    if state.status == "running":
        return f"running, {state.progress.share:.0%}"
    if state.outcome is not None:
        how = "stopped" if state.outcome.is_estimate else "done"
        return f"{how} in {duration(state.outcome.seconds)}"
    return state.status
