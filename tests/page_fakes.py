"""A job manager for tests of the page: it fits nothing, and goes on by itself, with pictures."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import numpy as np
from PIL import Image

from guided_dip.images import read, to_float
from guided_dip.web.jobs import NewJob
from guided_dip.web.limits import Limits
from guided_dip.web.models import ENDED, Curve, JobOutcome, JobState, Progress
from guided_dip.web.page.aside import png
from web_fakes import FakeJobs

STEPS, STAGES = 60, 5


class RunningJobs(FakeJobs):
    """Jobs that take a while, each a thread; the restoration is the upload, smoothed.

    Parameters
    ----------
    pace
        Seconds between two previews, of which there are `STAGES`.
    """

    def __init__(self, folder: Path, limits: Limits | None = None, *, pace: float = 0.4) -> None:
        super().__init__(folder, limits)
        self.pace = pace
        self.ending = threading.Event()
        self.held = threading.Event()  # while it is set jobs stay where they are
        self.ends: dict[str, threading.Event] = {}

    def begin(self, new: NewJob, owner: str) -> JobState:
        state = super().begin(new, owner)
        folder = self.kept[state.id].folder
        for role, upload in new.files.items():
            if role != "image":
                shutil.move(upload.path, folder / role)
        self.ends[state.id] = threading.Event()
        self.update(
            state.id,
            command=f"guided-dip restore {state.name} -o {state.file_name}",
            python="from guided_dip import restore\nresult = restore(image)",
        )
        threading.Thread(target=self._run, args=(state.id,), daemon=True).start()
        return self.kept[state.id].state

    def stop(self, id: str, owner: str) -> JobState:
        state = super().stop(id, owner)
        self.ends[id].set()
        return state

    def cancel(self, id: str, owner: str) -> JobState:
        state = super().cancel(id, owner)
        self.ends[id].set()
        return state

    def curve(self, id: str, owner: str) -> Curve:
        kept = self.find(id, owner)
        steps = range(1, max(2, kept.state.progress.step))
        loss = tuple(0.05 * 0.93**step + 0.004 for step in steps)
        psnr = tuple(30 - 10 * 0.95**step for step in steps)
        has_clean = "clean" in kept.new.files
        return Curve(step=tuple(steps), loss=loss, psnr=psnr if has_clean else ())

    def _run(self, id: str) -> None:
        kept = self.kept[id]
        pixels = to_float(read(kept.views["result"], page=0).pixels)
        self._draw(id, "input", pixels)
        if "clean" in kept.new.files:
            clean = to_float(read(kept.folder / "clean", page=0).pixels)
            self._draw(id, "clean", clean)
        for stage in range(1, STAGES + 1):
            if self.ends[id].wait(self.pace) or self.ending.is_set():
                break
            self._draw(id, "preview", _smooth(pixels, STAGES + 1 - stage))
            self.update(id, status="running", place=None, progress=self._progress(kept, stage))
            while self.held.is_set() and not self.ends[id].wait(0.05):
                pass
        if kept.state.status not in ENDED and id in self.kept:
            self._finish(id, pixels)

    def _progress(self, kept, stage: int) -> Progress:
        share = stage / (STAGES + 1)
        return Progress(
            share=share,
            step=round(share * STEPS),
            steps=STEPS,
            stage=stage,
            stages=STAGES,
            loss=0.02 / stage,
            psnr=20 + 2 * stage if "clean" in kept.new.files else None,
            seconds=stage * self.pace,
            seconds_left=(STAGES + 1 - stage) * self.pace,
            preview=stage,
        )

    def _finish(self, id: str, pixels) -> None:
        kept = self.kept[id]
        restored = _smooth(pixels, 1)
        self._draw(id, "restored", restored)
        self._draw(id, "residual", 0.5 + 3 * (pixels - restored))
        self._draw(id, "spread", np.abs(pixels - restored) * 4)
        run = kept.folder / "run"
        run.mkdir()
        (run / "config.yaml").write_text("steps: 3\n")
        clean = "clean" in kept.new.files
        state = kept.state
        outcome = JobOutcome(
            width=state.width,
            height=state.height,
            channels=state.channels,
            pages=state.pages,
            format=kept.new.files["image"].format,
            media_type="image/png",
            bits=state.bits,
            seconds=3.2,
            noise="Gaussian noise, sigma 24.8 of 255, estimated",
            note="the picture is small: detail may be lost"
            if min(state.width, state.height) < 24
            else "",
            is_estimate=state.status == "stopping",
            psnr_before=20.17 if clean else None,
            psnr=29.41 if clean else None,
            views=("input", "result", "restored", "residual", "spread", *["clean"] * clean),
        )
        self.update(id, status="done", outcome=outcome, place=None)

    def _draw(self, id: str, view: str, pixels) -> None:
        kept = self.kept.get(id)
        if kept is None or not kept.folder.is_dir():
            return
        path = kept.folder / f"{view}.png"
        path.write_bytes(png(np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)))
        kept.views[view] = path


def _smooth(pixels, radius: int):
    from scipy.ndimage import uniform_filter

    size = (2 * radius + 1, 2 * radius + 1) + (1,) * (pixels.ndim - 2)
    return uniform_filter(pixels, size)


def tiff16(path: Path, shape=(32, 40), seed=0) -> None:
    """Write a grey TIFF of 16 bits."""
    import tifffile

    ramp = np.linspace(8000, 50000, shape[1])[None, :].repeat(shape[0], 0)
    noise = np.random.default_rng(seed).normal(0, 2500, shape)
    tifffile.imwrite(
        path, np.clip(ramp + noise, 0, 65535).astype(np.uint16), photometric="minisblack"
    )


def small_png(path: Path, side: int = 40, seed: int = 0) -> None:
    """Write a small noisy colour picture."""
    rows, columns = np.mgrid[:side, :side] / side
    clean = np.stack([rows, columns, 1 - rows], axis=2) * 200 + 30
    noisy = clean + np.random.default_rng(seed).normal(0, 20, clean.shape)
    Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path)
