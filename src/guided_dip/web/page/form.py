"""What is filled in on the page, as the settings of a job."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from guided_dip.errors import InputError, quoted
from guided_dip.jobs.asked import assigned
from guided_dip.web.models import JobSettings
from guided_dip.web.uploads.form import of_yaml

LARGEST_YAML = 2**16  # characters
_DRAWN = "data:image/png;base64,"
# Which fields belong to one task only: what is left in them from another is not meant.
OF_TASK = {"scale": "super-resolve", "kernel": "deblur", "invert_mask": "inpaint"}


def settings_of(form: Mapping[str, Any]) -> JobSettings:
    """Return what a user asks for.

    Parameters
    ----------
    form
        What stands in the fields, by the names of `JobSettings`; besides, `lines` are further
        settings, a ``KEY=VALUE`` each, and `yaml` a config file's text. Empty fields are not given.

    Raises
    ------
    InputError
        One line that says which field is wrong.
    """
    task = form.get("task") or "denoise"
    values = {
        name: _plain(form.get(name))
        for name in JobSettings.model_fields
        if name != "settings" and OF_TASK.get(name, task) == task
    }
    if values.get("preset"):
        values["effort"] = None  # the preset has its own
    if values.get("strength") == 1:
        values["strength"] = None  # which is what is usual
    given = {name: value for name, value in values.items() if value not in (None, "")}
    lines = filter(None, map(str.strip, (form.get("lines") or "").splitlines()))
    settings = _yaml(form.get("yaml") or "") | assigned(lines, "settings")
    for name, value in settings.items():
        if not isinstance(value, str | int | float | None):  # shown, it could be without end
            raise InputError(f"{quoted(name)}: a setting is a number or a word, not a list of them")
    given["settings"] = settings
    try:
        return JobSettings(**given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = str(first["loc"][0]) if first["loc"] else "settings"
        if where == "settings" and len(first["loc"]) > 1:
            where = str(first["loc"][1])
        message = first["msg"]
        raise InputError(
            f"{where} cannot be {quoted(first['input'])}: {message[0].lower()}{message[1:]}"
        ) from None


def drawn_mask(value: Any, limit: int) -> bytes | None:
    """Return the file of a mask that was drawn, a PNG; None if none was.

    Parameters
    ----------
    value
        A data URL.
    limit
        Bytes that it may have.

    Raises
    ------
    InputError
        If it is no such thing.
    """
    if not value:
        return None
    text = str(value)
    if not text.startswith(_DRAWN) or len(text) > limit * 4 / 3 + 100:
        raise InputError("the drawn mask cannot be read; draw it again, or upload one")
    try:
        return base64.b64decode(text.removeprefix(_DRAWN), validate=True)
    except (binascii.Error, ValueError):
        raise InputError("the drawn mask cannot be read; draw it again, or upload one") from None


def _plain(value: Any) -> Any:
    """Bring a field to what is meant: no spaces around it, whole numbers without a point."""
    if isinstance(value, str):
        return value.strip()
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def _yaml(text: str) -> dict[str, Any]:
    if len(text) > LARGEST_YAML:
        raise InputError("config: it is longer than 64 KiB; leave out what is not needed")
    found = of_yaml(text.encode())
    return {name: value for name, value in found.items() if value is not None}
