"""A job manager that restores nothing, for tests of what stands before it."""

from __future__ import annotations

import io
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from guided_dip.batch.entries import Counts
from guided_dip.web.jobs import NewJob, NotReadyError, QueueFullError, UnknownJobError
from guided_dip.web.limits import Limits
from guided_dip.web.models import ENDED, Curve, JobOutcome, JobSettings, JobState, Progress, View


def png(size=(16, 16), seed=0) -> bytes:
    """Return a small picture."""
    data = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


@dataclass
class _Kept:
    state: JobState
    owner: str
    folder: Path
    new: NewJob
    views: dict[str, Path] = field(default_factory=dict)


class FakeJobs:
    """Jobs that go on only when `go_on` says so; the result of one is its own file."""

    def __init__(self, folder: Path, limits: Limits | None = None, *, runs: bool = False) -> None:
        self.limits = limits or Limits()
        self.folder = folder / "jobs"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.kept: dict[str, _Kept] = {}
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)
        self.heard: list[Callable[[str], None]] = []
        self.runs = runs  # jobs are done at once
        self.is_healthy = True
        self.broken = False

    def begin(self, new: NewJob, owner: str) -> JobState:
        with self.lock:
            if sum(k.state.status not in ENDED for k in self.kept.values()) >= self.limits.waiting:
                raise QueueFullError("the queue is full; try again later", 7)
            if self.broken:
                raise RuntimeError("a bug, with a path: /secret")
            id = secrets.token_hex(16)
            folder = self.folder / id
            folder.mkdir(mode=0o700)
            image = new.files["image"]
            place = folder / f"image.{image.format.lower()}"
            shutil.move(image.path, place)
            state = JobState(
                id=id,
                version=1,
                status="queued",
                name=image.name,
                file_name=f"{Path(image.name).stem or 'picture'}-restored{place.suffix}",
                created=time.time(),
                place=1,
                settings=new.settings,
                width=image.width,
                height=image.height,
                channels=image.channels,
                pages=image.pages,
                bits=image.bits,
            )
            self.kept[id] = _Kept(state, owner, folder, new, {"result": place})
        if self.runs:
            self.finish(id)
        return self.kept[id].state

    def update(self, id: str, **changes: object) -> JobState:
        with self.lock:
            kept = self.kept[id]
            kept.state = kept.state.model_copy(
                update={**changes, "version": kept.state.version + 1}
            )
            self.changed.notify_all()
            state, heard = kept.state, list(self.heard)
        for listener in heard:
            listener(id)
        return state

    def go_on(self, id: str, step: int) -> None:
        """Have a job come to a step of 100, with a preview."""
        with self.lock:
            kept = self.kept[id]
            preview = kept.folder / "preview.png"
            preview.write_bytes(png(seed=step))
            kept.views["preview"] = preview
        progress = Progress(share=step / 100, step=step, steps=100, preview=step)
        self.update(id, status="running", place=None, progress=progress, began=time.time())

    def finish(self, id: str) -> None:
        kept = self.kept[id]
        run = kept.folder / "run"
        (run / "pictures").mkdir(parents=True)
        (run / "config.yaml").write_text("steps: 3\n")
        (run / "pictures" / "spread.tif").write_bytes(b"II*\0" + bytes(100))
        state = kept.state
        outcome = JobOutcome(
            width=state.width,
            height=state.height,
            channels=state.channels,
            format="PNG",
            media_type="image/png",
            bits=state.bits,
            seconds=1.0,
            views=("result",),
        )
        self.update(id, status="done", outcome=outcome, ended=time.time(), place=None)

    def find(self, id: str, owner: str) -> _Kept:
        with self.lock:
            kept = self.kept.get(id)
            if kept is None or kept.owner != owner:
                raise UnknownJobError(id)
            return kept

    def state(self, id: str, owner: str) -> JobState:
        return self.find(id, owner).state

    def states(self, owner: str, limit: int = 100) -> list[JobState]:
        with self.lock:
            found = [k.state for k in self.kept.values() if k.owner == owner]
        return found[::-1][:limit]

    def wait(self, id: str, owner: str, version: int, seconds: float) -> JobState:
        with self.changed:
            self.changed.wait_for(lambda: self.state(id, owner).version > version, seconds)
        return self.state(id, owner)

    def listen(self, heard: Callable[[str], None]) -> Callable[[], None]:
        self.heard.append(heard)
        return lambda: self.heard.remove(heard)

    def stop(self, id: str, owner: str) -> JobState:
        self._check_going(id, owner)
        return self.update(id, status="stopping")

    def cancel(self, id: str, owner: str) -> JobState:
        self._check_going(id, owner)
        return self.update(id, status="cancelled", ended=time.time(), place=None)

    def _check_going(self, id: str, owner: str) -> None:
        if self.find(id, owner).state.status in ENDED:
            raise NotReadyError("the job has ended already")

    def remove(self, id: str, owner: str) -> None:
        with self.lock:
            kept = self.find(id, owner)
            shutil.rmtree(kept.folder)
            del self.kept[id]
            listeners = list(self.heard)
        for heard in listeners:
            heard(id)

    def view(self, id: str, owner: str, view: View) -> Path:
        kept = self.find(id, owner)
        if view == "result" and kept.state.status != "done":
            raise NotReadyError("there is no result yet; try again when the job is done")
        if view not in kept.views:
            raise NotReadyError(f"there is no {view} of this job, or not yet")
        return kept.views[view]

    def run_folder(self, id: str, owner: str) -> Path:
        kept = self.find(id, owner)
        if kept.state.status != "done":
            raise NotReadyError("there is no run yet; try again when the job is done")
        return kept.folder / "run"

    def curve(self, id: str, owner: str) -> Curve:
        self.find(id, owner)
        return Curve(step=(0, 1), loss=(0.5, 0.25))

    def counts(self) -> Counts:
        with self.lock:
            found = [k.state.status for k in self.kept.values()]
        running = found.count("running") + found.count("stopping")
        return Counts(found.count("queued"), running, found.count("done"), found.count("failed"))


def settings(**values: object) -> JobSettings:
    return JobSettings(**values)  # type: ignore[arg-type]
