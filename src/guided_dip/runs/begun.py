"""A run that has begun and not ended: what it must be given to go on to the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from guided_dip.config import Config
from guided_dip.errors import InputError
from guided_dip.images import Picture, from_float, write
from guided_dip.runs.layout import (
    BEGUN,
    CHECKPOINT,
    DRAFT,
    GAIN,
    KERNEL,
    MASK,
    SUMMARY,
    restored_files,
)
from guided_dip.runs.summary import Source, versions
from guided_dip.white import Extremes

if TYPE_CHECKING:  # only a run that goes on needs torch
    from guided_dip.restoration import Checkpoint, Known


class Begun(BaseModel):
    """What a run was begun with.

    Attributes
    ----------
    source
        The file that is restored.
    page
        Its page, if that was named.
    region
        The only part of the picture that is restored, X,Y,WIDTH,HEIGHT; None for all of it.
    clean
        The clean picture's file, if one was given.
    config
        The config with everything filled in.
    noise_estimated
        Whether its noise came from the image.
    versions
        Of Python and of the packages that the numbers depend on.
    extremes
        Between which values the file lies, by which its white was found; None where that was
        stated, or such values say nothing about it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    source: Source
    page: int | None = None
    region: str | None = None
    clean: Source | None = None
    config: Config
    noise_estimated: bool
    versions: dict[str, str]
    extremes: Extremes | None = None

    @model_validator(mode="before")
    @classmethod
    def _add_white(cls, values: Any) -> Any:
        """Let runs from before there was a choice of white go on with their type's."""
        if isinstance(values, dict) and isinstance(values.get("config"), dict):
            return values | {"config": {"white": "type"} | values["config"]}
        return values

    def check(self, folder: Path, source: Source, clean: Source | None) -> None:
        """Refuse to go on with other pictures or other versions.

        Parameters
        ----------
        folder
            The run folder, for the message.
        source, clean
            The files that were given to go on with.

        Raises
        ------
        InputError
            If a result could not be the one that the run would have had.
        """
        if source.sha256 != self.source.sha256:
            raise InputError(
                f"{folder}: is a run of another picture, {self.source.name}, not of {source.name}; "
                "try that one"
            )
        theirs, ours = (None if one is None else one.sha256 for one in (self.clean, clean))
        if theirs != ours:
            known = "none" if self.clean is None else self.clean.name
            raise InputError(
                f"{folder}: was begun with another clean picture ({known}); try the same --clean"
            )
        for name, version in versions().items():
            before = self.versions.get(name)
            if before != version:
                raise InputError(
                    f"{folder}: was begun with {name} {before}, this is {version}: the result "
                    f"would be another; try {name} {before}, or start anew with --overwrite"
                )


def load_begun(folder: Path) -> Begun:
    """Read what the unfinished run in a folder was begun with.

    Parameters
    ----------
    folder
        The run folder.

    Returns
    -------
    Begun

    Raises
    ------
    InputError
        If there is no such run.
    """
    path = folder / DRAFT / BEGUN
    try:
        return Begun.model_validate_json(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, UnicodeDecodeError, ValidationError):
        raise InputError(f"{path}: damaged; try starting the run anew with --overwrite") from None
    if (folder / SUMMARY).exists():
        pictures = restored_files(folder)
        where = f"; its restoration is {pictures[0]}" if pictures else ""
        raise InputError(f"{folder}: its run is finished{where}")
    raise InputError(f"{folder}: holds no run that could go on; try --run-dir to begin one")


def keep_known(known: Known, folder: Path) -> None:
    """Write what is known besides the picture as pictures, as the command's options take them.

    Parameters
    ----------
    known
        Mask, kernel or gain.
    folder
        Where they go.
    """
    if known.mask is not None:
        write(folder / MASK, Picture(from_float(known.mask.astype(np.float32), np.uint8)))
    for name, array in ((KERNEL, known.kernel), (GAIN, known.gain)):
        if array is not None:
            write(folder / name, Picture(array.astype(np.float32), format="TIFF"))


def kept_known(folder: Path) -> dict[str, Path | None]:
    """Return the files of mask, kernel and gain in a folder; None for those that it has not.

    Parameters
    ----------
    folder
        Where `keep_known` wrote them.
    """
    places = {"mask": MASK, "kernel": KERNEL, "gain": GAIN}
    paths = {name: folder / file for name, file in places.items()}
    return {name: path if path.exists() else None for name, path in paths.items()}


def load_checkpoint(folder: Path, device: str) -> Checkpoint | None:
    """Read the last checkpoint of an unfinished run; None if it was cut before its first.

    Parameters
    ----------
    folder
        The run folder.
    device
        Where the run goes on.

    Returns
    -------
    Checkpoint or None

    Raises
    ------
    InputError
        If the checkpoint is damaged or of another version.
    """
    from guided_dip.restoration import Checkpoint

    path = folder / DRAFT / CHECKPOINT
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        return Checkpoint.from_bytes(data, device)
    except InputError as error:
        raise InputError(f"{path}: {error}; try starting the run anew with --overwrite") from None
