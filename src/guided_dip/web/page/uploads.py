"""What users have uploaded to the page and may still start jobs with."""

from __future__ import annotations

import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from guided_dip.errors import InputError
from guided_dip.web.jobs import Upload
from guided_dip.web.limits import Limits
from guided_dip.web.page.aside import draw_view

Look = Callable[[Path, str], Upload]

KEPT = 3600.0  # seconds that an upload is kept
EACH, ALL = 16, 128  # uploads of one user, and of all
# What every browser shows by itself; of others a view is drawn.
SHOWN_BY_BROWSERS = frozenset({"PNG", "JPEG", "WebP", "BMP"})


class Kept(BaseModel):
    """An upload as the page knows it.

    Attributes
    ----------
    token
        32 hexadecimal digits, by which only its owner can use it.
    name, format, width, height, channels, pages, bits
        As for `Upload`.
    view
        URL of a picture of it; None where the browser has the file itself and can show it.
    """

    model_config = ConfigDict(frozen=True)

    token: str
    name: str
    format: str
    width: int
    height: int
    channels: int
    pages: int
    bits: int
    view: str | None = None


@dataclass(frozen=True)
class _Item:
    owner: str
    upload: Upload
    view: Path | None
    since: float

    def remove(self) -> None:
        for path in (self.upload.path, self.view):
            if path is not None:
                path.unlink(missing_ok=True)


class Uploads:
    """Files of users, each known by a token that nobody else can guess or use.

    Parameters
    ----------
    folder
        Its own; made if it is not there, and emptied.
    look
        Checks a file; it decodes in another process.
    limits
        What anyone may ask for.
    """

    def __init__(self, folder: Path, look: Look, limits: Limits) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(mode=0o700, parents=True)
        self.limits = limits
        self._folder = folder
        self._look = look
        self._items: dict[str, _Item] = {}
        self._lock = threading.Lock()

    @contextmanager
    def arriving(self) -> Iterator[Path]:
        """Give a place for a file that arrives; whatever is left there goes."""
        path = self._place()
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)

    def keep(self, path: Path, name: str, owner: str) -> Kept:
        """Check a file that has arrived and keep it.

        Parameters
        ----------
        path
            From `arriving`.
        name
            That its user gave it.
        owner
            Its user.

        Raises
        ------
        InputError
            If it is no picture, or beyond the limits.
        ProblemError
            If it cannot be looked at at present.
        """
        upload = self._look(path, name)
        view: Path | None = None
        if upload.format not in SHOWN_BY_BROWSERS:
            view = self._place().with_suffix(".png")
            draw_view(upload.path, view, self.limits.pixels)
        return self._keep(upload, view, owner)

    def keep_own(self, data: bytes, name: str, shape: tuple[int, ...], owner: str) -> Kept:
        """Keep a picture of our own for a user, an example: it is not looked at.

        Parameters
        ----------
        data
            A PNG of 8 bits.
        name
            For people.
        shape
            Of its pixels, (H, W) or (H, W, 3).
        owner
            The user.
        """
        path, view = self._place(), self._place().with_suffix(".png")
        path.write_bytes(data)
        view.write_bytes(data)
        channels = 1 if len(shape) == 2 else shape[2]
        return self._keep(Upload(path, name, "PNG", shape[1], shape[0], channels), view, owner)

    def _keep(self, upload: Upload, view: Path | None, owner: str) -> Kept:
        stored = self._place()
        upload.path.replace(stored)
        token = secrets.token_hex(16)
        item = _Item(owner, replace(upload, path=stored), view, time.monotonic())
        with self._lock:
            self._items[token] = item
            dropped = self._drop_old(owner)
        for old in dropped:
            old.remove()
        return _kept(token, item)

    def copy(self, token: str, owner: str) -> Upload:
        """Return an upload for a job, which has a file of its own of it.

        Raises
        ------
        InputError
            If there is none of the owner by that token (any more).
        """
        item = self._item(token, owner)
        path = self._place()
        try:
            shutil.copyfile(item.upload.path, path)
        except OSError:
            path.unlink(missing_ok=True)
            raise InputError("the picture cannot be stored at present; try again later") from None
        return replace(item.upload, path=path)

    def view(self, token: str, owner: str) -> Path | None:
        """Return the file that shows an upload, a PNG; None if there is none of the owner."""
        with suppress(InputError):
            return self._item(token, owner).view
        return None

    def clear(self) -> None:
        """Remove everything."""
        with self._lock:
            items, self._items = list(self._items.values()), {}
        for item in items:
            item.remove()

    def _place(self) -> Path:
        return self._folder / secrets.token_hex(16)

    def _item(self, token: str, owner: str) -> _Item:
        with self._lock:
            item = self._items.get(token)
        if item is None or item.owner != owner:
            raise InputError("the picture is no longer kept here; drop it again")
        return item

    def _drop_old(self, owner: str) -> list[_Item]:
        """Forget what is too old, or too much; return it."""
        now = time.monotonic()
        old = [token for token, item in self._items.items() if now - item.since > KEPT]
        own = [token for token, item in self._items.items() if item.owner == owner]
        old += own[: max(0, len(own) - EACH)]
        old += list(self._items)[: max(0, len(self._items) - ALL)]
        return [self._items.pop(token) for token in dict.fromkeys(old)]


def _kept(token: str, item: _Item) -> Kept:
    upload = item.upload
    return Kept(
        token=token,
        name=upload.name,
        format=upload.format,
        width=upload.width,
        height=upload.height,
        channels=upload.channels,
        pages=upload.pages,
        bits=upload.bits,
        view=None if item.view is None else f"page/uploads/{token}/view.png",
    )
