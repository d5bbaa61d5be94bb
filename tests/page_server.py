"""The page on a server of the test's own process, which a browser can talk to."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from guided_dip.web.access.guard import Access, owner_of
from guided_dip.web.http.app import make_app
from guided_dip.web.page import mount
from guided_dip.web.uploads.arrival import Spool
from guided_dip.web.uploads.probe import Checker
from web_fakes import png


@dataclass
class Served:
    """A page that is there."""

    url: str
    jobs: Any
    app: Any


def make_page_app(jobs: Any, folder: Path, checker: Checker, access: Access | None = None) -> Any:
    return make_app(
        jobs,
        access=access or Access(),
        spool=Spool(folder / "arriving", checker),
        page=lambda app: mount(app, jobs, checker.look, owner_of, folder / "page"),
    )


@contextmanager
def serving(jobs: Any, folder: Path, access: Access | None = None) -> Iterator[Served]:
    with Checker(jobs.limits, processes=1) as checker, socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        (folder / "first.png").write_bytes(png())
        checker.look(folder / "first.png", "first.png")  # its process is there from now on
        app = make_page_app(jobs, folder, checker, access)
        config = uvicorn.Config(
            app, log_level="error", ws="none", lifespan="on", timeout_graceful_shutdown=1
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        until = time.monotonic() + 30
        while not server.started and time.monotonic() < until:
            time.sleep(0.02)
        assert server.started
        try:
            yield Served(f"http://127.0.0.1:{port}", jobs, app)
        finally:
            server.should_exit = True
            thread.join(20)


def fill(page, label, text):
    """Fill a field in; Gradio loses what is typed into one that it is still making."""
    field = page.get_by_label(label)
    for _ in range(40):
        field.fill(text)
        page.wait_for_timeout(250)
        if field.input_value() == text:
            return
    raise AssertionError(f"{label} does not keep {text!r}")
