"""Times, numbers and messages, written for people; the same everywhere."""

from __future__ import annotations


def duration(seconds: float, *, tenths_below: float = 1.0) -> str:
    """Write a time for people.

    Parameters
    ----------
    seconds
        The time; what is below zero counts as none.
    tenths_below
        Seconds below which tenths are told: 0 where the time is told anew every now and then,
        and tenths would only flicker.

    Returns
    -------
    str
        Two units at most.

    Examples
    --------
    >>> duration(0.4), duration(7.6), duration(250), duration(7380)
    ('0.4 s', '8 s', '4 min 10 s', '2 h 3 min')
    >>> duration(7.64, tenths_below=10), duration(0.4, tenths_below=0)
    ('7.6 s', '0 s')
    """
    seconds = max(0.0, seconds)
    if round(seconds, 1) < tenths_below:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 1:
        return f"{rest} s"
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if minutes else f"{hours:,} h"


def counted(number: int, thing: str) -> str:
    """Write a number of things.

    Parameters
    ----------
    number
        How many there are.
    thing
        One of them.

    Returns
    -------
    str
        Both, the thing in the plural if need be.

    Examples
    --------
    >>> counted(1, "picture"), counted(1200, "picture")
    ('1 picture', '1,200 pictures')
    """
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def one_line(text: object) -> str:
    r"""Make one printable line of a message, whatever bytes the names in it have.

    Parameters
    ----------
    text
        The message.

    Returns
    -------
    str
        With lines joined, and what cannot be printed escaped.

    Examples
    --------
    >>> one_line("a  b.png:\n  cannot be read")
    'a  b.png: cannot be read'
    """
    first, *rest = str(text).encode(errors="backslashreplace").decode().splitlines() or [""]
    return " ".join([first, *(line.lstrip() for line in rest if line.strip())])


def of_file(name: str, reason: str) -> str:
    """Say what is wrong with a file, its name once.

    Parameters
    ----------
    name
        What the file is called where there are many.
    reason
        What is wrong, which may begin with the file's path.

    Returns
    -------
    str
        The reason, led by the name where it does not begin with the file's path.

    Examples
    --------
    >>> of_file("b/a.png", "the file is empty"), of_file("b/a.png", "in/b/a.png: the file is empty")
    ('b/a.png: the file is empty', 'in/b/a.png: the file is empty')
    """
    folder, found, _ = reason.replace("\\", "/").partition(f"{name}: ")
    named = found and (not folder or folder.endswith("/"))
    return reason if named else f"{name}: {reason}"
