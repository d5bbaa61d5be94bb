"""The page as Gradio's blocks: its tabs, and what holds them together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import gradio as gr

from guided_dip.web.page import about, compare, history, plan, restore
from guided_dip.web.page.context import Context
from guided_dip.web.page.parts import plain

if TYPE_CHECKING:
    from guided_dip.web.jobs import Jobs
    from guided_dip.web.page.routes import Owner
    from guided_dip.web.page.uploads import Uploads

_HEAD = (
    '<header class="gd-head"><h1>Guided-DIP</h1><p>Restores one degraded picture, from nothing but '
    "that picture.</p></header>"
)
PAGES = 256  # that are open at a time, about
WAITING = 256  # events of all pages that may wait to be looked at


async def _stay() -> AsyncIterator[None]:
    """Keep a page's stream of answers open as long as the page is.

    Gradio ends it when nothing is asked for, and loses what a page asks for at that very moment.
    It also is by this stream that a page hears when the server has gone, and comes back.
    """
    while True:
        await asyncio.sleep(3600)
        yield


def make_page(jobs: Jobs, uploads: Uploads, owner_of: Owner) -> gr.Blocks:
    """Build the page.

    Parameters
    ----------
    jobs
        Takes the jobs.
    uploads
        Keeps what users upload.
    owner_of
        Tells whose a request is.
    """
    context = Context(jobs, uploads, owner_of)
    with gr.Blocks(title="Guided-DIP", analytics_enabled=False, fill_width=True) as page:
        plain(_HEAD)
        with gr.Tabs() as tabs:
            with gr.Tab("Restore", id="restore"):
                shown = restore.build(context)
            with gr.Tab("History", id="history") as past:
                history.build(context, past, tabs, shown)
            with gr.Tab("Plan", id="plan"):
                plan.build()
            with gr.Tab("Compare", id="compare"):
                compare.build(context)
            with gr.Tab("Help", id="help"):
                about.build()
        restore.follow_address(page, shown)
        page.load(
            _stay, None, None,
            show_progress="hidden", concurrency_limit=None, api_visibility="private",
        )  # fmt: skip
    page.max_threads = PAGES * 3  # of Gradio's queue: what is followed takes a place, no thread
    page.queue(max_size=WAITING, api_open=False, default_concurrency_limit=20)
    return page
