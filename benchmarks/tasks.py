"""Tasks other than denoising on folders of pictures, beside plain DIP and simple methods.

    python benchmarks/tasks.py inpaint 0.5 FILE|FOLDER... --methods balanced dip
    python benchmarks/tasks.py super-resolve 4 FILE|FOLDER... --methods fast
    python benchmarks/tasks.py deblur gaussian:2.0 FILE|FOLDER...    # or motion:15,30
    python benchmarks/tasks.py dejpeg 10 FILE|FOLDER...
    python benchmarks/tasks.py --table                               # of what is recorded

Each run adds a line to benchmarks/tasks.jsonl and is not repeated; delete a line to run it again.
One seed; nothing is tuned to a picture. PSNR is of what the program gives at its end, clipped to
[0, 1]; the best step of a run is an oracle's figure, picked with the clean picture in hand.

*inpaint* SHARE: gray (Pillow's), that share of the pixels missing, drawn by
``numpy.random.default_rng(0)`` for each picture. *super-resolve* SCALE: luma (BT.601, 16 to 235 of
255), cropped around its middle to multiples of 32, made smaller by Pillow's Lanczos filter, not
rounded; PSNR without a border of 4 pixels. *deblur* KERNEL: half as large (means of 2 x 2), blurred
without an assumption at the frame, which is cut off, noise of 2 of 255, which is told; not rounded.
*dejpeg* QUALITY: saved by Pillow, colour at half size as is its habit.

Simple methods: biharmonic inpainting of scikit-image; Pillow's bicubic; Wiener and Richardson-Lucy
of scikit-image on the picture reflected at its frame, each at the setting of the grid that is best
on the mean, which is an oracle's choice; the JPEG as it is. DIP is its paper's network for
denoising, in the number of steps of `DIP`.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from skimage import restoration

from guided_dip import restore
from guided_dip.jpeg import read_tables
from guided_dip.metrics import psnr
from guided_dip.operators import Blur, Downsample, enlarged, parse_kernel

RECORDS = Path(__file__).with_suffix(".jsonl")
BORDER, MULTIPLE = 4, 32
LUMA = np.array([65.481, 128.553, 24.966]) / 255
SIGMA = 2
MARGIN = 32  # pixels of reflection around what scikit-image deblurs
WIENER = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)
RICHARDSON_LUCY = (5, 10, 15, 20, 30, 50, 80)
DIP = {"inpaint": 3000, "super-resolve": 2000, "deblur": 2000, "dejpeg": 2400}
EFFORTS = ("fast", "balanced", "best")
Floats = NDArray[np.floating[Any]]
Record = dict[str, Any]


@dataclass(frozen=True)
class Case:
    """A picture that something was done to.

    Attributes
    ----------
    given
        What is to be restored.
    clean
        The picture itself.
    known
        What `restore` is told.
    dip
        What plain DIP is told.
    simple
        Other methods, by name.
    border
        Pixels that are left out of the comparison.
    """

    given: NDArray[Any]
    clean: Floats
    known: dict[str, Any]
    dip: dict[str, Any]
    simple: dict[str, Callable[[], Floats]] = field(default_factory=dict)
    border: int = 0

    def psnr(self, image: NDArray[Any]) -> float:
        """Compare a restoration with the picture."""
        if image.dtype == np.uint8:
            image = image / 255
        inner = slice(self.border, -self.border or None)
        both = (part.clip(0, 1)[inner, inner] for part in (image, self.clean))
        return float(psnr(*both, data_range=1.0))


def inpaint(path: Path, share: str) -> Case:
    """Leave out pixels at random."""
    clean = np.asarray(Image.open(path).convert("L"), np.float32) / 255
    missing = np.random.default_rng(0).random(clean.shape) < float(share)
    known = {"mask": missing}

    def biharmonic() -> Floats:
        filled: Any = restoration.inpaint_biharmonic
        result: Floats = filled(given, missing)
        return result

    given = np.where(missing, np.float32(0), clean)
    return Case(given, clean, known, known, {"biharmonic": biharmonic})


def super_resolve(path: Path, scale: str) -> Case:
    """Make the luma of a picture smaller."""
    rgb = np.asarray(Image.open(path).convert("RGB"), np.float64) / 255
    whole = 16 / 255 + rgb @ LUMA
    top, left = ((side % MULTIPLE) // 2 for side in whole.shape)
    height, width = (side - side % MULTIPLE for side in whole.shape)
    clean = whole[top : top + height, left : left + width]
    y = Downsample(int(scale), "lanczos")(torch.from_numpy(clean)[None, None])
    given = y[0, 0].numpy().astype(np.float32)
    known = {"task": "super-resolve", "enlarge": int(scale)}

    def bicubic() -> Floats:
        return enlarged(y, int(scale))[0, 0].numpy()

    return Case(given, clean.astype(np.float32), known, known, {"bicubic": bicubic}, BORDER)


def deblur(path: Path, kernel: str) -> Case:
    """Blur a picture of half the size, and add noise."""
    rgb = np.asarray(Image.open(path).convert("RGB"), np.float64) / 255
    height, width = (side // 2 for side in rgb.shape[:2])
    half = rgb[: 2 * height, : 2 * width].reshape(height, 2, width, 2, 3).mean((1, 3))
    array = parse_kernel(kernel)
    blur = Blur(array)
    down, across = blur.reach
    y = blur(torch.from_numpy(half).permute(2, 0, 1)[None])[0].permute(1, 2, 0).numpy()
    noise = np.random.default_rng(0).standard_normal(y.shape) * SIGMA / 255
    given = (y + noise).astype(np.float32)
    clean = half[down : height - down, across : width - across].astype(np.float32)
    margin = max(MARGIN, down, across)
    wide = np.pad(given.astype(np.float64), ((margin, margin), (margin, margin), (0, 0)), "reflect")

    def by(method: Callable[[Floats], Floats]) -> Callable[[], Floats]:
        def channels() -> Floats:
            parts = [method(wide[..., k])[margin:-margin, margin:-margin] for k in range(3)]
            return np.stack(parts, 2)

        return channels

    def wiener(balance: float) -> Callable[[Floats], Floats]:
        undo: Any = restoration.wiener
        return lambda channel: undo(channel, array, balance, clip=False)

    def richardson_lucy(rounds: int) -> Callable[[Floats], Floats]:
        undo: Any = restoration.richardson_lucy
        # Its pictures have no negative values.
        return lambda channel: undo(channel.clip(0), array, num_iter=rounds, clip=False)

    simple = {f"wiener {value:g}": by(wiener(value)) for value in WIENER}
    simple |= {f"richardson-lucy {value}": by(richardson_lucy(value)) for value in RICHARDSON_LUCY}
    known = {"kernel": kernel, "noise": f"gaussian:{SIGMA}"}
    return Case(given, clean, known, known, {"as it is": lambda: given} | simple)


def dejpeg(path: Path, quality: str) -> Case:
    """Save a picture as a JPEG."""
    original = Image.open(path).convert("RGB")
    file = io.BytesIO()
    original.save(file, "JPEG", quality=int(quality))
    image = Image.open(file)
    given = np.asarray(image)
    known = {"task": "dejpeg", "tables": read_tables(image)}
    clean = np.asarray(original, np.float32) / 255
    return Case(given, clean, known, {}, {"as it is": lambda: given / 255})


TASKS: dict[str, Callable[[Path, str], Case]] = {
    "inpaint": inpaint,
    "super-resolve": super_resolve,
    "deblur": deblur,
    "dejpeg": dejpeg,
}


def name_of(path: Path) -> str:
    """Return the name of a picture in the records."""
    return f"{path.resolve().parent.name}/{path.stem}"


def run(task: str, option: str, path: Path, method: str) -> Iterator[Record]:
    """Restore a picture by a method, or by all simple ones, and say how close it came."""
    case = TASKS[task](path, option)
    which = {"task": task, "option": option, "picture": name_of(path)}
    if method == "simple":
        for name, function in case.simple.items():
            yield {**which, "method": name, "psnr": round(case.psnr(function()), 3)}
        return
    began = time.perf_counter()
    told = {"effort": method, **case.known}
    if method == "dip":
        told = {"supervision": "observation", "steps": DIP[task], **case.dip}
    clean: NDArray[Any] = case.clean
    if case.given.dtype == np.uint8:
        clean = np.rint(clean * 255).astype(np.uint8)
    result = restore(case.given, clean=clean, **told)
    assert result.scores is not None, "it was given the clean picture"
    steps = [record.psnr for record in result.records if record.psnr is not None]
    best = max(steps, default=0.0)
    if not steps:  # they show no part of the picture; what eight estimates on the way are worth
        shown = [case.psnr(pixels.reshape(case.clean.shape)) for _, pixels in result.snapshots]
        best = result.scores.psnr + max(shown) - case.psnr(result.image)
    yield {
        **which,
        "method": method,
        "psnr": round(case.psnr(result.image), 3),
        "whole": round(result.scores.psnr, 3),
        "best_step": round(best, 3),
        "steps": result.config.steps,
        "device": result.config.device,
        "precision": result.config.precision,
        "seconds": round(time.perf_counter() - began, 1),
    }


def load(*benchmark: str) -> list[Record]:
    """Return what is recorded, of a task and its option if they are given."""
    lines = RECORDS.read_text().splitlines() if RECORDS.exists() else []
    records = [json.loads(line) for line in lines]
    return [r for r in records if not benchmark or (r["task"], r["option"]) == benchmark]


def columns_of(found: dict[str, dict[str, Record]]) -> dict[str, dict[str, float]]:
    """Lay out the runs of a benchmark: titles, and a number for each picture."""
    columns: dict[str, dict[str, float]] = {}
    grids: dict[str, list[str]] = defaultdict(list)
    for method in found:
        grids[re.sub(r" [\d.e-]+$", "", method)].append(method)
    for name, methods in grids.items():
        full = max(len(found[method]) for method in methods)
        whole = [method for method in methods if len(found[method]) == full]
        best = max(whole, key=lambda m: np.mean([r["psnr"] for r in found[m].values()]))
        columns[best] = {picture: record["psnr"] for picture, record in found[best].items()}
        if name == "dip" or name in EFFORTS:
            columns[f"{name}'s best step"] = {
                # The restoration is one output more than the steps have.
                picture: record["psnr"] + max(0, record["best_step"] - record["whole"])
                for picture, record in found[name].items()
                if "best_step" in record
            }
    return columns


def table(records: list[Record]) -> str:
    """Lay the benchmarks out as Markdown, a row a picture, and the means of full columns."""
    benchmarks: dict[tuple[str, str], dict[str, dict[str, Record]]] = defaultdict(dict)
    for record in records:
        methods = benchmarks[record["task"], record["option"]]
        methods.setdefault(record["method"], {})[record["picture"]] = record
    parts = []
    for (task, option), found in sorted(benchmarks.items()):
        columns = columns_of(found)
        pictures = sorted({picture for column in columns.values() for picture in column})
        rows = [f"| {task} {option} | " + " | ".join(columns) + " |"]
        rows.append("|---" * (len(columns) + 1) + "|")
        for picture in pictures:
            cells = (
                f"{column[picture]:.2f}" if picture in column else "" for column in columns.values()
            )
            rows.append(f"| {picture} | " + " | ".join(cells) + " |")
        means = (
            f"**{np.mean(list(column.values())):.2f}**" if len(column) == len(pictures) else ""
            for column in columns.values()
        )
        rows.append(f"| **mean of {len(pictures)}** | {' | '.join(means)} |")
        parts.append("\n".join(rows))
    return "\n\n".join(parts)


def pictures_in(paths: list[Path]) -> list[Path]:
    """Return the files among some files and folders."""
    found: list[Path] = []
    for path in paths:
        found += sorted(path.glob("*.png")) if path.is_dir() else [path]
    return found


def main() -> None:
    """Run what is not recorded yet, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("task", choices=TASKS, nargs="?")
    parser.add_argument("option", nargs="?", help="SHARE, SCALE, KERNEL or QUALITY")
    parser.add_argument("pictures", nargs="*", type=Path)
    parser.add_argument("--methods", nargs="+", default=["simple", "fast"])
    parser.add_argument("--table", action="store_true")
    given = parser.parse_args()
    if given.table or not given.pictures:
        print(table(load()) or "nothing is recorded")
        return
    mine = load(given.task, given.option)
    done = {(r["picture"], r["method"]) for r in mine}
    simple = {r["picture"] for r in mine if "seconds" not in r}
    for path in pictures_in(given.pictures):
        for method in given.methods:
            name = name_of(path)
            if (name, method) in done or (method == "simple" and name in simple):
                continue
            for record in run(given.task, given.option, path, method):
                print(json.dumps(record), file=sys.stderr, flush=True)
                with RECORDS.open("a") as file:
                    file.write(json.dumps(record) + "\n")
    print(table(load(given.task, given.option)))


if __name__ == "__main__":
    main()
