"""The pictures that are to be restored: found in folders, by patterns, or named."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from guided_dip.batch.entries import Found, Stamp
from guided_dip.batch.place import FOLDER
from guided_dip.errors import InputError, choices

_log = logging.getLogger(__name__)

# Of the files that a folder's pictures are looked for among; a file that is named may have any.
SUFFIXES = (
    *(".png", ".tif", ".tiff", ".jpg", ".jpeg", ".jpe", ".jfif"),
    *(".webp", ".bmp", ".fits", ".fit", ".fts"),
)
WRITTEN = (".png", ".tif", ".jpg", ".webp", ".bmp", ".fits")


def output_suffix(text: str) -> str | None:
    """Return the suffix of restorations as ``--format`` has it; None for that of each source.

    Parameters
    ----------
    text
        ``same``, or a suffix without its dot.

    Raises
    ------
    InputError
        If nothing is written with that suffix.
    """
    if text == "same":
        return None
    suffix = f".{text.lower().removeprefix('.')}"
    if suffix not in SUFFIXES:
        allowed = ["same", *(suffix[1:] for suffix in WRITTEN)]
        raise InputError(f"--format {text}: is none: {choices(text, allowed)}")
    return suffix


def expand(inputs: Sequence[Path]) -> list[str]:
    """Return files and folders, absolute, with patterns replaced by what matches them.

    As text: of a million matches, paths would take several times the memory.

    Patterns match nothing that is hidden, unless they say so, and nothing that a batch has written.

    Parameters
    ----------
    inputs
        Files, folders, or patterns such as ``frames/**/*.tif`` that no shell has expanded.

    Raises
    ------
    InputError
        If there is no such file, or nothing matches a pattern.
    """
    found: dict[str, None] = {}
    for path in inputs:
        if _exists(path):
            found[_absolute(path)] = None
        elif glob.has_magic(str(path)):
            matching = _matching(path)
            if not matching:
                raise InputError(f"{path}: nothing matches; try a folder, or checking the pattern")
            found |= dict.fromkeys(map(_absolute, matching))
        else:
            raise InputError(f"{path}: no such file or folder; try checking the name")
    return list(found)


def absolute(path: Path) -> Path:
    """Return a path from the root of the file system, without ``..`` in it; links stay."""
    return Path(_absolute(path))


def _absolute(path: Path | str) -> str:
    return os.path.abspath(path)  # noqa: PTH100


def _matching(pattern: Path) -> list[str]:
    """Return what matches a pattern, but for what is hidden or written by batches.

    In the order of paths, which compares names of folders one by one: ``a/b`` before ``a-b``.
    """
    base, parts = Path(pattern.anchor), list(pattern.relative_to(pattern.anchor).parts)
    while len(parts) > 1 and (not glob.has_magic(parts[0]) or _exists(base / parts[0])):
        base /= parts.pop(0)
    hidden = any(_is_hidden(part) for part in parts)
    written: dict[Path, bool] = {}

    def is_written(path: Path) -> bool:
        if path == base:
            return False
        if path not in written:
            written[path] = _is_written_to(path) or is_written(path.parent)
        return written[path]

    def is_meant(path: Path) -> bool:
        below = path.relative_to(base).parts
        if is_written(path.parent) or _is_written_to(path):
            return False
        return hidden or not any(_is_hidden(part) for part in below)

    try:
        found = (str(path) for path in base.glob(str(Path(*parts))) if is_meant(path))
        return sorted(found, key=lambda path: path.replace(os.sep, "\0"))
    except ValueError as error:  # such as ** within a name
        raise InputError(f"{pattern}: is no pattern ({error}); try another, or a folder") from None


def _is_hidden(name: str) -> bool:
    return name.startswith(".") and name != ".."


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # such as a name that is too long
        return False


def common_root(paths: Iterable[Path | str]) -> Path:
    """Return the folder whose tree is mirrored: a single one itself, else what holds all of them.

    Parameters
    ----------
    paths
        Absolute files and folders.
    """
    folders = {path if path.is_dir() else path.parent for path in map(Path, paths)}
    return Path(os.path.commonpath(sorted(folders)))


def find(
    paths: Sequence[Path | str],
    root: Path,
    outdir: Path,
    *,
    suffix: str | None = None,
    recursive: bool = True,
    told: set[str] | None = None,
) -> Iterator[Found]:
    """Find pictures, in the order of their names.

    Parameters
    ----------
    paths
        Absolute files and folders, all below the root. In folders, files are taken by their
        suffixes; hidden ones are left alone, and so are folders that batches write to. What is in
        `outdir` is no source, even if it is named.
    root
        The folder whose tree is mirrored.
    outdir
        Where the restorations go.
    suffix
        Of the restorations; None for that of each source.
    recursive
        Look into folders in folders.
    told
        Warnings that were given when it was looked before, and are not given again; what is warned
        of now is added.

    Raises
    ------
    InputError
        If a path is not below the root.
    """
    told = set() if told is None else told
    seen: set[str] = set()
    several = len(paths) > 1
    noted = False
    for path in map(Path, paths):
        if outdir != root and outdir.is_relative_to(root) and path.is_relative_to(outdir):
            if not noted:
                _warn(f"{path}: is in OUTDIR, and no source, as all that is there", told)
            noted = True
            continue
        if not path.is_relative_to(root):
            raise InputError(
                f"{path}: is not in {root}, whose tree {outdir} mirrors; try another OUTDIR, or "
                "--root with a folder that holds all of them"
            )
        files = _walk(path, outdir, told, recursive=recursive) if path.is_dir() else [path]
        for file in files:
            name = file.relative_to(root).as_posix()
            if several and name in seen:
                continue  # given twice, such as a folder and a file in it
            if several:
                seen.add(name)
            output = name if suffix is None else str(PurePosixPath(name).with_suffix(suffix))
            yield Found(name, output, stamp_of(file))


def stamp_of(path: Path) -> Stamp | None:
    """Return a file's stamp; None if it is not there."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return Stamp(status.st_size, status.st_mtime_ns)


