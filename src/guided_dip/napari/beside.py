"""The process that restores, as the viewer sees it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided_dip.errors import RunError, reason_of
from guided_dip.napari.planes import Index, Planes, as_layer, extremes_in, restorable
from guided_dip.words import one_line

MODULE = "guided_dip.napari.process"
PATIENCE = 5.0  # seconds in which a process ends that is killed


@dataclass(frozen=True)
class Event:
    """Something that the process said.

    Attributes
    ----------
    says
        ``begins``, ``step``, ``estimate``, ``done`` or ``failed``.
    index
        Of the picture that it is about.
    picture
        An estimate, or the result; of the layer's type.
    more
        What else it said.
    """

    says: str
    index: Index
    picture: NDArray[Any] | None = None
    more: dict[str, Any] = field(default_factory=dict)


class Restorer:
    """Restores pictures of a layer, one after another, in a process of its own.

    Parameters
    ----------
    planes
        Where they are.
    indices
        Which of them.
    effort
        ``fast``, ``balanced`` or ``best``.
    settings
        Fields of `guided_dip.Config`.
    """

    def __init__(
        self, planes: Planes, indices: Sequence[Index], effort: str, settings: dict[str, Any]
    ) -> None:
        self.planes, self.indices = planes, indices
        self._request: dict[str, Any] = {"effort": effort, "settings": settings}
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        self._stopped = self._cancelled = False

    def events(self) -> Iterator[Event]:
        """Carry it out, and yield what is said of it; end early if it is stopped or cancelled.

        What goes wrong is said last, as ``failed`` with a ``message``: an exception in a thread of
        Qt's would be a warning on the console.
        """
        with tempfile.TemporaryDirectory(prefix="guided-dip-") as folder:
            index: Index = ()
            try:
                # All that are in memory, so that each has the white that all of them have.
                at_hand = isinstance(self.planes.array, np.ndarray)
                among = self.planes.indices() if at_hand else self.indices
                self._request["extremes"] = extremes_in(self.planes, among)
                for index in self.indices:
                    if not self._stopped and not self._cancelled:
                        yield from self._one(Path(folder), index)
            except Exception as error:
                yield Event("failed", index, more={"message": reason_of(error)})
            finally:
                self._end()

    def stop(self) -> None:
        """Have what is estimated now be the result; pictures not begun stay as they are."""
        self._stopped = True
        with self._lock:
            self._tell({"stop": True})

    def cancel(self) -> None:
        """End it; nothing comes of it."""
        with self._lock:
            self._cancelled = True
            if self._process is not None:
                self._process.kill()

    def _one(self, folder: Path, index: Index) -> Iterator[Event]:
        given = self.planes.picture(index)
        np.save(folder / "image.npy", restorable(given))
        names = {"folder": str(folder), "image": "image.npy", "result": "result.npy"}
        with self._lock:
            if self._cancelled:
                return
            process = self._process = self._process or _started(folder)
            self._tell(self._request | names)
            if self._stopped:
                self._tell({"stop": True})
        assert process.stdout is not None, "it is a pipe"
        for line in process.stdout:
            said = json.loads(line)
            says, picture = said.pop("says"), None
            if says == "failed":
                raise RunError(said["message"])
            if "file" in said:
                path = folder / said.pop("file")
                picture = as_layer(np.load(path), given.dtype)
                path.unlink()
            yield Event(says, index, picture, said)
            if says == "done":
                return
        if not self._cancelled:
            raise RunError(_last_words(process, folder))

    def _tell(self, request: dict[str, Any]) -> None:
        if self._process is not None and self._process.stdin is not None:
            with suppress(OSError):  # it has ended: its stdout says so
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()

    def _end(self) -> None:
        process = self._process
        if process is None:
            return
        process.kill()
        process.wait(PATIENCE)
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()


def _started(folder: Path) -> subprocess.Popen[str]:
    """Start the process, without what the folder it is started in may hold (``-P``)."""
    with (folder / "stderr").open("w", encoding="utf-8") as errors:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", MODULE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )


def _last_words(process: subprocess.Popen[str], folder: Path) -> str:
    """Say how a process ended that nobody ended."""
    code = process.wait(PATIENCE)
    said = (folder / "stderr").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    why = f": {one_line(said[-1])}" if said else "; it may have run out of memory"
    return f"the process that restores ended with code {code}{why}; try a smaller picture"
