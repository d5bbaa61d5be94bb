"""The ways in which a run can end early, and the nearest-name hint that messages share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any

LONGEST = 60  # letters of a wrong value, in a message
LISTED = 20  # values that are worth listing where the nearest is named
# What a value should have been, by the kind of problem that pydantic found.
_INSTEAD = {
    "greater_than_equal": "try {ge} or more",
    "less_than_equal": "try {le} or less",
    "greater_than": "try more than {gt}",
    "less_than": "try less than {lt}",
    "int_parsing": "try a whole number",
    "int_type": "try a whole number",
    "int_from_float": "try a whole number",
    "float_parsing": "try a number",
    "float_type": "try a number",
    "finite_number": "try a finite number",
    "bool_parsing": "try true or false",
    "bool_type": "try true or false",
}
# What PyTorch says on a CPU, on Windows, on GPUs.
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
NOT_ENOUGH_MEMORY = (
    "not enough memory: try a smaller picture or a crop of it, --effort fast or another --device"
)


class InputError(ValueError):
    """Bad usage or bad input: the message says what, where, and what to try (exit code 2)."""


class RunError(RuntimeError):
    """The run failed on the way: the message says what, where, and what to try (exit code 1)."""


class InterruptionError(Exception):
    """The run was asked to end: the message says where its state is, and how to go on.

    Parameters
    ----------
    message
        One line.
    signal
        The signal that asked for it; the exit code is 128 more.
    """

    def __init__(self, message: str, signal: int) -> None:
        super().__init__(message)
        self.signal = signal


def reason_of(error: Exception) -> str:
    """Say in one line why something failed, whatever went wrong.

    >>> reason_of(InputError("no such file")), reason_of(ZeroDivisionError("by zero"))
    ('no such file', 'ZeroDivisionError: by zero')

    Parameters
    ----------
    error
        What was raised.

    Returns
    -------
    str
        The message of an error of this package; of others their kind, and the first line of
        what they say.
    """
    message = " ".join(str(error).split())
    if isinstance(error, InputError | RunError):
        return message
    if isinstance(error, MemoryError) or any(phrase in message for phrase in OUT_OF_MEMORY):
        return NOT_ENOUGH_MEMORY
    return f"{type(error).__name__}: {message}"


def quoted(given: object) -> str:
    """Return what a user gave as a message shows it: on one line, and cut off where it is long.

    >>> quoted("gauss")
    "'gauss'"

    Parameters
    ----------
    given
        Whatever it was.

    Returns
    -------
    str
    """
    text = repr(given)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def choices(given: str, allowed: Iterable[str]) -> str:
    """List the allowed values of an option, and name one that is near to what was given.

    Parameters
    ----------
    given
        What the user wrote.
    allowed
        The values that exist.

    Returns
    -------
    str
        For instance ``did you mean 'cosine'? (one of: cosine, linear)``. Near is what begins like
        it, or is spelled much like it. A long list is left out where a near value is named.
    """
    names = list(allowed)
    listed = f"one of: {', '.join(names)}"
    begun = [name for name in names if len(given) > 1 and name.startswith(given.lower())]
    nearest = sorted(begun, key=len)[:1] or difflib.get_close_matches(given.lower(), names, n=1)
    if nearest and len(names) > LISTED:
        return f"did you mean '{nearest[0]}'?"
    return f"did you mean '{nearest[0]}'? ({listed})" if nearest else listed


def instead(found: Mapping[str, Any]) -> str:
    """Say what a value should have been that pydantic did not take.

    >>> instead({"type": "less_than_equal", "ctx": {"le": 8}, "msg": "Input should be ..."})
    'try 8 or less'
    >>> instead({"type": "value_error", "msg": "Value error, It is too long"})
    'it is too long'

    Parameters
    ----------
    found
        One of the ``errors()`` of a validation.

    Returns
    -------
    str
    """
    words = _INSTEAD.get(found["type"])
    if words is not None:
        return words.format(**found.get("ctx", {}))
    problem = str(found["msg"]).removeprefix("Value error, ")
    return problem[:1].lower() + problem[1:]
