"""One call of a batch: what was found is written down, and what is left is carried out."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from guided_dip.batch.coordinator import Coordinator
from guided_dip.batch.find import absolute, common_root, expand, find, stamp_of
from guided_dip.batch.manifest import Enrolled, Manifest
from guided_dip.batch.place import Place
from guided_dip.batch.progress import Ending, Progress, Requests, Rules
from guided_dip.batch.work import Executor, Orders, digest_of
from guided_dip.config import make_config
from guided_dip.errors import InputError
from guided_dip.files import locked
from guided_dip.words import one_line

SETTLED = 2_000_000_000  # nanoseconds for which a file that is watched has not changed
# Nanoseconds that a file server's clock may be ahead; that of a camera may be more.
AHEAD = 3600 * 10**9


@dataclass(frozen=True)
class Sources:
    """Where the pictures are.

    Attributes
    ----------
    inputs
        Files, folders and patterns.
    root
        The folder whose tree is mirrored; None for what holds all of the inputs.
    suffix
        Of the restorations; None for that of each source.
    recursive
        Look into folders in folders.
    told
        Warnings that were given already: where a folder is watched, each is given once.
    """

    inputs: Sequence[Path]
    root: Path | None = None
    suffix: str | None = None
    recursive: bool = True
    told: set[str] = field(default_factory=set, compare=False)


def make_outdir(outdir: Path) -> Path:
    """Return where restorations go, absolute, made if its parent is there.

    Parameters
    ----------
    outdir
        As it was given.

    Raises
    ------
    InputError
        If it cannot be made.
    """
    outdir = absolute(outdir)
    if not outdir.parent.is_dir():
        raise InputError(f"{outdir}: there is no folder '{outdir.parent}'; try creating it")
    try:
        outdir.mkdir(exist_ok=True)
    except FileExistsError:
        raise InputError(f"{outdir}: is no folder; try another name") from None
    except OSError as error:
        raise InputError(f"{outdir}: cannot be made ({error.strerror}); try another") from None
    return outdir


@contextmanager
def opened(place: Place, root: Path | None = None) -> Iterator[Manifest]:
    """Open the manifest of a batch, or of a shard, for the only call that may write to it.

    Parameters
    ----------
    place
        Where it is; what there is of shards is taken over by the whole.
    root
        Of the sources, if it may be made; None: it has to be there.

    Raises
    ------
    InputError
        If another call is at work there, the manifest cannot be used, or the sources are in the
        same folder.
    """
    if root is not None and root.is_dir() and place.outdir.is_dir() and place.outdir.samefile(root):
        raise InputError(f"{place.outdir}: is the folder of the sources; try another OUTDIR")
    try:
        if root is None:
            place.manifests()  # says so where there are none
        else:
            place.folder.mkdir(exist_ok=True)
    except OSError as error:
        why = error.strerror or type(error).__name__
        raise InputError(f"{place.outdir}: cannot be written to ({why}); try another") from None
    doing = "restoring pictures there"
    with locked(place.folder, doing, f"{place.manifest.stem}.lock"), ExitStack() as stack:
        shards = [] if place.shard else place.shards()
        for shard in shards:  # all of them first: nothing is taken over while one is at work
            stack.enter_context(locked(place.folder, doing, f"{shard.stem}.lock"))
        _check_parts(place)
        manifest = stack.enter_context(_manifest(place, root))
        for shard in shards:
            manifest.absorb(shard)
            shard.unlink()
        manifest.requeue_running()
        yield manifest


def _manifest(place: Place, root: Path | None) -> Manifest:
    """Open the manifest, or begin it: of shards that the whole takes over, there may be none."""
    if root is None and not place.manifest.exists() and place.shard is None:
        with Manifest.open(place.shards()[0], read_only=True) as first:
            root = first.root
    return Manifest.open(place.manifest) if root is None else Manifest.create(place.manifest, root)


def _check_parts(place: Place) -> None:
    """Refuse to part what is a whole, or is parted otherwise already."""
    if place.shard is None:
        return
    whole = replace(place, shard=None).manifest
    if whole.exists():
        raise InputError(
            f"{place.outdir}: is a batch that is not parted; go on without --shard, or try another "
            "OUTDIR"
        )
    count = f"-of-{place.shard.count}"
    other = next((path for path in place.shards() if not path.stem.endswith(count)), None)
    if other is not None:
        raise InputError(
            f"{place.outdir}: is parted otherwise already ({other.stem}); try the same number of "
            "shards, or go on without --shard"
        )


def enrol(
    manifest: Manifest,
    place: Place,
    sources: Sources,
    settings: str,
    *,
    overwrite: bool = False,
    compare_contents: bool = False,
    watched: bool = False,
) -> Enrolled:
    """Write down the pictures that are there.

    Parameters
    ----------
    manifest, place
        Of the batch.
    sources
        Where they are.
    settings
        Digest of what they are restored with.
    overwrite, compare_contents
        As for `Manifest.enrol`.
    watched
        Leave out what has just been changed, and may not be all there: it will be looked for again.

    Raises
    ------
    InputError
        If they are not below the root, or there is none.
    """
    root = manifest.root
    paths = expand(sources.inputs)
    found = find(
        paths,
        root,
        place.outdir,
        suffix=sources.suffix,
        recursive=sources.recursive,
        told=sources.told,
    )
    if place.shard is not None:
        shard = place.shard
        found = (each for each in found if shard.has(each.output))
    if watched:
        now = time.time_ns()
        lately = range(now - SETTLED, now + AHEAD)
        found = (each for each in found if each.stamp and each.stamp.changed not in lately)
    return manifest.enrol(
        found,
        settings,
        content_of=lambda name: _content(root / name),
        output_stamp_of=lambda output: stamp_of(place.output(output)),
        overwrite=overwrite,
        compare_contents=compare_contents,
    )


def look(manifest: Manifest, place: Place, sources: Sources, settings: str) -> None:
    """Write down what has come since, in a folder that is watched; as `enrol`."""
    with suppress(InputError):  # a pattern may match nothing for a while
        enrol(manifest, place, sources, settings, watched=True)


def root_of(sources: Sources) -> Path:
    """Return the folder whose tree a batch that begins mirrors.

    Parameters
    ----------
    sources
        Where the pictures are.

    Raises
    ------
    InputError
        If there is no such file, or the root is no folder.
    """
    if sources.root is not None:
        root = absolute(sources.root)
        if not root.is_dir():
            raise InputError(f"--root {sources.root}: is no folder; try one that holds the inputs")
        return root
    return common_root(expand(sources.inputs))


def keep_orders(manifest: Manifest, orders: Orders, *, overwrite: bool = False) -> str:
    """Write down what pictures are restored with, for `retry`, and return its digest.

    Parameters
    ----------
    manifest
        Of the batch.
    orders
        What goes for all pictures.
    overwrite
        Whether files of others may be replaced, for `retry`: as the last command had it.
    """
    content = orders.content()
    digest = digest_of(content)
    plain = {key: str(value) if isinstance(value, Path) else value for key, value in _plain(orders)}
    plain["config"] = orders.config.model_dump(mode="json", exclude_unset=True)
    manifest.keep_settings(digest, {"content": content, "orders": plain, "overwrite": overwrite})
    return digest


def _plain(orders: Orders) -> list[tuple[str, Any]]:
    # What hooks make decides nothing of what comes of a picture.
    return [(key, value) for key, value in vars(orders).items() if key not in ("config", "hooks")]


def kept_orders(kept: Mapping[str, Any]) -> Orders:
    """Return what pictures were to be restored with.

    Parameters
    ----------
    kept
        As `keep_orders` wrote it down.

    Raises
    ------
    InputError
        If it is of another version.
    """
    try:
        values = dict(kept["orders"])
        values["config"] = make_config(dict(values["config"]))
        for name in ("mask", "kernel", "gain", "clean"):
            values[name] = None if values.get(name) is None else Path(values[name])
        return TypeAdapter(Orders).validate_python(vars(Orders(**values)))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, ValidationError):
            first = error.errors()[0]
            reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        text = f"the manifest's settings cannot be used any more ({reason})"
        raise InputError(one_line(f"{text}; try the batch's whole command again")) from None


def carry_out_batch(
    manifest: Manifest,
    settings: str,
    executor: Executor,
    place: Place,
    rules: Rules,
    asked: Requests,
    on_progress: Callable[[Progress], None],
) -> Ending:
    """Carry out what a manifest has queued with some settings; leave no process behind.

    Parameters
    ----------
    manifest, settings, executor, place, rules, on_progress
        As for `Coordinator`.
    asked
        What the user asks for by signals.

    Raises
    ------
    RunError
        If the manifest cannot be written any more.
    """
    coordinator = Coordinator(manifest, settings, executor, place, rules, on_progress)
    try:
        ending = coordinator.run(asked)
    finally:
        executor.close()
    if place.shard is None and not ending.counts.left and not ending.others:
        shutil.rmtree(place.folder / "work", ignore_errors=True)  # of pictures that have changed
    return ending


def _content(path: Path) -> str:
    from guided_dip.runs import Source

    return Source.of(path).sha256
