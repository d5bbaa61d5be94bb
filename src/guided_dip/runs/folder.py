"""Writing a run folder: as a draft first, and into its place when all of it is there."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

import numpy as np

from guided_dip import config as configs
from guided_dip.errors import InputError, RunError
from guided_dip.images import Picture, from_float, write
from guided_dip.result import Record, Result
from guided_dip.runs.layout import (
    CLEAN,
    CONFIG,
    DRAFT,
    FIGURES,
    INPUT,
    METRICS,
    PICTURES,
    RESTORED,
    SUMMARY,
)
from guided_dip.runs.summary import Summary, plain

if TYPE_CHECKING:
    from guided_dip.restore import Restoration


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
    names = {path.name for path in folder.iterdir()}
    if not names:
        return
    if not ({CONFIG, METRICS} <= names or DRAFT in names):
        raise InputError(f"{folder}: holds other files than a run's; try a new or an empty folder")
    if not overwrite:
        state = "a run is being written to it, or was killed" if DRAFT in names else "holds a run"
        raise InputError(f"{folder}: {state}; try another folder, or --overwrite to replace it")


@contextmanager
def new_run(folder: Path, *, overwrite: bool = False) -> Iterator[RunWriter]:
    """Write a run folder: all of it when the block ends, nothing when it fails.

    Parameters
    ----------
    folder, overwrite
        As for `check_folder`.

    Raises
    ------
    InputError
        As `check_folder`.
    RunError
        If a file cannot be written.
    """
    check_folder(folder, overwrite=overwrite)
    existed = folder.exists()
    draft = folder / DRAFT
    try:
        folder.mkdir(exist_ok=True)
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        with (draft / METRICS).open("x", encoding="utf-8") as metrics:
            yield RunWriter(draft, metrics)
        _publish(draft, folder)
    except BaseException as error:
        shutil.rmtree(draft, ignore_errors=True)
        if not existed:
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, OSError):
            reason = error.strerror or type(error).__name__
            raise RunError(f"{folder}: cannot be written ({reason}); try another disk") from error
        raise


def _publish(draft: Path, folder: Path) -> None:
    """Put a finished draft in its place, and with it an older run out of the way."""
    for name in (SUMMARY, *RESTORED.values(), *FIGURES):
        (folder / name).unlink(missing_ok=True)
    for path in sorted(draft.iterdir(), key=lambda path: path.name == SUMMARY):
        place = folder / path.name
        if place.is_dir():
            shutil.rmtree(place)
        path.replace(place)
    draft.rmdir()


class RunWriter:
    """Fills the draft of a run folder; `new_run` gives one.

    Attributes
    ----------
    draft
        The folder that is being filled.
    """

    def __init__(self, draft: Path, metrics: TextIO) -> None:
        self.draft = draft
        self._metrics = metrics

    def record(self, record: Record) -> None:
        """Write the record of a step."""
        self._metrics.write(json.dumps(plain(asdict(record))) + "\n")
        self._metrics.flush()

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
        used = ", ".join(f"{name} {version}" for name, version in summary.versions.items())
        text = f"# A run with {used}\n{configs.dump(result.config)}"
        (self.draft / CONFIG).write_text(text, encoding="utf-8")
        write(self.draft / RESTORED[restored.format], restored)
        self._save_pictures(restoration, result, summary)
        text = json.dumps(plain(summary.model_dump()), indent=2)
        (self.draft / SUMMARY).write_text(text + "\n", encoding="utf-8")

    def _save_pictures(self, restoration: Restoration, result: Result, summary: Summary) -> None:
        shown = {INPUT: restoration.pixels}
        if restoration.clean is not None:
            shown[CLEAN] = restoration.clean
        for snapshot, (_, pixels) in zip(summary.snapshots, result.snapshots, strict=True):
            shown[snapshot.file] = pixels
        folder = self.draft / PICTURES
        folder.mkdir()
        for name, pixels in shown.items():
            flat = pixels[..., 0] if pixels.shape[2] == 1 else pixels
            write(folder / name, Picture(from_float(flat, np.uint8)))
