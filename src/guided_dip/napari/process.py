"""The process that restores, beside the viewer: ``python -m guided_dip.napari.process``.

A request is a line of JSON on stdin, what it says to it are lines of JSON on stdout, and pictures
are NumPy files. It ends with its stdin: no viewer, no process.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from guided_dip.restoration import Restoration
    from guided_dip.result import Record

OFTEN = 0.2  # seconds between two lines that say how it goes
LOOKS = 1.0  # seconds between two looks at the estimate, at least
SHARE = 0.1  # of the time that looking may take


class Talk:
    """Both ends of the line to the viewer.

    Parameters
    ----------
    heard, said
        Where requests come from, and where answers go.
    """

    def __init__(self, heard: IO[str], said: IO[str]) -> None:
        self.stop = threading.Event()
        self._said = said
        self._requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        threading.Thread(target=self._listen, args=(heard,), daemon=True).start()

    def say(self, what: str, **more: Any) -> None:
        """Say something."""
        self._said.write(json.dumps({"says": what, **more}) + "\n")
        self._said.flush()

    def next(self) -> dict[str, Any] | None:
        """Wait for a request; None if there will be none."""
        return self._requests.get()

    def _listen(self, heard: IO[str]) -> None:
        for line in heard:
            request = json.loads(line)
            if request.get("stop"):
                self.stop.set()
            else:
                self._requests.put(request)
        self._requests.put(None)
        self.gone()

    def gone(self) -> None:
        """End: the viewer has gone, or wants no more of what is being computed."""
        os._exit(0)


class Looks:
    """Shows the estimate now and then, for a small share of the time.

    Parameters
    ----------
    restoration
        What is under way.
    talk
        To whom it is shown.
    folder
        Where estimates are left for the viewer, which removes them.
    """

    def __init__(self, restoration: Restoration, talk: Talk, folder: Path) -> None:
        from guided_dip.restoration.pacing import Pacing

        self._restoration, self._talk, self._folder = restoration, talk, folder
        self._pacing = Pacing(restoration, every=LOOKS, share=SHARE, first=LOOKS)
        self._told = 0.0
        self._count = 0

    def step(self, record: Record) -> None:
        """Take notice of a step, and stop if that is asked for."""
        now = time.monotonic()
        steps = self._restoration.plan.steps
        if self._talk.stop.is_set():
            self._restoration.end_here()
            return
        if now - self._told >= OFTEN:
            self._told = now
            self._talk.say("step", step=record.step + 1, steps=steps, seconds=record.seconds)
        self._pacing.step(self._look)

    def _look(self) -> None:
        import numpy as np

        pixels = self._restoration.preview()
        if pixels is not None:
            self._count += 1
            path = self._folder / f"estimate-{self._count}.npy"
            np.save(path, pixels)
            self._talk.say("estimate", file=path.name)


def carry_out(request: dict[str, Any], talk: Talk) -> None:
    """Restore a picture.

    Parameters
    ----------
    request
        ``folder`` and ``image``, the name of a NumPy file in it; ``effort``; ``settings``;
        ``extremes``, if there are any, of all pictures that it belongs to.
    talk
        To whom it is told.
    """
    import numpy as np

    from guided_dip.config import make_config
    from guided_dip.napari.planes import white_of
    from guided_dip.restoration import prepare
    from guided_dip.white import Extremes

    folder = Path(request["folder"])
    image = np.load(folder / request["image"])
    config = make_config(request["settings"], preset=request["effort"])
    if config.white == "auto" and image.dtype.kind == "f":
        config = config.replace(white=white_of(image))
    extremes = request.get("extremes")
    known = None if extremes is None else Extremes(*extremes)
    restoration = prepare(image, config, extremes=known)
    noise = "" if restoration.noise is None else str(restoration.noise)
    talk.say("begins", steps=restoration.plan.steps, noise=noise)
    result = restoration.run(Looks(restoration, talk, folder).step)
    np.save(folder / request["result"], result.image)
    talk.say("done", file=request["result"], note=result.note, noise=noise)


def serve(talk: Talk) -> None:
    """Carry out requests until there are none.

    Parameters
    ----------
    talk
        From whom they come.
    """
    from guided_dip.errors import reason_of

    while (request := talk.next()) is not None:
        try:
            carry_out(request, talk)
        except Exception as error:
            talk.say("failed", message=reason_of(error))


def main() -> None:
    """Be the process. What libraries print on stdout goes to stderr."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as said:
        os.dup2(2, 1)
        serve(Talk(sys.stdin, said))


if __name__ == "__main__":
    main()
