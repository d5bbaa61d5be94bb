"""The application: the API, the page, and what stands before both."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.exceptions import HTTPException

from guided_dip import __version__
from guided_dip.errors import InputError, RunError
from guided_dip.web.access.guard import Access, Headers, Hosts, Tokens
from guided_dip.web.http import schema
from guided_dip.web.http.api import routes
from guided_dip.web.http.bodies import DRAWN, SMALL, STALL, Bodies
from guided_dip.web.http.calls import Calls
from guided_dip.web.http.metrics import TYPE, Measured, Metrics
from guided_dip.web.http.streams import HEARTBEAT, Streams
from guided_dip.web.jobs import Jobs, NotReadyError, QueueFullError, UnknownJobError
from guided_dip.web.problems import ProblemError, ProblemResponse, problem_of
from guided_dip.web.uploads.arrival import Spool

_log = logging.getLogger(__name__)

DESCRIPTION = "/v1/openapi.json"
# The last because a mask that was drawn is told to Gradio.
UPLOADS = frozenset({"/v1/jobs", "/page/uploads", "/gradio_api/queue/join"})
_KNOWN = (ProblemError, InputError, RunError, UnknownJobError, NotReadyError, QueueFullError)
Page = Callable[[FastAPI], None]


def make_app(
    jobs: Jobs,
    *,
    access: Access,
    spool: Spool,
    page: Page | None = None,
    healthy: Callable[[], bool] = lambda: True,
    stall: float = STALL,
    heartbeat: float = HEARTBEAT,
) -> FastAPI:
    """Make the application that a server runs.

    Parameters
    ----------
    jobs
        Does the work.
    access
        Who may ask.
    spool
        Where uploads arrive.
    page
        Mounts the page at ``/``; None for the API alone.
    healthy
        Tells at once whether jobs are being worked at.
    stall
        Seconds after which a request that no byte comes of is given up.
    heartbeat
        Seconds after which a stream is given a sign of life.

    Returns
    -------
    FastAPI
        ``app.state.streams`` are to be closed when the server is asked to end.
    """
    calls, metrics = Calls(), Metrics()

    async def state_of(id: str, owner: str) -> Any:
        return await calls(jobs.state, id, owner)

    streams = Streams(jobs, state_of, heartbeat=heartbeat)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        streams.begin()
        try:
            yield
        finally:
            streams.close()

    app = FastAPI(
        title="Guided-DIP",
        version=__version__,
        description=schema.ABOUT,
        openapi_url=DESCRIPTION,
        docs_url=None,  # its scripts would come from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        swagger_ui_oauth2_redirect_url=None,
    )
    app.state.streams = streams
    app.include_router(routes(jobs, spool, streams, calls))
    _add_health(app, jobs, calls, metrics, streams, healthy)
    _tell_problems(app)
    _describe(app)
    if page is not None:
        page(app)
    else:
        _add_notice(app)
    # The last is the outermost.
    app.add_middleware(Tokens, access=access)
    app.add_middleware(
        Bodies,
        most=lambda path: _most(path, jobs.limits.upload),
        stall=stall,
        counted=metrics.received.inc,
    )
    app.add_middleware(Hosts, access=access)
    app.add_middleware(Headers)
    app.add_middleware(Measured, metrics=metrics)
    return app


def _most(path: str, upload: int) -> int:
    """Return the most bytes that a request to a path may have."""
    if path in UPLOADS:
        return upload
    return DRAWN if path.startswith("/gradio_api/") else SMALL


def _add_health(
    app: FastAPI,
    jobs: Jobs,
    calls: Calls,
    metrics: Metrics,
    streams: Streams,
    healthy: Callable[[], bool],
) -> None:
    @app.get(
        "/healthz",
        summary="Know that the server lives",
        tags=["facts"],
        responses=schema.problems(),
    )
    async def health() -> dict[str, str]:
        """Return `{"status": "ok"}`; needs no token."""
        if not healthy():
            raise ProblemError(
                503, "no jobs are being worked at; the log says more", retry_after=60
            )
        return {"status": "ok"}

    @app.get(
        "/metrics",
        summary="Read the counters",
        tags=["facts"],
        response_class=PlainTextResponse,
        responses=schema.problems(),
    )
    async def numbers() -> Response:
        """Return what the server does in numbers, as Prometheus reads them."""
        metrics.streams.set(streams.open)
        counts = await calls(jobs.counts)
        text = await calls(metrics.text, counts)
        return Response(text, media_type=TYPE)


def _add_notice(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False, response_class=PlainTextResponse)
    async def notice() -> str:
        return f"Guided-DIP {__version__}: an HTTP API, described at {DESCRIPTION}\n"


def _tell_problems(app: FastAPI) -> None:
    async def known(_: Request, error: Exception) -> Response:
        return _told(problem_of(error))

    async def unusable(_: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        found = error.errors()[0]
        where = ".".join(str(part) for part in found["loc"][1:3])
        text = f"{found['msg'][0].lower()}{found['msg'][1:]}"
        return _told(ProblemError(422, f"{where}: {text}" if where else text))

    async def plain(_: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _told(
            ProblemError(
                error.status_code,
                _WORDS.get(error.status_code, str(error.detail)),
                headers=dict(error.headers or {}),
            )
        )

    async def unforeseen(_: Request, error: Exception) -> Response:
        _log.error("a request failed", exc_info=error)
        return _told(problem_of(error))

    for kind in _KNOWN:
        app.add_exception_handler(kind, known)
    app.add_exception_handler(RequestValidationError, unusable)
    app.add_exception_handler(HTTPException, plain)
    app.add_exception_handler(Exception, unforeseen)


_WORDS = {
    400: "the request's body is damaged",
    404: "there is no such place",
    405: "that cannot be done with this",
}


def _told(problem: ProblemError) -> Response:
    answer: Any = ProblemResponse(problem)  # an ASGI application, as a response is one
    answer.background = None
    if not problem.linger:
        return JSONResponse({"error": problem.text}, problem.status, problem.headers)
    found: Response = answer
    return found


def _describe(app: FastAPI) -> None:
    made = app.openapi

    def described() -> dict[str, Any]:
        return schema.with_examples(made())

    app.openapi = described  # type: ignore[method-assign]
