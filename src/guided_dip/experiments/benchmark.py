"""Every method on the identical noisy pictures: a study whose finished runs are kept as records.

Methods with settings are carried out by `guided_dip.experiments.runner.run_all`, functions one
after another in this process. A run whose digest is among the records is never computed again,
whether these lie in the study's folder or in a file that was brought from elsewhere.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from guided_dip.errors import reason_of
from guided_dip.experiments.benchmark_jobs import Job
from guided_dip.experiments.benchmark_records import RECORDS, Score, Store
from guided_dip.experiments.benchmark_study import STUDY, Benchmark, load_benchmark
from guided_dip.experiments.board import Outcome, Progress, locked, read_index
from guided_dip.experiments.methods import DIP, PEAK
from guided_dip.experiments.runner import run_all
from guided_dip.files import write_whole
from guided_dip.images import Picture, from_float, write
from guided_dip.memory import forget_peak, peak_memory
from guided_dip.metrics import psnr, ssim
from guided_dip.restoration.span import span_of
from guided_dip.result import Scores
from guided_dip.runs import SavedRun, load_run, versions

RUNS, RESTORED = "runs", "restored"
NOISY, CLEAN = "noisy", "clean"  # beside the methods' folders in RESTORED


@dataclass(frozen=True)
class Doing(Progress):
    """How far a benchmark is, and at which function."""

    name: str = ""


def run_benchmark(
    benchmark: Benchmark,
    jobs: Sequence[Job],
    folder: Path,
    *,
    records: Path | None = None,
    workers: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> tuple[Outcome, ...]:
    """Carry out the runs that no record is found of.

    Parameters
    ----------
    benchmark
        What they share.
    jobs
        From `make_jobs`.
    folder
        Where everything goes.
    records
        A file of records to look in and to add to, besides the folder's own.
    workers
        As for `guided_dip.experiments.runner.run_all`; functions are run one at a time.
    on_progress
        Called every now and then, and after each run.

    Returns
    -------
    tuple of Outcome
        In the order of the jobs.

    Raises
    ------
    InputError
        If another process is computing in the folder.
    """
    folder.mkdir(exist_ok=True)
    with locked(folder):
        _make_room(folder, benchmark)
        store = Store(folder, benchmark, records)
        found = {job.name: store.find(job.digests) for job in jobs}
        store.add(score for scores in found.values() for score in scores)
        waiting = [job for job in jobs if not found[job.name]]
        _keep_pictures(folder, jobs)
        functions = [job for job in waiting if job.spec is None]
        runs = [job for job in waiting if job.spec is not None]
        tell = on_progress or (lambda _: None)
        outcomes = {job.name: Outcome(job.name, "kept") for job in jobs}
        for outcome in _run_functions(functions, len(runs), folder, store, tell):
            outcomes[outcome.name] = outcome
        for outcome in _run_specs(runs, len(functions), folder, store, workers, tell):
            outcomes[outcome.name] = outcome
    return tuple(outcomes.values())


def _make_room(folder: Path, benchmark: Benchmark) -> None:
    """Save what the benchmark is, and remove another one."""
    if (folder / STUDY).exists() and load_benchmark(folder) != benchmark:
        (folder / RECORDS).unlink(missing_ok=True)
        for name in (RUNS, RESTORED):
            shutil.rmtree(folder / name, ignore_errors=True)
    write_whole(folder / STUDY, json.dumps(benchmark.model_dump(mode="json"), indent=2) + "\n")


def _keep_pictures(folder: Path, jobs: Sequence[Job]) -> None:
    """Keep the noisy and clean pictures of the first seed, for the page."""
    for job in {job.image: job for job in jobs if job.seed == 0}.values():
        _keep(folder, NOISY, job.image, 0, job.noisy)
        _keep(folder, CLEAN, job.image, 0, job.clean)


def restored_file(folder: Path, method: str, image: str, seed: int) -> Path:
    """Return where an 8-bit picture of a benchmark lies: a function's, or a noisy or clean one.

    Parameters
    ----------
    folder
        Of the benchmark.
    method
        Its name, or `NOISY` or `CLEAN`.
    image, seed
        Which.
    """
    return folder / RESTORED / method / f"{image}-{seed}.png"


def _keep(folder: Path, method: str, image: str, seed: int, pixels: NDArray[Any]) -> None:
    path = restored_file(folder, method, image, seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, Picture(from_float(pixels, np.uint8)), overwrite=True)


def _run_functions(
    jobs: Sequence[Job],
    others: int,
    folder: Path,
    store: Store,
    tell: Callable[[Progress], None],
) -> Iterator[Outcome]:
    """Carry out functions, of which `others` runs follow."""
    began = time.monotonic()
    for done, job in enumerate(jobs):
        pace = (time.monotonic() - began) / done if done and not others else None
        left = None if pace is None else pace * (len(jobs) - done)
        tell(Doing(done, len(jobs) + others, done, len(jobs), left, job.name))
        try:
            store.add([_run_function(job, folder)])
        except Exception as error:
            yield Outcome(job.name, "failed", reason_of(error))
        else:
            yield Outcome(job.name, "done")


def _run_function(job: Job, folder: Path) -> Score:
    function = job.method.function
    assert function is not None, "a job without a spec is a function's"
    device = "cpu"
    packages = ["guided-dip", "numpy", "scikit-image"]
    if job.method.random:  # it is a network
        from guided_dip.engine import resolve_device

        packages, device = ["guided-dip", "torch", "numpy"], str(resolve_device("auto"))
    if job.method.package is not None:
        packages.append(job.method.package)
    forget_peak(device)
    began = time.perf_counter()
    # Every method is given the same even noise, and its result taken back in the same way.
    span = span_of(np.atleast_3d(job.noisy), job.noise)
    restored = span.from_fit(function(span.to_fit(job.noisy), span.sigma, job.seed))
    seconds, peak = time.perf_counter() - began, peak_memory(device)
    _keep(folder, job.method.name, job.image, job.seed, restored)
    return _score(
        job,
        _scores(restored, job),
        seconds=round(seconds, 3),
        peak_memory=peak,
        device=device,
        versions=versions(packages),
    )


def _scores(restored: NDArray[Any], job: Job) -> Scores:
    """Compare a restoration with the clean picture, after clipping both to [0, 1]."""
    pixels, clean = _clipped(restored), _clipped(job.clean)
    axis = None if clean.ndim == 2 else -1
    similarity = ssim(pixels, clean, data_range=1.0, channel_axis=axis)
    return Scores(psnr(pixels, clean, data_range=1.0), similarity)


def _clipped(pixels: NDArray[Any]) -> NDArray[np.float64]:
    clipped: NDArray[np.float64] = np.clip(pixels, 0, 1).astype(np.float64)
    return clipped


def _score(job: Job, scores: Scores, **measured: Any) -> Score:
    return Score(
        benchmark=job.benchmark,
        image=job.image,
        method=job.method.name,
        seed=job.seed,
        oracle=job.method.oracle,
        psnr=scores.psnr,
        ssim=scores.ssim,
        psnr_noisy=psnr(_clipped(job.noisy), _clipped(job.clean), data_range=1.0),
        told=job.told,
        digest=job.digest,
        **{"steps": None} | measured,
    )


def _run_specs(
    jobs: Sequence[Job],
    before: int,
    folder: Path,
    store: Store,
    workers: int | None,
    tell: Callable[[Progress], None],
) -> tuple[Outcome, ...]:
    """Carry out runs, `before` of which functions went; each is recorded once it is finished."""
    left = {job.name: job for job in jobs}
    seen = -1

    def update(progress: Progress) -> None:
        nonlocal seen
        if progress.runs_done != seen:
            seen = progress.runs_done
            _record_finished(left, folder / RUNS, store)
        ahead = before + progress.runs_done
        tell(replace(progress, runs_done=ahead, runs=before + progress.runs))

    if not jobs:
        return ()
    inputs = {job.spec.image: job.input for job in jobs if job.spec}
    specs = [job.spec for job in jobs if job.spec]
    return run_all(specs, folder / RUNS, images=inputs, workers=workers, on_progress=update)


def _record_finished(left: dict[str, Job], runs: Path, store: Store) -> None:
    """Record those of the runs that the runner calls done, and take them off the list."""
    done = [name for name, entry in read_index(runs).items() if entry.state == "done"]
    for name in done:
        job = left.pop(name, None)
        if job is not None:
            store.add(_scores_of_run(job, load_run(runs / name)))


def _scores_of_run(job: Job, run: SavedRun) -> list[Score]:
    summary = run.summary
    score = _score(
        job,
        _scores(run.restored, job),
        steps=summary.steps,
        seconds=summary.seconds,
        peak_memory=summary.peak_memory,
        device=summary.device,
        versions=summary.versions,
    )
    peak = summary.oracle_peak
    if job.method.name != DIP or peak is None:
        return [score]
    # The restoration is one output more than the records have; an oracle may choose it, too.
    steps = peak.step + 1 if peak.psnr > score.psnr else score.steps
    best = {"method": PEAK, "oracle": True, "psnr": max(peak.psnr, score.psnr), "ssim": None}
    best |= {"steps": steps, "digest": job.peak_digest}
    return [score, score.model_copy(update=best)]
