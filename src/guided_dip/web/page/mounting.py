"""The page, put into the application that serves the API."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from guided_dip.web.page.routes import Guard, Owner, Routes
from guided_dip.web.page.uploads import Look, Uploads

if TYPE_CHECKING:
    from fastapi import FastAPI

    from guided_dip.web.jobs import Jobs

HEAD = """
<meta name="description" content="Restore one degraded picture, and see it happen.">
<link rel="stylesheet" href="page/static/page.css">
<script src="page/static/page.js"></script>
"""


def mount(app: FastAPI, jobs: Jobs, look: Look, owner_of: Owner, folder: Path) -> None:
    """Put the page at the root of an application; it is to be the last of its routes.

    Parameters
    ----------
    app
        The application, with the API's routes under ``/v1``, by which the page shows pictures.
    jobs
        Takes the jobs.
    look
        Checks a file that has arrived: ``look(path, name)``; it decodes in another process.
    owner_of
        Tells whose a request is.
    folder
        For the page's uploads, its own: nothing else of the page is ever written.
    """
    # Gradio reads these when it is imported or its blocks are made, and has no other way to be
    # told. It writes nothing where its routes for files are closed; if it did, then here.
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(folder / "gradio")
    uploads = Uploads(folder / "uploads", look, jobs.limits)
    routes = Routes(uploads, owner_of)
    token = "{token:str}"
    app.add_route("/page/uploads", routes.upload, ["POST"], include_in_schema=False)
    app.add_route(f"/page/uploads/{token}/view.png", routes.view, include_in_schema=False)
    app.add_route("/page/examples/{name:str}.png", routes.example, include_in_schema=False)
    app.add_route("/page/static/{name:str}", routes.static, include_in_schema=False)

    async def put() -> None:
        _mount(app, jobs, uploads, owner_of)

    # In a loop that ends: where none runs, Gradio would make some and leave them open.
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, put()).result()


def _mount(app: FastAPI, jobs: Jobs, uploads: Uploads, owner_of: Owner) -> None:
    from gradio import mount_gradio_app

    from guided_dip.web.page.blocks import make_page
    from guided_dip.web.page.look import THEME_JS, theme

    page = make_page(jobs, uploads, owner_of)
    mount_gradio_app(
        app,
        page,
        path="/",
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=1,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=theme(),
        head=HEAD,
        js=THEME_JS,
    )
    mounted = app.router.routes[-1]
    mounted.app = Guard(mounted.app)  # type: ignore[attr-defined]
