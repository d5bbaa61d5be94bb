"""What the API's description says that its code does not: forms, problems, examples."""

from __future__ import annotations

from typing import Any

from guided_dip.web.models import JobSettings
from guided_dip.web.problems import Problem

ABOUT = """\
Restores single degraded pictures. A job is a picture and what is to be done with it: `POST` one to
`/v1/jobs`, follow it at `/v1/jobs/{id}/events` or ask `/v1/jobs/{id}` now and then, and fetch
`/v1/jobs/{id}/result` when its status is `done`.

Whatever goes wrong is told as `{"error": "one line"}`. Where the server has tokens, each request
needs the header `Authorization: Bearer TOKEN`, and each token sees its own jobs only.
"""
WHY = {
    400: "The request is damaged.",
    401: "A token is needed.",
    403: "Asked for by another server's page.",
    404: "There is no such job, or it does not have that, or not yet.",
    408: "The request came too slowly.",
    409: "The job has ended already.",
    413: "Too many bytes or pixels.",
    415: "No picture of a known format, or no form.",
    421: "The server is not asked for by that name.",
    422: "Something in the request is not usable.",
    429: "The queue is full, or too much is asked for at a time.",
    500: "The server failed.",
    503: "The server cannot do that now.",
}
ALWAYS = (401, 403, 421, 422, 500, 503)
_WAITING = frozenset({429, 503})
_FILES = {
    "image": "The picture to restore: PNG, JPEG, TIFF, WebP, BMP or FITS; its content decides.",
    "mask": "Of inpaint: a picture, white where pixels are missing.",
    "kernel": "Of deblur: a picture of the blur.",
    "gain": "Of degain: a picture of what each pixel was multiplied by.",
    "clean": "The picture without its damage, to score with; the restoration never sees it.",
    "config": "Settings as YAML, such as the config.yaml of a run.",
}
EVENT = {
    "type": "object",
    "properties": {
        "event": {"type": "string", "enum": ["state"]},
        "id": {"type": "string", "description": "The version."},
        "data": {"type": "string", "description": "A JobState, as JSON."},
    },
}
_STATE = {
    "id": "0123456789abcdef0123456789abcdef",
    "version": 7,
    "status": "running",
    "name": "photo.tif",
    "file_name": "photo-restored.tif",
    "created": 1767225600.0,
    "began": 1767225601.5,
    "settings": {"effort": "fast"},
    "command": "guided-dip restore photo.tif -o photo-restored.tif --effort fast",
    "width": 512,
    "height": 384,
    "channels": 3,
    "bits": 16,
    "progress": {"share": 0.25, "step": 75, "steps": 300, "stage": 2, "stages": 5, "loss": 0.01},
}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the answers that tell of problems, as FastAPI wants them.

    Parameters
    ----------
    statuses
        Those that a route has besides what every route has.
    """
    found: dict[int | str, dict[str, Any]] = {}
    # Not as a model: FastAPI would give it the type of the route's own answers.
    shape = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for status in sorted({*statuses, *ALWAYS}):
        found[status] = {"description": WHY[status], "content": shape}
        if status in _WAITING:
            after = {"description": "Seconds to wait.", "schema": {"type": "integer"}}
            found[status]["headers"] = {"Retry-After": after}
    return found


def pictures(*types: str) -> dict[str, Any]:
    """Return the answer that is a picture of some types, as FastAPI wants it."""
    binary = {"schema": {"type": "string", "format": "binary"}}
    return {"description": "The picture.", "content": dict.fromkeys(types, binary)}


def new_job() -> dict[str, Any]:
    """Return the form of a new job."""
    fields: dict[str, Any] = {
        name: {"type": "string", "format": "binary", "description": text}
        for name, text in _FILES.items()
    }
    told = JobSettings.model_json_schema()["properties"]
    for name, found in told.items():
        plain: dict[str, Any] = next(
            (k for k in found.get("anyOf", [found]) if k.get("type") != "null"), {}
        )
        kept = {k: v for k, v in plain.items() if k not in ("title", "default")}
        fields[name] = kept | {"description": _TOLD.get(name, "As the option of `restore`.")}
    fields["settings"] = {"type": "string", "maxLength": 65536, "description": _TOLD["settings"]}
    fields["config"]["maxLength"] = 65536
    schema = {
        "type": "object",
        "required": ["image"],
        "properties": fields,
        "additionalProperties": False,
    }
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }


_TOLD = {
    "task": "denoise, inpaint, super-resolve, deblur, dejpeg or degain.",
    "effort": "fast, balanced or best.",
    "preset": "report or author: the report's experiment.",
    "noise": "auto, none, gaussian:SIGMA (of 255), poisson:PEAK or poisson-gaussian:GAIN,READ.",
    "white": "The picture's value that is white: a number, auto, or type for its type's largest.",
    "scale": "How many times as large a small picture becomes.",
    "kernel": "The blur to undo: a file, or words such as gaussian:2.0 or motion:15,30.",
    "strength": "Share of the restoration, from 0 to 1; the rest is the picture.",
    "seed": "Of every random draw.",
    "invert_mask": "The mask is black where pixels are missing.",
    "page": "Of a TIFF or FITS file, from 0.",
    "region": "X,Y,WIDTH,HEIGHT: only this part.",
    "joint": "One network for all pages.",
    "time_budget": "Seconds that it may take.",
    "settings": 'Any other settings, a JSON object such as {"steps": 500}.',
}


def with_examples(schema: dict[str, Any]) -> dict[str, Any]:
    """Add what FastAPI has not found by itself to the description of the API."""
    models = schema["components"]["schemas"]
    models["Problem"] = Problem.model_json_schema()
    models["JobState"]["examples"] = [_STATE]
    models.pop("HTTPValidationError", None)
    models.pop("ValidationError", None)
    return schema
