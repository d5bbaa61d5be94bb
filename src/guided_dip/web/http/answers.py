"""Files and folders as answers: as they lie on the disk, and as a zip that is made as it goes."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import BinaryIO
from urllib.parse import quote

from anyio import CapacityLimiter, to_thread
from starlette.responses import Response

from guided_dip.images.formats import sniff
from guided_dip.web.jobs import NotReadyError
from guided_dip.web.problems import Receive, Scope, Send

BLOCK = 2**18  # bytes that are read at a time
TYPES = {
    "PNG": "image/png",
    "TIFF": "image/tiff",
    "JPEG": "image/jpeg",
    "WebP": "image/webp",
    "BMP": "image/bmp",
    "FITS": "image/fits",
}
_TEXTS = frozenset({".jsonl", ".json", ".yaml", ".txt", ".log", ".csv", ".html"})
_EARLIEST = (1980, 1, 1, 0, 0, 0)  # that a zip can hold


class FileAnswer(Response):
    """An open picture file, sent block by block.

    Parameters
    ----------
    file
        At its beginning; it is closed afterwards.
    headers
        Of the answer.
    limiter
        Of the threads that read.
    """

    def __init__(self, file: BinaryIO, headers: dict[str, str], limiter: CapacityLimiter) -> None:
        super().__init__(status_code=200, headers=headers)
        self._file = file
        self._limiter = limiter
        size = os.fstat(file.fileno()).st_size
        self.headers["content-length"] = str(size)
        self._left = size

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        del receive
        with self._file:
            await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            left = 0 if scope["method"] == "HEAD" else self._left
            while left > 0:
                block = await to_thread.run_sync(
                    self._file.read, min(BLOCK, left), limiter=self._limiter
                )
                if not block:
                    raise OSError("a file has become shorter while it was sent")
                left -= len(block)
                await send({"type": "http.response.body", "body": block, "more_body": left > 0})
            if not self._left or scope["method"] == "HEAD":
                await send({"type": "http.response.body", "body": b"", "more_body": False})


def open_picture(path: Path) -> tuple[BinaryIO, str, str]:
    """Open a picture file.

    Parameters
    ----------
    path
        Its place, no link.

    Returns
    -------
    file, media_type, etag
        The type by its content.

    Raises
    ------
    NotReadyError
        If it is not there, or no longer.
    """
    try:
        number = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | _BINARY)
    except OSError:
        raise NotReadyError("there is no such picture, or no longer; try the job again") from None
    file = os.fdopen(number, "rb", buffering=0)
    found = os.fstat(number)
    if not stat.S_ISREG(found.st_mode):
        file.close()
        raise NotReadyError("there is no such picture, or no longer; try the job again")
    form = sniff(file.read(16))
    file.seek(0)
    known = f"{path.parent.name}/{path.name}/{found.st_size}/{found.st_mtime_ns}/{found.st_ino}"
    etag = f'"{hashlib.sha256(known.encode()).hexdigest()[:32]}"'
    return file, TYPES.get(form or "", "application/octet-stream"), etag


def attachment(name: str) -> str:
    r"""Return a Content-Disposition that offers a file under a name (RFC 6266).

    >>> attachment('a"é.png')
    'attachment; filename="a__.png"; filename*=UTF-8\'\'a%22%C3%A9.png'
    """
    plain = "".join(c if c.isascii() and c.isprintable() and c not in '"\\%' else "_" for c in name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def zipped(folder: Path, root: str) -> Iterator[bytes]:
    """Yield a zip of the files in a folder and its folders, while it is made.

    Parameters
    ----------
    folder
        Links in it are left out, and whatever is no regular file.
    root
        Name of the folder that all are in.
    """
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", allowZip64=True) as archive:
        for path, place in _files(folder, PurePosixPath(root)):
            try:
                number = os.open(path, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | _BINARY)
            except OSError:
                continue  # it has gone meanwhile
            with os.fdopen(number, "rb") as file:
                found = os.fstat(number)
                with archive.open(_entry(place, found), "w", force_zip64=True) as entry:
                    while block := file.read(BLOCK):
                        entry.write(block)
                        yield sink.taken()
            yield sink.taken()
    yield sink.taken()


def _files(folder: Path, place: PurePosixPath) -> Iterator[tuple[str, PurePosixPath]]:
    try:
        with os.scandir(folder) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return
    for entry in found:
        if entry.is_file(follow_symlinks=False):
            yield entry.path, place / entry.name
        elif entry.is_dir(follow_symlinks=False):
            yield from _files(Path(entry.path), place / entry.name)


def _entry(place: PurePosixPath, found: os.stat_result) -> zipfile.ZipInfo:
    changed = time.localtime(found.st_mtime)[:6]
    entry = zipfile.ZipInfo(str(place), max(_EARLIEST, changed))
    entry.external_attr = 0o644 << 16
    if place.suffix in _TEXTS:  # pictures are compressed already
        entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


class _Sink(io.RawIOBase):
    """Takes what is written, and gives it away."""

    def __init__(self) -> None:
        self._blocks: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        block = bytes(data)  # type: ignore[call-overload]
        self._blocks.append(block)
        return len(block)

    def taken(self) -> bytes:
        blocks, self._blocks = self._blocks, []
        return b"".join(blocks)


_BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
