"""The routes of the HTTP API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from guided_dip.web.access.guard import owner_of
from guided_dip.web.http import schema
from guided_dip.web.http.answers import TYPES, FileAnswer, attachment, open_picture, zipped
from guided_dip.web.http.calls import Calls
from guided_dip.web.http.streams import Streams
from guided_dip.web.jobs import Jobs, NotReadyError
from guided_dip.web.limits import Limits
from guided_dip.web.models import ENDED, Curve, JobState, View
from guided_dip.web.plans import PlanAsked, PlanTold, planned
from guided_dip.web.problems import ProblemError
from guided_dip.web.uploads.arrival import Spool

Id = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="Of the job.")]
Version = Annotated[int, Query(ge=0, lt=2**53, description="Only changes after this one.")]
LastEvent = Annotated[str | None, Header(description="As `after`, from browsers.")]
Most = Annotated[int, Query(ge=1, le=500, description="Of jobs.")]
Tag = Annotated[str | None, Header(description="The ETag of a result that is known.")]


def routes(jobs: Jobs, spool: Spool, streams: Streams, calls: Calls) -> APIRouter:
    """Return the API's routes.

    Parameters
    ----------
    jobs
        Does the work.
    spool
        Where uploads arrive.
    streams
        Of events.
    calls
        Threads for what may block.
    """
    router = APIRouter(tags=["jobs"])
    _add_jobs(router, jobs, spool, calls)
    _add_endings(router, jobs, calls)
    _add_events(router, jobs, streams, calls)
    _add_pictures(router, jobs, calls)
    _add_facts(router, jobs)
    return router


def _add_jobs(router: APIRouter, jobs: Jobs, spool: Spool, calls: Calls) -> None:
    @router.post(
        "/v1/jobs",
        status_code=201,
        summary="Queue a job",
        response_description="The job; its address is in the header Location.",
        openapi_extra=schema.new_job(),
        responses=schema.problems(400, 408, 413, 415, 429),
    )
    async def begin(request: Request, response: Response) -> JobState:
        """Send a picture, and what is to be done with it, as a form."""
        async with spool.new_job(request) as new:
            state = await calls(jobs.begin, new, owner_of(request))
        response.headers["location"] = f"/v1/jobs/{state.id}"
        return state

    @router.get("/v1/jobs", summary="List jobs", responses=schema.problems())
    async def listed(request: Request, limit: Most = 100) -> list[JobState]:
        """Return your jobs, the newest first."""
        return await calls(jobs.states, owner_of(request), limit)

    @router.get("/v1/jobs/{id}", summary="Look at a job", responses=schema.problems(404))
    async def state(request: Request, id: Id) -> JobState:
        """Return a job as it is now."""
        return await calls(jobs.state, id, owner_of(request))

    @router.delete(
        "/v1/jobs/{id}", status_code=204, summary="Remove a job", responses=schema.problems(404)
    )
    async def remove(request: Request, id: Id) -> Response:
        """Remove all that there is of a job; it is cancelled if it has not ended."""
        await calls(jobs.remove, id, owner_of(request))
        return Response(status_code=204)


def _add_endings(router: APIRouter, jobs: Jobs, calls: Calls) -> None:
    async def ended(end: Callable[[str, str], JobState], request: Request, id: str) -> JobState:
        try:
            return await calls(end, id, owner_of(request))
        except NotReadyError as error:
            raise ProblemError(409, str(error)) from None

    @router.post(
        "/v1/jobs/{id}/stop",
        summary="Stop a job",
        status_code=202,
        responses=schema.problems(404, 409),
    )
    async def stop(request: Request, id: Id) -> JobState:
        """End a job soon, with its current estimate as the result."""
        return await ended(jobs.stop, request, id)

    @router.post(
        "/v1/jobs/{id}/cancel",
        summary="Cancel a job",
        status_code=202,
        responses=schema.problems(404, 409),
    )
    async def cancel(request: Request, id: Id) -> JobState:
        """End a job within two seconds, without a result; it stays in the list."""
        return await ended(jobs.cancel, request, id)


def _add_events(router: APIRouter, jobs: Jobs, streams: Streams, calls: Calls) -> None:
    told = {
        "description": "Events `state`, each a job's state as JSON, until it has ended.",
        "content": {"text/event-stream": {"schema": schema.EVENT}},
    }
    nothing = {"description": "The job has ended, and that version is known."}

    @router.get(
        "/v1/jobs/{id}/events",
        summary="Follow a job",
        response_class=Response,
        responses={200: told, 204: nothing, **schema.problems(404, 429)},
    )
    async def events(
        request: Request, id: Id, after: Version = 0, last_event_id: LastEvent = None
    ) -> Response:
        """Follow a job by server-sent events."""
        if last_event_id is not None and last_event_id.isascii() and last_event_id.isdecimal():
            after = max(after, int(last_event_id[:15]))
        owner = owner_of(request)
        state = await calls(jobs.state, id, owner)
        if state.status in ENDED and state.version <= after:
            return Response(status_code=204)  # a browser would ask again and again
        streams.check_room()
        headers = {"x-accel-buffering": "no"}  # of a reverse proxy
        return StreamingResponse(
            streams.events(id, owner, after), media_type="text/event-stream", headers=headers
        )


def _add_pictures(router: APIRouter, jobs: Jobs, calls: Calls) -> None:
    png = {200: schema.pictures("image/png"), **schema.problems(404)}

    @router.get(
        "/v1/jobs/{id}/result",
        summary="Fetch the restoration",
        response_class=Response,
        responses={
            200: schema.pictures(*TYPES.values(), "application/octet-stream"),
            304: {"description": "It is the one that is known."},
            **schema.problems(404),
        },
    )
    async def result(request: Request, id: Id, if_none_match: Tag = None) -> Response:
        """Return the restored picture, in the format and bit depth of what was sent."""
        owner = owner_of(request)
        state = await calls(jobs.state, id, owner)
        path = await calls(jobs.view, id, owner, "result")
        file, kind, etag = await calls(open_picture, path)
        headers = {"etag": etag, "cache-control": "private, no-cache"}
        if if_none_match is not None and etag in if_none_match.split(", "):
            file.close()
            return Response(status_code=304, headers=headers)
        headers |= {"content-type": kind, "content-disposition": attachment(state.file_name)}
        return FileAnswer(file, headers, calls.limiter)

    async def picture(request: Request, id: str, view: View) -> Response:
        path = await calls(jobs.view, id, owner_of(request), view)
        file, kind, _ = await calls(open_picture, path)
        headers = {"content-type": kind, "cache-control": "no-store"}
        if kind != "image/png":
            headers["content-disposition"] = attachment(path.name)
        return FileAnswer(file, headers, calls.limiter)

    @router.get(
        "/v1/jobs/{id}/preview",
        summary="See how far a job is",
        response_class=Response,
        responses=png,
    )
    async def preview(request: Request, id: Id) -> Response:
        """Return the current estimate of a job that runs."""
        return await picture(request, id, "preview")

    @router.get(
        "/v1/jobs/{id}/views/{view}",
        summary="See a picture of a job",
        response_class=Response,
        responses={200: schema.pictures(*TYPES.values()), **schema.problems(404)},
    )
    async def views(request: Request, id: Id, view: View) -> Response:
        """Return one of the pictures of a job, to look at."""
        return await picture(request, id, view)

    @router.get("/v1/jobs/{id}/curve", summary="See the loss", responses=schema.problems(404))
    async def curve(request: Request, id: Id) -> Curve:
        """Return how a job's fit went so far."""
        return await calls(jobs.curve, id, owner_of(request))

    archive = {
        "description": "The run folder.",
        "content": {"application/zip": {"schema": {"type": "string", "format": "binary"}}},
    }

    @router.get(
        "/v1/jobs/{id}/run.zip",
        summary="Fetch the run",
        response_class=Response,
        responses={200: archive, **schema.problems(404)},
    )
    async def run(request: Request, id: Id) -> Response:
        """Return all there is about the run of a job that is done."""
        owner = owner_of(request)
        state = await calls(jobs.state, id, owner)
        folder = await calls(jobs.run_folder, id, owner)
        root = f"{PurePosixPath(state.file_name).stem}-run".replace("/", "_").lstrip(".")
        headers = {"content-disposition": attachment(f"{root}.zip")}
        return StreamingResponse(
            zipped(folder, root), media_type="application/zip", headers=headers
        )


def _add_facts(router: APIRouter, jobs: Jobs) -> None:
    @router.post(
        "/v1/plan", summary="Make a plan", tags=["facts"], responses=schema.problems(400, 408, 413)
    )
    def plan(asked: PlanAsked) -> PlanTold:
        """Return which guides a fit would have, with how many iterations; nothing is computed."""
        return planned(asked)

    @router.get(
        "/v1/limits", summary="Know the limits", tags=["facts"], responses=schema.problems()
    )
    def limits() -> Limits:
        """Return what anyone may ask for."""
        return jobs.limits
