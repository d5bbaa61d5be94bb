"""Files appear whole or not at all: written beside their place first, then renamed into it.

Whether a place will do is found out before an hour of computing, not after it.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from guided_dip.errors import InputError, RunError
from guided_dip.words import one_line

TEMPORARY = ".tmp"
LOCK = ".lock"  # in a folder that one call at a time may write to


def check_place(path: Path, *, overwrite: bool = False) -> None:
    """Find out whether a file can be put in a place.

    Parameters
    ----------
    path
        The place.
    overwrite
        Replacing a file is allowed.

    Raises
    ------
    InputError
        If the folder is missing or read-only, the place is a folder, or the file exists.
    """
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"{path}: there is no folder '{folder}'; try creating it")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; try naming a file in it")
    if path.exists() and not overwrite:
        raise InputError(f"{path}: exists already; try another name, or --overwrite")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(f"{path}: the folder '{folder}' is read-only; try another")


def write_whole(path: Path, data: bytes | str) -> None:
    """Put a file in its place in one step; on failure what was there stays.

    Parameters
    ----------
    path
        Its place, through links; a file that is there gives way and leaves its permissions.
    data
        Its content; text is written as UTF-8.

    Raises
    ------
    RunError
        If it cannot be written, for instance on a full disk.
    """
    with writing_whole(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def writing_whole(path: Path) -> Iterator[BinaryIO]:
    """Write a file bit by bit, and put it in its place in one step, or not at all.

    Parameters
    ----------
    path
        As for `write_whole`.

    Yields
    ------
    BinaryIO
        The file, to be written to.

    Raises
    ------
    RunError
        If it cannot be written, for instance on a full disk.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f"{_beginning(target)}{secrets.token_hex(8)}{TEMPORARY}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.copymode(target, temporary)
        temporary.replace(target)
    except BaseException as error:  # an interruption, too, leaves nothing half-written
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            reason = error.strerror or type(error).__name__
            text = one_line(f"{path}: cannot be written ({reason}); try another folder or disk")
            raise RunError(text) from error
        raise


def remove_leftovers(path: Path) -> None:
    """Remove what a killed process has left of writing a file; nobody may be writing it.

    Parameters
    ----------
    path
        The file's place, as for `write_whole`.
    """
    target = Path(os.path.realpath(path))
    for leftover in target.parent.glob(f"{_beginning(target)}*{TEMPORARY}"):
        with suppress(OSError):
            leftover.unlink()


def _beginning(target: Path) -> str:
    # Of fixed length, as adding to the target's name could make it too long.
    digest = hashlib.sha256(os.fsencode(target.name)).hexdigest()
    return f".guided-dip-{digest[:12]}-"


@contextmanager
def locked(folder: Path, doing: str, name: str = LOCK) -> Iterator[None]:
    """Keep other processes from doing the same; a killed one holds nothing back.

    Parameters
    ----------
    folder
        Where it is done.
    doing
        What only one may do at a time, such as ``"computing this study"``.
    name
        Of a file in the folder that is there for this alone.

    Raises
    ------
    InputError
        If another process is at it, or the folder cannot be written to.
    """
    from filelock import FileLock, Timeout

    # The same process may lock what it has locked already.
    lock = FileLock(folder / name, timeout=0, is_singleton=True)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{folder}: another call is {doing}; try again when it is done, or another folder"
        ) from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be written to ({error.strerror})") from None
    try:
        yield
    finally:
        lock.release()
