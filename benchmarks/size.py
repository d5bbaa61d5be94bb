"""Time and memory against the size of the picture, from 64x64 pixels to 12 megapixels.

    python benchmarks/size.py [-o size.jsonl] [--plot size.png] [--efforts fast,balanced]
                              [--sides 64,128,...,3464] [--threads 2] [--max-memory 3GiB]
    python benchmarks/size.py --bytes          # what a pixel takes, for `guided_dip.sizing`

Each size is a process of its own, on a square picture of scikit-image's astronaut and its mirror
images with noise of sigma 25. It times a few steps of each kind and an output, from which
`Restoration.pace` foretells the time of the whole run, and then carries out a run of 8 steps with
all that follows them but 14 of 16 final outputs, whose peak memory is counted. A JSON line a size.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDES = (64, 128, 256, 512, 724, 1000, 1448, 2048, 3464)
STEPS = 8  # that are carried out to count the memory


@dataclass(frozen=True)
class Row:
    """One size: seconds foretold of a run on this machine as busy as it was, MiB at the peak."""

    pixels: int
    effort: str
    threads: int
    precision: str
    steps: int
    patch: int
    on_squares: int
    tile: int
    prepare_seconds: float
    step_seconds: float
    foretold_seconds: float
    peak_mebibytes: int | None


def picture(side: int) -> NDArray[np.float32]:
    """Return a picture of this side: the astronaut, mirrored again and again."""
    from skimage import data

    part = data.astronaut().astype(np.float32) / 255
    extra = max(0, side - len(part))
    return np.pad(part, ((0, extra), (0, extra), (0, 0)), mode="symmetric")[:side, :side]


def measure(side: int, effort: str, threads: int, max_memory: str | None) -> Row:
    """Measure one size in this process."""
    from guided_dip.config import make_config
    from guided_dip.noise import add_gaussian_noise
    from guided_dip.restoration import prepare

    noisy = add_gaussian_noise(picture(side), 25 / 255, seed=0).astype(np.float32)
    config = make_config({"effort": effort, "threads": threads, "max_memory": max_memory})
    began = time.perf_counter()
    restoration = prepare(noisy, config)
    prepared = time.perf_counter() - began
    step, around = restoration.pace()
    c, steps, stages = restoration.config, restoration.plan.steps, restoration.plan.stages
    del restoration
    short = prepare(noisy, c.replace(steps=STEPS, restarts=1, final_draws=2))
    result = short.run()
    return Row(
        pixels=side * side,
        effort=effort,
        threads=threads,
        precision=c.precision,
        steps=steps,
        patch=c.patch or 0,
        on_squares=sum(stage.patch is not None for stage in stages),
        tile=c.tile or 0,
        prepare_seconds=round(prepared, 3),
        step_seconds=round(step, 5),
        foretold_seconds=round(prepared + step * steps + around, 1),
        peak_mebibytes=result.peak_memory,
    )


def measure_bytes() -> None:
    """Print the bytes a pixel and channel that a step and an output of the network take."""
    import torch
    from torch.nn import functional as F

    from guided_dip.backbones.normfree import NormFree
    from guided_dip.engine import Engine
    from guided_dip.memory import forget_peak, peak_memory
    from guided_dip.optimizers import make_optimizers

    width, side, precision, kind = int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5]
    network = Engine(NormFree(width=width), torch.device("cpu"), precision)
    optimizers = make_optimizers(
        network, "muon", learning_rate=1e-4, weight_decay=0.01, muon_learning_rate=1e-4
    )

    def take(y: Any) -> None:
        with torch.set_grad_enabled(kind == "step"):
            output = network(y)
        if kind == "step":
            F.mse_loss(output, y).backward()  # type: ignore[no-untyped-call]
            for optimizer in optimizers:
                optimizer.step()

    take(torch.rand(1, 3, 64, 64))
    y = torch.rand(1, 3, side, side)
    forget_peak()
    before = peak_memory() or 0
    for _ in range(3):
        take(y)
    grown = ((peak_memory() or 0) - before) * 2**20
    row = {"kind": kind, "precision": precision, "width": width, "side": side}
    print(json.dumps(row | {"bytes_a_pixel_and_channel": round(grown / side**2 / width, 1)}))


def all_bytes() -> None:
    """Measure them in processes of their own."""
    for precision in ("bfloat16", "float32"):
        for kind in ("step", "output"):
            for width in (32, 48):
                for side in (256, 512):
                    given = ["--bytes-of", str(width), str(side), precision, kind]
                    subprocess.run([sys.executable, __file__, *given], check=True)


def plot(rows: list[Row], path: Path) -> None:
    """Draw foretold time and peak memory against the number of pixels."""
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    colours = ("#1f4e79", "#c8553d", "#4f86b5")

    def draw(axes: Axes, name: str, scale: float, label: str) -> None:
        for colour, effort in zip(colours, dict.fromkeys(row.effort for row in rows), strict=False):
            own = [row for row in rows if row.effort == effort and getattr(row, name) is not None]
            values = [getattr(row, name) * scale for row in own]
            axes.plot([row.pixels / 1e6 for row in own], values, "o-", color=colour, label=effort)
        axes.set_xscale("log")
        axes.set_xlabel("megapixels")
        axes.set_ylabel(label)
        axes.grid(color="#b9c0c7", linewidth=0.4)
        axes.legend(frameon=False)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)

    draw(left, "foretold_seconds", 1 / 60, f"minutes, foretold, {rows[0].threads} threads")
    left.set_yscale("log")
    draw(right, "peak_mebibytes", 1 / 1024, "peak memory (GiB)")
    right.set_ylim(bottom=0)
    figure.savefig(path, dpi=130)


def main() -> None:
    """Measure every size, print its line, and draw the chart."""
    if sys.argv[1:2] == ["--bytes"]:
        return all_bytes()
    if sys.argv[1:2] == ["--bytes-of"]:
        return measure_bytes()
    parser = argparse.ArgumentParser(description="Time and memory against size.")
    parser.add_argument("-o", "--output", type=Path, help="file for the JSON lines, too")
    parser.add_argument("--plot", type=Path, help="file for the chart")
    parser.add_argument("--efforts", default="fast,balanced")
    parser.add_argument("--sides", default=",".join(map(str, SIDES)))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-memory")
    parser.add_argument("--one", action="store_true", help="in this process")
    given = parser.parse_args()
    rows = []
    for effort in given.efforts.split(","):
        for side in map(int, given.sides.split(",")):
            if given.one:
                print(json.dumps(asdict(measure(side, effort, given.threads, given.max_memory))))
                continue
            command = [sys.executable, __file__, "--one", "--efforts", effort]
            command += ["--sides", str(side), "--threads", str(given.threads)]
            command += ["--max-memory", given.max_memory] if given.max_memory else []
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            print(done.stdout, end="", flush=True)
            rows.append(Row(**json.loads(done.stdout)))
    if given.output and rows:
        given.output.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))
    if given.plot and rows:
        plot(rows, given.plot)
    return None


if __name__ == "__main__":
    main()
