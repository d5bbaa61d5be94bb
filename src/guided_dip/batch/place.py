"""Where a batch keeps what it knows: one folder in ``OUTDIR``, beside the restorations."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from guided_dip.errors import InputError

FOLDER = "guided-dip-batch"
MANIFEST = "manifest.sqlite"
SHARDS = "shard-*-of-*.sqlite"


@dataclass(frozen=True)
class Shard:
    """A part of a batch, for one of several machines that share a file system.

    Attributes
    ----------
    number
        Which, from 1.
    count
        Of how many.
    """

    number: int
    count: int

    def has(self, output: str) -> bool:
        """Tell whether it has the picture, or the pictures, that would be written to an output."""
        digest = hashlib.sha256(os.fsencode(output)).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.number - 1


def parse_shard(text: str) -> Shard:
    """Read a shard as ``--shard`` has it.

    Parameters
    ----------
    text
        ``i/n``, from ``1/n`` to ``n/n``.

    Raises
    ------
    InputError
        If it is none.

    Examples
    --------
    >>> parse_shard("2/5")
    Shard(number=2, count=5)
    """
    number, _, count = text.partition("/")
    if number.isascii() and count.isascii() and number.isdigit() and count.isdigit():
        shard = Shard(int(number), int(count))
        if 1 <= shard.number <= shard.count:
            return shard
    raise InputError(f"--shard {text}: is no part of a whole; try 1/4 for the first of four")


@dataclass(frozen=True)
class Place:
    """The folders and files of a batch.

    Attributes
    ----------
    outdir
        Where the restorations go.
    shard
        The part of the batch that is meant; None for all of it.
    """

    outdir: Path
    shard: Shard | None = None

    @cached_property
    def folder(self) -> Path:
        """Of all that is not a restoration."""
        return self.outdir / FOLDER

    @property
    def manifest(self) -> Path:
        """Of this part."""
        if self.shard is None:
            return self.folder / MANIFEST
        return self.folder / f"shard-{self.shard.number}-of-{self.shard.count}.sqlite"

    @property
    def report(self) -> Path:
        """Where the gallery goes."""
        return self.folder / "report"

    def manifests(self) -> list[Path]:
        """Return the manifests that are there: of the whole or of its shards, or of this one.

        Raises
        ------
        InputError
            If there are none.
        """
        there = [self.manifest] if self.manifest.exists() else []
        if not there and self.shard is None:
            there = self.shards()
        if not there:
            raise InputError(f"{self.outdir}: holds no batch; try the OUTDIR of one")
        return there

    def shards(self) -> list[Path]:
        """Return the manifests of shards that are there."""
        return sorted(self.folder.glob(SHARDS))

    def output(self, output: str) -> Path:
        """Return where a restoration goes."""
        return self.outdir / output

    def work(self, name: str, settings: str) -> Path:
        """Return the folder of a picture's unfinished run with certain settings."""
        digest = hashlib.sha256(os.fsencode(f"{settings} {name}")).hexdigest()
        return self.folder.joinpath("work", digest[:24])

    def log(self, name: str) -> Path:
        """Return the file that a picture's job writes what it does to."""
        path = PurePosixPath(name)
        return self.folder.joinpath("logs", path.parent, f"{path.name}.log")

    def run(self, name: str) -> Path:
        """Return where a picture's run is kept, if runs are."""
        return self.folder.joinpath("runs", name)
