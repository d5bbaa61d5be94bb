"""The page of a benchmark: tables, curves and pictures, drawn from records and what is saved."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from guided_dip.errors import InputError
from guided_dip.experiments import figures
from guided_dip.experiments.benchmark import CLEAN, NOISY, RUNS, restored_file
from guided_dip.experiments.benchmark_records import RECORDS, Score, read_records
from guided_dip.experiments.benchmark_scores import MethodScores, as_dict, by_method
from guided_dip.experiments.benchmark_study import Benchmark, load_benchmark
from guided_dip.experiments.document import (
    Block,
    Document,
    Heading,
    Paragraph,
    Picture,
    Table,
)
from guided_dip.experiments.methods import METHODS
from guided_dip.experiments.place import write_page
from guided_dip.experiments.rows import SAW_CLEAN, SAW_NOISY
from guided_dip.experiments.tables import number
from guided_dip.images import read, to_float
from guided_dip.runs import load_run

NAME = "benchmark"  # of the page
SHOWN = 3  # pictures whose restorations are shown
POINTS = 200  # of a curve, whatever the number of steps
CURVES_SIZE = (9.0, 4.6)  # inches


def draw_benchmark(
    folder: Path, *, records: Path | None = None, pictures: bool = True
) -> dict[str, Any]:
    """Draw the page of a benchmark into its folder, from what is finished.

    Parameters
    ----------
    folder
        Of the benchmark.
    records
        A file whose records of this benchmark are shown besides the folder's own.
    pictures
        Whether restorations appear.

    Returns
    -------
    dict
        What `results.json` holds: the tables and records, for programs.

    Raises
    ------
    InputError
        If there is no record to show.
    """
    benchmark = load_benchmark(folder)
    known = [*(read_records(records) if records else ()), *read_records(folder / RECORDS)]
    scores = {score.key: score for score in known if score.benchmark == benchmark}
    if not scores:
        raise InputError(f"{folder}: no run of this benchmark is finished yet")
    methods = by_method(scores.values())
    document = make_document(benchmark, methods, folder, pictures=pictures)
    results = as_dict(benchmark, methods)
    write_page(folder, NAME, document, results)
    return results


def make_document(
    benchmark: Benchmark, methods: Sequence[MethodScores], folder: Path, *, pictures: bool = True
) -> Document:
    """Compose the page of a benchmark.

    Parameters
    ----------
    benchmark
        What its runs share.
    methods
        Their records, at least one.
    folder
        Where runs and restorations are looked for.
    pictures
        Whether restorations appear.
    """
    document = Document(f"Benchmark on {benchmark.dataset}")
    document.blocks.extend(_opening(benchmark, methods))
    images = sorted({score.image for method in methods for score in method.scores})
    for oracle, saw in ((False, SAW_NOISY), (True, SAW_CLEAN)):
        of_kind = [method for method in methods if method.method.oracle is oracle]
        if not of_kind:
            continue
        document.blocks.append(Heading(f"Methods that {saw}"))
        document.blocks.append(_means(of_kind, len(images)))
        document.blocks.append(_each_image(of_kind, images))
        document.blocks.extend(_curves(of_kind, folder, "oracle" if oracle else "honest"))
        if pictures and not oracle:
            document.blocks.extend(_grids(of_kind, images, folder))
    document.blocks.append(_settings(benchmark, methods))
    return document


def _opening(benchmark: Benchmark, methods: Sequence[MethodScores]) -> Iterator[Block]:
    noisy = {(s.image, s.seed): s.psnr_noisy for method in methods for s in method.scores}
    level = statistics.fmean(noisy.values())
    if benchmark.noise is None:
        noise = "Real pairs: the noise is the camera's or the microscope's own"
    else:
        rounded = ", clipped and rounded to 8 bits" if benchmark.eight_bit else ", unclipped"
        noise = f"Synthetic noise, {benchmark.noise}{rounded}"
    told = {
        "exact": "Methods are told its exact level.",
        "auto": "Methods are told the level that is estimated from each noisy picture.",
    }.get(benchmark.told, f"Methods are told {benchmark.told} times its level.")
    yield Paragraph(
        f"{noise}; every method is given the identical arrays. {told} The noisy pictures have "
        f"{level:.2f} dB. PSNR and SSIM compare the final restoration with the clean picture after "
        "clipping to [0, 1], data range 1. Drawn from the saved records."
    )


def _means(methods: Sequence[MethodScores], images: int) -> Table:
    columns = (
        ("PSNR (dB)", "psnr", 2),
        ("SSIM", "ssim", 4),
        ("Seconds", "seconds", 2),
        ("Peak memory (MiB)", "peak_memory", 0),
    )
    lines = [
        [
            method.method.title,
            f"{method.images} of {images}",
            str(len(method.by_seed)),
            *(number(method.mean(what), digits) for _, what, digits in columns),
        ]
        for method in methods
    ]
    caption = (
        f"Means over the pictures; every line {methods[0].method.saw}. Where there are several "
        "seeds: the mean over seeds \N{PLUS-MINUS SIGN} the sample standard deviation of the "
        "mean over pictures. Means over fewer pictures than others cannot be compared with them. "
        "Seconds are of one picture, as the machine's load was; memory is the process's, or, where "
        "it computed, the GPU's."
    )
    return Table(caption, ["Method", "Pictures", "Seeds", *(head for head, _, _ in columns)], lines)


def _each_image(methods: Sequence[MethodScores], images: Sequence[str]) -> Table:
    heads = ["Picture", *(method.method.title for method in methods)]
    lines = [
        [name, *(number(method.image(name), 2) for method in methods)]
        for name in images
        if any(method.image(name) for method in methods)
    ]
    caption = f"PSNR of each picture in dB; every column {methods[0].method.saw}."
    return Table(caption, heads, lines)


def _curves(methods: Sequence[MethodScores], folder: Path, kind: str) -> Iterator[Block]:
    """Draw the PSNR along the run, the mean over all runs that are at hand."""
    curves = {
        method.method.title: found
        for method in methods
        if method.method.settings is not None
        and (found := [c for c in (_curve(folder, score) for score in method.scores) if c])
    }
    if not curves:
        return
    figure = Figure(figsize=CURVES_SIZE, layout="constrained")
    axes = figure.add_subplot()
    share = np.linspace(0, 100, POINTS)
    for title, found in curves.items():
        resampled = [np.interp(share, np.linspace(0, 100, len(c)), c) for c in found]
        axes.plot(share, np.mean(resampled, axis=0), linewidth=1.1, label=title)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of the steps (%)")
    axes.set_ylabel("PSNR of the raw output (dB)")
    axes.legend(fontsize=8, frameon=False)
    data = figures.encode(figure, photographic=False)
    caption = (
        "PSNR of each step's raw output, the mean over pictures and seeds; a restoration may be a "
        "mean over several outputs. It takes the clean picture to see these curves."
    )
    yield Picture(f"curves-{kind}.png", data, caption)


def _curve(folder: Path, score: Score) -> list[float]:
    try:
        run = load_run(_run_folder(folder, score))
    except InputError:  # its record came without it
        return []
    return [record.psnr for record in run.records if record.psnr is not None]


def _run_folder(folder: Path, score: Score) -> Path:
    return folder / RUNS / score.method / score.image / f"seed-{score.seed}"


def _grids(methods: Sequence[MethodScores], images: Sequence[str], folder: Path) -> Iterator[Block]:
    for place, name in enumerate(images[:SHOWN]):
        tiles = list(_tiles(methods, name, folder))
        if len({pixels.shape[:2] for _, pixels in tiles}) == 1 and len(tiles) > 2:
            figure = figures.gallery(tiles, title=f"{name}: methods that {SAW_NOISY}")
            data = figures.encode(figure, photographic=True)
            yield Picture(f"pictures-{place}.jpg", data, f"Restorations of {name}, first seed.")


def _tiles(
    methods: Sequence[MethodScores], name: str, folder: Path
) -> Iterator[tuple[str, NDArray[Any]]]:
    scores = [s for method in methods for s in method.scores if (s.image, s.seed) == (name, 0)]
    for kind, label in ((NOISY, "noisy"), (CLEAN, "clean")):
        path = restored_file(folder, kind, name, 0)
        if kind == CLEAN:
            yield from _restorations(scores, folder)
        if path.exists():
            psnr = f"{scores[0].psnr_noisy:.2f} dB" if kind == NOISY and scores else ""
            yield f"{label}\n{psnr}", to_float(read(path).pixels)


def _restorations(scores: Sequence[Score], folder: Path) -> Iterator[tuple[str, NDArray[Any]]]:
    for score in scores:
        method = METHODS[score.method]
        label = f"{method.title}\n{score.psnr:.2f} dB"
        try:
            if method.settings is None:
                path = restored_file(folder, score.method, score.image, score.seed)
                yield label, to_float(read(path).pixels)
            else:
                yield label, load_run(_run_folder(folder, score)).restored
        except InputError:  # its record came without it
            continue


def _settings(benchmark: Benchmark, methods: Sequence[MethodScores]) -> Block:
    changed = [f"{key}: {value}" for key, value in benchmark.settings.items()]
    if benchmark.steps_factor != 1:
        changed.append(f"{benchmark.steps_factor:g} times the usual number of steps")
    used = {
        f"{name} {version}"
        for method in methods
        for score in method.scores
        for name, version in score.versions.items()
    }
    devices = sorted({score.device for method in methods for score in method.scores})
    said = f"Changed in all methods with settings: {', '.join(changed)}. " if changed else ""
    return Paragraph(
        f"{said}Computed on {', '.join(devices)} with {', '.join(sorted(used))}.",
        "Settings.",
    )
