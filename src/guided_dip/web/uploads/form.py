"""The fields of a form, as a job's settings."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, get_args

from pydantic import ValidationError

from guided_dip.errors import InputError, choices, quoted
from guided_dip.web.jobs import Role
from guided_dip.web.models import JobSettings
from guided_dip.web.problems import first_of

ROLES: tuple[Role, ...] = get_args(Role)
CONFIG = "config"  # a file of settings
TEXTS = tuple(JobSettings.model_fields)
FIELDS = tuple(dict.fromkeys((*ROLES, CONFIG, *TEXTS)))
CONFIG_BYTES = FIELD_BYTES = 64 * 2**10  # of a config file, and of the settings; of a word:
WORD_BYTES = 1000
BRACKETS = 100  # in a config file, whose settings have none


def settings_of(fields: Mapping[str, str], config: bytes | None = None) -> JobSettings:
    """Make a job's settings of what a form says.

    Parameters
    ----------
    fields
        Values by the names of `JobSettings`; an empty one counts as not given. ``settings`` is a
        JSON object.
    config
        A YAML file of settings, which those of ``settings`` go before.

    Raises
    ------
    InputError
        If a name is not known, or a value not allowed.
    """
    values: dict[str, Any] = {}
    for name, text in fields.items():
        check_name(name)
        if text.strip():
            values[name] = text.strip()
    settings = {} if config is None else of_yaml(config)
    if "settings" in values:
        settings |= _of_json(values["settings"])
    try:
        return JobSettings.model_validate(values | {"settings": settings})
    except ValidationError as error:
        raise InputError(first_of(error)) from None


def check_name(name: str) -> None:
    """Refuse a field that there is not, and name the nearest.

    Raises
    ------
    InputError
        If so.
    """
    if name not in FIELDS:
        raise InputError(f"there is no field {quoted(name)}: {choices(name[:60], FIELDS)}")


def _of_json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise InputError('settings: is no JSON; try an object such as {"steps": 500}') from None
    return _checked(found, "settings")


def of_yaml(data: bytes) -> dict[str, Any]:
    """Read a config file that somebody sent: names and plain values, nothing that could grow.

    Parameters
    ----------
    data
        YAML in UTF-8.

    Raises
    ------
    InputError
        If it is anything else.
    """
    import yaml

    try:
        text = data.decode("utf-8-sig")
        if text.count("[") + text.count("{") > BRACKETS:  # reading takes the square of their number
            raise InputError("config: has lists in lists; try lines such as 'steps: 500'")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise InputError("config: has references (*name); try writing the values out")
        found = yaml.safe_load(text)
    except UnicodeDecodeError:
        raise InputError("config: is no text in UTF-8; try a YAML file") from None
    except (yaml.YAMLError, RecursionError, ValueError):
        raise InputError("config: is no YAML; try lines such as 'steps: 500'") from None
    return _checked({} if found is None else found, "config")


def _checked(found: Any, where: str) -> dict[str, Any]:
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in found):
        raise InputError(f"{where}: is no list of names and values; try 'steps' and 500")
    for key, value in found.items():
        if isinstance(value, list | dict):
            raise InputError(f"{where}: {quoted(key)} is more than one value; try leaving it out")
        if not isinstance(value, bool | int | float | str | None):
            raise InputError(f"{where}: {quoted(key)} is of an unusual type; try quoting it")
        if isinstance(value, int | float) and not abs(value) < 2**63:
            raise InputError(f"{where}: {quoted(key)} is too large a number")
    return found
