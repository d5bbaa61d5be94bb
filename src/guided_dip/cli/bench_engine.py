"""``guided-dip bench-engine``: how fast a step is, and how fast it could be."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guided_dip.cli.console import give, tell
from guided_dip.words import duration

if TYPE_CHECKING:
    from guided_dip.restoration import Restoration
    from guided_dip.speed import Machine, Row, Speed

COLUMNS = {
    "network": "as its own use has it: the default restoration, the report's preset, plain DIP",
    "size": "side of the picture in pixels",
    "weights": "the network's",
    "precision": "of ours",
    "together": "our runs that are computed at once; times are those of one",
    "Gop": "multiplications and additions of one step on the whole picture, in thousand millions",
    "MB": "read and written in it where nothing is moved twice",
    "floor": "the longer of the times that these two take at the machine's rates",
    "ours": "median step (quartiles)",
    "over floor": "ours over the floor",
    "reference": "the same of eager float32 with Adam and, at every step, the loss read, a second "
    "pass in eval mode and a picture kept; takes turns with ours",
    "times faster": "reference over ours",
}


def bench_engine(
    backbones: Annotated[
        str, typer.Option(metavar="LIST", help="Such as segnet,unet.")
    ] = "normfree,unet,segnet,skip",
    sizes: Annotated[
        str, typer.Option(metavar="LIST", help="Sides of the pictures in pixels, such as 128,256.")
    ] = "128",
    seconds: Annotated[
        float,
        typer.Option(metavar="S", min=0, max=86400, help="Time for each network at each size."),
    ] = 20.0,
    together: Annotated[
        int,
        typer.Option(
            metavar="N", min=1, max=64, help="Time N runs of ours, with other seeds, in one fit."
        ),
    ] = 1,
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N", min=10, help="Take N steps of ours instead, and watch the memory."
        ),
    ] = None,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")
    ] = "auto",
    precision: Annotated[
        str, typer.Option(metavar="NAME", help="Of ours: auto, float32 or bfloat16.")
    ] = "auto",
    threads: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="CPU threads  [default: PyTorch's]")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Save the JSON, too.")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Let --output replace a file.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but results.")] = False,
) -> None:
    """Time a step of each network beside the machine's floor and a plain PyTorch loop."""
    from guided_dip.config import make_config
    from guided_dip.engine import resolve_device, thread_count
    from guided_dip.errors import InputError
    from guided_dip.files import check_place, write_whole
    from guided_dip.speed import measure_machine, prepare_bench

    what = [(name, size) for name in _names(backbones) for size in _sides(sizes)]
    found: dict[str, Any]
    settings = {"device": device, "precision": precision, "threads": threads}
    make_config(settings)
    if steps is not None and together > 1:
        raise InputError(
            f"--together {together}: memory is watched in one run; leave out one of both"
        )
    if output is not None:
        check_place(output, overwrite=overwrite)
    where = resolve_device(device)
    with thread_count(threads):
        if not quiet:
            tell("measuring the machine")
        machine = measure_machine(where)
        prepared = (prepare_bench(name, size, **settings) for name, size in what)
        if steps is None:
            rows = [_timed(each, machine, seconds, together, quiet) for each in prepared]
            found, lines = {"rows": [row.as_dict() for row in rows]}, _table(rows)
        else:
            grown = [_grown(restoration, steps, quiet) for restoration in prepared]
            found, lines = {"memory": grown}, [_memory_line(growth) for growth in grown]
    found = {"machine": vars(machine), **found}
    give(json.dumps(found) if as_json else "\n".join([_machine_line(machine), *lines]))
    if output is not None:  # after they are shown, so that a full disk loses no results
        write_whole(output, json.dumps(found, indent=1) + "\n")


def _names(text: str) -> list[str]:
    from guided_dip.errors import InputError, choices
    from guided_dip.speed.timing import USES

    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in USES:
            raise InputError(f"unknown backbone '{name}': {choices(name, USES)}")
    return names


