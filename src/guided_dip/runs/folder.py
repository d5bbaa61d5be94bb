"""Writing a run folder: as a draft first, and into its place when all of it is there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np
from numpy.typing import NDArray

from guided_dip import config as configs
from guided_dip.errors import InputError, InterruptionError, RunError
from guided_dip.files import write_whole
from guided_dip.images import Picture, from_float, to_float, write
from guided_dip.result import Record, Result
from guided_dip.runs.begun import Begun, keep_known
from guided_dip.runs.layout import (
    BEGUN,
    CHECKPOINT,
    CLEAN,
    CONFIG,
    DRAFT,
    ESTIMATE,
    FIGURES,
    FRESH,
    INPUT,
    METRICS,
    PICTURES,
    PREVIEW,
    RESIDUAL,
    RESTORED,
    SPREAD,
    SUMMARY,
)
from guided_dip.runs.summary import Summary, plain

if TYPE_CHECKING:
    from guided_dip.restoration import Checkpoint, Known, Restoration


def check_folder(folder: Path, *, overwrite: bool = False) -> None:
    """Find out whether a run can be written to a folder, before an hour of computing.

    Parameters
    ----------
    folder
        Not there yet, empty, or (with `overwrite`) an older run.
    overwrite
        Replace an older run.

    Raises
    ------
    InputError
        If the folder is something else, or cannot be made or written to.
    """
    try:
        _check_place(folder, overwrite=overwrite)
    except OSError as error:  # such as a name that is too long
        reason = error.strerror or type(error).__name__
        raise InputError(f"{folder}: cannot be a folder ({reason}); try another name") from None


def _check_place(folder: Path, *, overwrite: bool) -> None:
    place = folder
    if folder.is_dir():
        _check_content(folder, overwrite=overwrite)
    elif folder.exists() or folder.is_symlink():
        raise InputError(f"{folder}: is no folder; try another name for the run folder")
    else:
        place = folder.parent
    if not place.is_dir():
        raise InputError(f"{folder}: there is no folder '{place}'; try creating it")
    if not os.access(place, os.W_OK | os.X_OK):
        raise InputError(f"{folder}: the folder '{place}' is read-only; try another")


def _check_content(folder: Path, *, overwrite: bool) -> None:
    names = {path.name for path in folder.iterdir()} - {FRESH}  # left by a run that was killed
    if not names:
        return
    if not ({CONFIG, METRICS} <= names or DRAFT in names):
        raise InputError(f"{folder}: holds other files than a run's; try a new or an empty folder")
    if not overwrite:
        if DRAFT in names:
            go_on = f"--resume {folder} to go on with it, or " * (folder / DRAFT / BEGUN).exists()
            raise InputError(
                f"{folder}: a run is being written to it, or was cut; try {go_on}--overwrite to "
                "replace it"
            )
        raise InputError(f"{folder}: holds a run; try another folder, or --overwrite to replace it")


@contextmanager
def new_run(
    folder: Path,
    *,
    overwrite: bool = False,
    begun: Begun | None = None,
    known: Known | None = None,
) -> Iterator[RunWriter]:
    """Write a run folder: all of it when the block ends.

    When the block fails, nothing stays; but an interruption or a full disk leaves the draft if
    there is a checkpoint in it, so that the run can go on.

    Parameters
    ----------
    folder, overwrite
        As for `check_folder`.
    begun
        What the run begins with; without it, it cannot be interrupted.
    known
        What is known besides the picture.

    Yields
    ------
    RunWriter
        Takes what is to be kept.

    Raises
    ------
    InputError
        As `check_folder`.
    RunError
        If a file cannot be written.
    """
    check_folder(folder, overwrite=overwrite)
    existed = folder.exists()
    with _cannot_be_written(folder):
        try:
            folder.mkdir(exist_ok=True)
            _make_draft(folder, begun, known)
            with _filled(folder) as writer:
                yield writer
        except BaseException:
            if not existed:
                with suppress(OSError):
                    folder.rmdir()  # only if nothing stayed in it
            raise


@contextmanager
def resumed_run(folder: Path) -> Iterator[RunWriter]:
    """Go on with writing the folder of a run that was cut.

    Parameters
    ----------
    folder
        For which `guided_dip.runs.load_begun` finds a run.

    Yields
    ------
    RunWriter
        Takes what is to be kept.

    Raises
    ------
    RunError
        If a file cannot be written.
    """
    with _cannot_be_written(folder), _filled(folder) as writer:
        yield writer


@contextmanager
def _cannot_be_written(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise RunError(f"{folder}: cannot be written ({reason}); try another disk") from error


def _make_draft(folder: Path, begun: Begun | None, known: Known | None) -> None:
    """Make an empty draft; what the run begins with is in it from its first moment."""
    draft, fresh = folder / DRAFT, folder / FRESH
    for path in (draft, fresh):
        shutil.rmtree(path, ignore_errors=True)
    try:
        fresh.mkdir()
        if begun is not None:
            (fresh / BEGUN).write_text(begun.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (fresh / PICTURES).mkdir()
        if known is not None:
            keep_known(known, fresh / PICTURES)
        fresh.replace(draft)
    except BaseException:
        shutil.rmtree(fresh, ignore_errors=True)
        raise


@contextmanager
def _filled(folder: Path) -> Iterator[RunWriter]:
    draft = folder / DRAFT
    try:
        with (draft / METRICS).open("w", encoding="utf-8") as metrics:
            yield RunWriter(draft, metrics)
        _publish(draft, folder)
    except BaseException as error:
        if not (_is_cut(error) and (draft / CHECKPOINT).exists()):
            shutil.rmtree(draft, ignore_errors=True)
        raise


def _is_cut(error: BaseException) -> bool:
    """Whether a run ended for reasons that are not its own."""
    outside = (OSError, KeyboardInterrupt, SystemExit, InterruptionError)
    return isinstance(error, outside) or isinstance(error.__cause__, OSError)


def _publish(draft: Path, folder: Path) -> None:
    """Put a finished draft in its place, and with it an older run out of the way."""
    for name in (SUMMARY, *RESTORED.values(), *FIGURES):
        (folder / name).unlink(missing_ok=True)
    for path in sorted(draft.iterdir(), key=lambda path: path.name == SUMMARY):
        if path.name in (BEGUN, CHECKPOINT, PREVIEW):
            continue  # a run that is killed in here can still go on
        place = folder / path.name
        if place.is_dir():
            shutil.rmtree(place)
        path.replace(place)
    shutil.rmtree(draft)
    for estimate in folder.glob(f"{ESTIMATE}.*"):
        estimate.unlink()


class RunWriter:
    """Fills the draft of a run folder; `new_run` and `resumed_run` give one.

    Parameters
    ----------
    draft
        The folder that is being filled.
    metrics
        Its file of records, open.
    """

    def __init__(self, draft: Path, metrics: TextIO) -> None:
        self.draft = draft
        self._metrics = metrics

    def record(self, record: Record) -> None:
        """Write the record of a step.

        Parameters
        ----------
        record
            Appended, and handed to the system at once.
        """
        self._metrics.write(json.dumps(plain(asdict(record))) + "\n")
        self._metrics.flush()

    def records(self, records: Sequence[Record]) -> None:
        """Write the records of all steps so far, in place of those that are there.

        Parameters
        ----------
        records
            In their order.
        """
        self._metrics.seek(0)
        self._metrics.truncate()
        for record in records:
            self.record(record)

    def checkpoint(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint, in place of the one before.

        Parameters
        ----------
        checkpoint
            From which the run can go on.
        """
        write_whole(self.draft / CHECKPOINT, checkpoint.to_bytes())

    def preview(self, png: bytes) -> None:
        """Show what the estimate is about now, in place of what was shown before.

        Parameters
        ----------
        png
            A PNG file.
        """
        write_whole(self.draft / PREVIEW, png)

    def estimate(self, estimate: Picture) -> Path:
        """Write the estimate of an interrupted run, and return where it is.

        Parameters
        ----------
        estimate
            In the form in which the result would be.

        Returns
        -------
        Path
            The file, in the draft.
        """
        suffix = Path(RESTORED[estimate.format]).suffix
        path = self.draft.parent / f"{ESTIMATE}{suffix}"
        write(path, estimate, overwrite=True)
        return path

    def save(
        self, restoration: Restoration, result: Result, summary: Summary, restored: Picture
    ) -> None:
        """Write everything but the plots.

        Parameters
        ----------
        restoration, result, summary
            The finished run.
        restored
            The restoration, with what the input's file had besides pixels.
        """
        self.records(result.records)  # after a rollback the stream has steps that do not count
        used = ", ".join(f"{name} {version}" for name, version in summary.versions.items())
        text = f"# A run with {used}\n{configs.dump(result.config)}"
        (self.draft / CONFIG).write_text(text, encoding="utf-8")
        write(self.draft / RESTORED[restored.format], restored)
        self._save_pictures(restoration, result, summary)
        text = json.dumps(plain(summary.model_dump()), indent=2)
        (self.draft / SUMMARY).write_text(text + "\n", encoding="utf-8")

    def _save_pictures(self, restoration: Restoration, result: Result, summary: Summary) -> None:
        shown = {INPUT: restoration.unrestored}
        if restoration.clean is not None:
            shown[CLEAN] = restoration.clean
        for snapshot, (_, pixels) in zip(summary.snapshots, result.snapshots, strict=True):
            shown[snapshot.file] = pixels
        folder = self.draft / PICTURES
        for name, pixels in shown.items():
            write(folder / name, Picture(from_float(_flat(pixels), np.uint8)))
        wanted = restoration.unrestored.shape
        only_noise = result.config.task in ("denoise", "inpaint") and not result.config.oracle
        if restoration.plan.steps and only_noise:
            residual = restoration.pixels - to_float(result.image, restoration.white).reshape(
                wanted
            )
            write(folder / RESIDUAL, Picture(_flat(residual), format="TIFF"))
        if result.spread is not None:
            spread = result.spread.reshape(wanted)
            write(folder / SPREAD, Picture(_flat(spread), format="TIFF"))


def _flat(pixels: NDArray[Any]) -> NDArray[Any]:
    """Return (H, W) for one channel."""
    return pixels[..., 0] if pixels.shape[2] == 1 else pixels
