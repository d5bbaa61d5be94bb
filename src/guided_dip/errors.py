"""The two kinds of failure a user can meet, and the nearest-name hint they share."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad usage or bad input: the message says what, where, and what to try (exit code 2)."""


class RunError(RuntimeError):
    """The run failed on the way: the message says what, where, and what to try (exit code 1)."""


def choices(given: str, allowed: Iterable[str]) -> str:
    """List the allowed values of an option, the nearest to what was given first named.

    Parameters
    ----------
    given
        What the user wrote.
    allowed
        The values that exist.

    Returns
    -------
    str
        For instance ``did you mean 'cosine'? (one of: cosine, linear)``.
    """
    names = list(allowed)
    listed = f"one of: {', '.join(names)}"
    nearest = difflib.get_close_matches(given.lower(), names, n=1, cutoff=0.5)
    return f"did you mean '{nearest[0]}'? ({listed})" if nearest else listed
