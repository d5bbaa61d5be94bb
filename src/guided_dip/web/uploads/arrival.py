"""Uploads arrive: a form of several parts is read as it comes, its files into a spool.

Nothing that a request says names a file here, and nothing of it is kept in memory but short fields.
The whole request is bounded by `bodies`; here the number of its parts, their headers and fields.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email.message import Message
from email.utils import collapse_rfc2231_value
from pathlib import Path
from typing import BinaryIO, cast

import anyio
from anyio import CapacityLimiter, to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser
from starlette.requests import ClientDisconnect, Request

from guided_dip.errors import InputError, quoted
from guided_dip.web.jobs import NewJob, Role, Upload
from guided_dip.web.problems import ProblemError, problem_of
from guided_dip.web.uploads.form import (
    CONFIG,
    CONFIG_BYTES,
    FIELD_BYTES,
    ROLES,
    TEXTS,
    WORD_BYTES,
    check_name,
    settings_of,
)
from guided_dip.web.uploads.probe import Checker

FOLDER = "arriving"  # in the data folder
PARTS = 40
AT_ONCE = 16  # uploads
PATIENCE = 10.0  # seconds for one of them to be through
_BLOCK = 2**20  # bytes that are written at a time


@dataclass
class _Part:
    """A part of a form, as far as it has come."""

    headers: dict[str, str] = field(default_factory=dict)
    name: str = ""
    file_name: str | None = None
    content: bytearray = field(default_factory=bytearray)
    size: int = 0
    file: BinaryIO | None = None

    @property
    def is_file(self) -> bool:
        """Whether it is a picture; a kernel is one, or words."""
        return self.name in ROLES and (self.name not in TEXTS or self.file_name is not None)


@dataclass
class _Form:
    """What a form has brought."""

    fields: dict[str, str] = field(default_factory=dict)
    files: dict[Role, tuple[Path, str]] = field(default_factory=dict)
    config: bytes | None = None


class Spool:
    """Where uploads are until they are a job's; a folder of the server's own.

    Parameters
    ----------
    folder
        Its place; what an earlier server has left there is removed.
    checker
        Looks at what has come.
    """

    def __init__(self, folder: Path, checker: Checker) -> None:
        self._folder = folder
        self._checker = checker
        self._uploads = CapacityLimiter(AT_ONCE)
        self._threads = CapacityLimiter(AT_ONCE)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    @asynccontextmanager
    async def new_job(self, request: Request) -> AsyncIterator[NewJob]:
        """Read a request that is a form; what nobody has moved away is removed afterwards.

        Parameters
        ----------
        request
            Its body has not been read.

        Raises
        ------
        ProblemError
            If it is not usable.
        """
        boundary = _boundary(request.headers.get("content-type", ""))
        with anyio.move_on_after(PATIENCE) as wait:
            await self._uploads.acquire_on_behalf_of(request)
        if wait.cancelled_caught:
            raise ProblemError(
                429, "too many uploads at a time; try again soon", retry_after=10, linger=True
            )
        place = self._folder / secrets.token_hex(16)
        try:
            place.mkdir(mode=0o700)
            form = await self._read(request, boundary, place)
            yield await to_thread.run_sync(self._looked_at, form, limiter=self._threads)
        except OSError as error:
            raise ProblemError(
                503, f"the upload cannot be kept ({error.strerror})", retry_after=60, linger=True
            ) from error
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(_remove, place, limiter=self._threads)
            self._uploads.release_on_behalf_of(request)

    async def _read(self, request: Request, boundary: bytes, place: Path) -> _Form:
        reader = _Reader(boundary, place)
        try:
            async for block in request.stream():
                # Not in the loop's own thread: a slow disk would hold everyone up.
                await to_thread.run_sync(reader.feed, block, limiter=self._threads)
            return reader.finish()
        except ClientDisconnect:
            raise ProblemError(400, "the upload was broken off") from None
        except FormParserError as error:
            raise ProblemError(400, f"the form is damaged ({error})", linger=True) from None
        except InputError as error:
            problem = problem_of(error)
            problem.linger = True
            raise problem from None
        finally:
            reader.close()

    def _looked_at(self, form: _Form) -> NewJob:
        settings = settings_of(form.fields, form.config)
        if "image" not in form.files:
            raise InputError("there is no image; try a file in the field 'image'")
        files: dict[Role, Upload] = {
            role: self._checker.look(path, name) for role, (path, name) in form.files.items()
        }
        return NewJob(files, settings)


class _Reader:
    """Takes a form apart as it comes.

    Parameters
    ----------
    boundary
        Between its parts.
    place
        Folder for its files.
    """

    def __init__(self, boundary: bytes, place: Path) -> None:
        self._place = place
        self._form = _Form()
        self._part = _Part()
        self._parts = 0
        self._names: set[str] = set()
        self._header, self._value = bytearray(), bytearray()
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begins,
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._header_ends,
                "on_headers_finished": self._headers_end,
                "on_part_data": self._data,
                "on_part_end": self._part_ends,
                "on_end": self._end,
            },
        )

    def feed(self, block: bytes) -> None:
        """Take the next bytes."""
        if block:
            self._parser.write(block)

    def finish(self) -> _Form:
        """Return what has come, all of which has."""
        if not self._ended:
            raise FormParserError("it is cut off")
        return self._form

    def close(self) -> None:
        """Close the file that is being written."""
        if self._part.file is not None:
            with suppress(OSError):
                self._part.file.close()

    def _part_begins(self) -> None:
        self._parts += 1
        if self._parts > PARTS:
            raise InputError(f"the form has more than {PARTS} parts; try each field once")
        self._part = _Part()

    def _header_ends(self) -> None:
        name = bytes(self._header).decode("latin-1").lower()
        self._part.headers[name] = bytes(self._value).decode("utf-8", "replace")
        self._header.clear()
        self._value.clear()

    def _headers_end(self) -> None:
        part = self._part
        part.name, part.file_name = _named(part.headers.get("content-disposition", ""))
        check_name(part.name)
        if part.name in self._names:
            raise InputError(f"{part.name}: given twice; try giving it once")
        self._names.add(part.name)

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        part.size += end - start
        part.content += data[start:end]
        if part.is_file:
            if len(part.content) >= _BLOCK:
                self._flush()
            return
        limit = {CONFIG: CONFIG_BYTES, "settings": FIELD_BYTES}.get(part.name, WORD_BYTES)
        if part.size > limit:
            raise InputError(f"{part.name}: is longer than {limit} bytes; try fewer words")

    def _flush(self) -> None:
        part = self._part
        if part.file is None:
            part.file = (self._place / part.name).open("xb")
        part.file.write(part.content)
        part.content.clear()

    def _part_ends(self) -> None:
        part = self._part
        if part.name == CONFIG:
            if part.size:
                self._form.config = bytes(part.content)
        elif part.is_file:
            self._file_ends(part)
        else:
            try:
                self._form.fields[part.name] = bytes(part.content).decode()
            except UnicodeDecodeError:
                raise InputError(f"{part.name}: is no text in UTF-8; try other letters") from None
        self._part = _Part()

    def _file_ends(self, part: _Part) -> None:
        if not part.size and not part.file_name:
            return  # a browser's way to say that no file was chosen
        self._flush()
        self.close()
        role = cast(Role, part.name)
        self._form.files[role] = (self._place / role, part.file_name or role)

    def _end(self) -> None:
        self._ended = True


def _boundary(content_type: str) -> bytes:
    kind, options = _parsed(content_type)
    boundary = options.get("boundary", "")
    if kind != "multipart/form-data":
        raise ProblemError(
            415, "a job is sent as multipart/form-data; try curl -F image=@FILE", linger=True
        )
    if not 0 < len(boundary) <= 200 or not boundary.isascii() or not boundary.isprintable():
        raise ProblemError(400, "the form has no usable boundary; try another client", linger=True)
    return boundary.encode()


def _named(disposition: str) -> tuple[str, str | None]:
    """Return the name of a part, and of its file if it is one."""
    kind, options = _parsed(disposition)
    if kind != "form-data" or "name" not in options:
        raise InputError(f"a part of the form has no name ({quoted(disposition[:60])})")
    return options["name"], options.get("filename")


def _parsed(value: str) -> tuple[str, dict[str, str]]:
    """Take a header of one word and options apart (RFC 6266, RFC 7578)."""
    message = Message()
    # What would break the line has no place in a header, and email is kind to it.
    message["content-type"] = re.sub(r"[\r\n\0]", " ", value)
    found = message.get_params(failobj=[("", "")], unquote=True)
    options: dict[str, str] = {}
    for key, text in found[1:]:
        # An extended one (filename*=) is a tuple of charset, language and text.
        options.setdefault(key.lower(), collapse_rfc2231_value(text))
    return found[0][0].lower().strip(), options


def _remove(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