def _sides(text: str) -> list[int]:
    from guided_dip.errors import InputError

    sides = [part.strip() for part in text.split(",")]
    for side in sides:
        if not side.isdecimal() or not 16 <= int(side) <= 8192:
            raise InputError(f"size '{side}': must be a whole number from 16 to 8192; try 128")
    return [int(side) for side in sides]


@contextmanager
def _share(label: str, *, quiet: bool) -> Iterator[Callable[[float], None]]:
    """Show which share of some work is done: a bar on a terminal, else a line at the start."""
    if quiet:
        yield lambda _: None
    elif not sys.stderr.isatty():
        tell(label)
        yield lambda _: None
    else:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn(label), BarColumn(), TimeRemainingColumn(), TextColumn("left"))
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=1.0)
            yield lambda share: bar.update(task, completed=share)


def _timed(
    restoration: Restoration, machine: Machine, seconds: float, runs: int, quiet: bool
) -> Row:
    from guided_dip.speed import time_steps

    name, size = restoration.config.backbone, restoration.pixels.shape[0]
    label = f"timing {name} at {size}x{size}, about {duration(seconds)}"
    with _share(label, quiet=quiet) as show:
        return time_steps(restoration, machine, seconds=seconds, runs=runs, on_turn=show)


def _grown(restoration: Restoration, steps: int, quiet: bool) -> dict[str, Any]:
    from guided_dip.speed import memory_growth
    from guided_dip.speed.timing import whole_picture

    fit = restoration.stage_fit(whole_picture(restoration), steps)
    name, size = restoration.config.backbone, restoration.pixels.shape[0]
    with _share(f"{steps} steps of {name} at {size}x{size}", quiet=quiet) as show:
        growth = memory_growth(fit, lambda done: show(done / steps))
    return {"backbone": name, "size": size, **({} if growth is None else growth.as_dict())}


def _machine_line(machine: Machine) -> str:
    threads = f"{machine.threads} thread{'s' * (machine.threads > 1)}"
    return (
        f"{machine.name} ({machine.device}, {threads}, torch {machine.torch}): "
        f"float32 {machine.float32 / 1e9:.0f} Gop/s, bfloat16 {machine.bfloat16 / 1e9:.0f} Gop/s, "
        f"memory {machine.bandwidth / 1e9:.1f} GB/s"
    )


def _table(rows: list[Row]) -> list[str]:
    """Return the lines of an aligned table, and what each of its columns is."""
    cells = [tuple(COLUMNS), *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    aligned = (
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    )
    widest = max(map(len, COLUMNS))
    return [*aligned, "", *(f"{name:<{widest}}  {what}" for name, what in COLUMNS.items())]


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.backbone,
        str(row.size),
        f"{row.parameters:,}",
        row.precision,
        str(row.together),
        f"{row.cost.operations / 1e9:.2f}",
        f"{row.cost.bytes / 1e6:.0f}",
        f"{_milliseconds(row.floor)} ms",
        _spread(row.ours),
        f"{row.over_floor:.1f}",
        _spread(row.reference),
        f"{row.times_faster:.2f}",
    )


def _milliseconds(seconds: float) -> str:
    """Write a time with three digits or more, as steps on a GPU take fractions of one.

    >>> _milliseconds(0.2345), _milliseconds(0.0123), _milliseconds(0.000456)
    ('234.5', '12.3', '0.456')
    """
    return f"{seconds * 1e3:.1f}" if seconds >= 0.01 else f"{seconds * 1e3:.3g}"


def _spread(speed: Speed) -> str:
    median, low, high = map(_milliseconds, (speed.median, speed.low, speed.high))
    return f"{median} ms ({low} to {high})"


def _memory_line(growth: dict[str, Any]) -> str:
    head = f"{growth['backbone']} at {growth['size']}x{growth['size']}: "
    if "mebibytes" not in growth:
        return f"{head}memory is not counted on this system"
    readings = ", ".join(str(value) for value in growth["mebibytes"])
    steps = growth["steps"]
    return (
        f"{head}{growth['mebibytes_grown']:+d} MiB from step {steps[1]} to {steps[-1]}; "
        f"MiB at the start and at each tenth: {readings}"
    )
