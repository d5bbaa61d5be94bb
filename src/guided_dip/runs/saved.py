"""Reading a run folder back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from guided_dip import config as configs
from guided_dip.config import Config
from guided_dip.errors import InputError
from guided_dip.images import read, to_float
from guided_dip.region import parse_region
from guided_dip.result import Record
from guided_dip.runs.layout import (
    CLEAN,
    CONFIG,
    INPUT,
    METRICS,
    PICTURES,
    RESIDUAL,
    SPREAD,
    SUMMARY,
    restored_files,
)
from guided_dip.runs.summary import Summary

_RECORD = TypeAdapter(Record)


@dataclass(frozen=True)
class SavedRun:
    """A run folder, read back. Pictures are (H, W) or (H, W, 3) float32, 1.0 is white.

    Attributes
    ----------
    folder
        Where it is.
    config
        With everything filled in.
    summary
        What is worth knowing of it.
    records
        One a step.
    """

    folder: Path
    config: Config
    summary: Summary
    records: tuple[Record, ...]

    @property
    def restored(self) -> NDArray[np.float32]:
        """The restoration; of a region, if only that was restored."""
        found = restored_files(self.folder)
        if len(found) != 1:
            raise InputError(f"{self.folder}: has no restored picture; try running it again")
        # Runs from before there was a choice have the type's, whatever that is by default now.
        pixels = to_float(read(found[0]).pixels, self.config.white_value)
        region = self.summary.region
        return pixels if region is None else parse_region(region).of(pixels)

    @property
    def input(self) -> NDArray[np.float32]:
        """The image that was restored, as 8 bits show it."""
        return self._picture(INPUT)

    @property
    def clean(self) -> NDArray[np.float32] | None:
        """The clean image, as 8 bits show it; None if none was given."""
        return None if self.summary.scores is None else self._picture(CLEAN)

    @property
    def snapshots(self) -> list[NDArray[np.float32]]:
        """The intermediate estimates, as 8 bits show them, in the order of the summary's list."""
        return [self._picture(snapshot.file) for snapshot in self.summary.snapshots]

    @property
    def residual(self) -> NDArray[np.float32] | None:
        """What was taken away, input minus restoration; None for an experiment or no steps."""
        return self._if_there(RESIDUAL)

    @property
    def spread(self) -> NDArray[np.float32] | None:
        """Standard deviation of the final draws; None where there was only one."""
        return self._if_there(SPREAD)

    def _if_there(self, name: str) -> NDArray[np.float32] | None:
        return self._picture(name) if (self.folder / PICTURES / name).exists() else None

    def _picture(self, name: str) -> NDArray[np.float32]:
        return to_float(read(self.folder / PICTURES / name).pixels)


def load_run(folder: Path) -> SavedRun:
    """Read a finished run back from its folder.

    Parameters
    ----------
    folder
        The run folder.

    Returns
    -------
    SavedRun

    Raises
    ------
    InputError
        If it is no run folder, the run did not finish, or a file of it is damaged.
    """
    if not (folder / SUMMARY).is_file():
        raise InputError(f"{folder}: is no folder of a finished run, as it has no {SUMMARY}")
    try:
        summary = Summary.model_validate_json(_text(folder / SUMMARY))
    except ValidationError as error:
        raise _damaged(folder / SUMMARY, error) from None
    return SavedRun(folder, configs.load(folder / CONFIG), summary, _records(folder / METRICS))


def _records(path: Path) -> tuple[Record, ...]:
    records = []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        try:
            records.append(_RECORD.validate_json(line))
        except ValidationError as error:
            raise _damaged(path, error, f"line {number}: ") from None
    return tuple(records)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); try running it again") from None


def _damaged(path: Path, error: ValidationError, where: str = "") -> InputError:
    first = error.errors(include_url=False)[0]
    key = ".".join(map(str, first["loc"]))
    problem = f"{where}{key}: {first['msg']}" if key else f"{where}{first['msg']}"
    return InputError(f"{path}: damaged ({problem}); try running it again")