def _walk(folder: Path, outdir: Path, told: set[str], *, recursive: bool) -> Iterator[Path]:
    names, folders = [], set()  # of a million files, entries would take more than names
    try:
        with os.scandir(folder) as scan:
            for entry in scan:
                if entry.name.startswith("."):
                    continue
                if _is_folder(entry):
                    folders.add(entry.name)
                elif Path(entry.name).suffix.lower() not in SUFFIXES or not _is_file(entry, told):
                    continue
                names.append(entry.name)
    except OSError as error:  # the other folders can be
        _warn(f"{folder}: cannot be looked into ({error.strerror})", told)
        return
    for name in sorted(names):
        path = folder / name
        if name not in folders:
            yield path
        elif recursive and path != outdir and not _is_written_to(path):
            yield from _walk(path, outdir, told, recursive=True)


def _is_written_to(folder: Path) -> bool:
    """Tell whether a batch writes to a folder."""
    # Path.is_dir raises where it may not look.
    return folder.name == FOLDER or os.path.isdir(folder / FOLDER)  # noqa: PTH112


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir(follow_symlinks=False)
    except OSError:
        return False


def _is_file(entry: os.DirEntry[str], told: set[str]) -> bool:
    """Tell whether it is a file; a link that leads nowhere is noted."""
    try:
        if entry.is_file():
            return True
        reason = "leads nowhere" if entry.is_symlink() and not entry.is_dir() else ""
    except OSError as error:  # such as a loop of links
        reason = error.strerror or type(error).__name__
    if reason:
        _warn(f"{entry.path}: cannot be read ({reason})", told)
    return False


def _warn(text: str, told: set[str]) -> None:
    if text not in told:
        told.add(text)
        _log.warning("%s", text)
