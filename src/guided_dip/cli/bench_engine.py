"""``guided-dip bench-engine``: how fast a step is, and how fast it could be."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from guided_dip.cli.console import duration, give, tell

if TYPE_CHECKING:
    from guided_dip.restoration import Restoration
    from guided_dip.speed import Growth, Machine, Row, Speed

EXPLAINED = (
    "Gop: multiplications and additions of one step on the whole picture; MB: what it must read\n"
    "and write at least; floor: the time these take at the rates above; ours, reference: median\n"
    "step (quartiles), taken in turns; reference: eager float32, Adam, and at every step a second\n"
    "forward pass in eval mode and a picture kept."
)

COLUMNS = (
    *("network", "size", "weights", "Gop", "MB", "floor", "ours", "", "over floor"),
    *("reference", "", "times faster"),
)


def bench_engine(
    backbones: Annotated[
        str, typer.Option(metavar="LIST", help="Such as segnet,unet.")
    ] = "normfree,unet,segnet,skip",
    sizes: Annotated[
        str, typer.Option(metavar="LIST", help="Sides of the pictures in pixels, such as 128,256.")
    ] = "128",
    seconds: Annotated[
        float, typer.Option(metavar="S", min=0, help="Time for each network at each size.")
    ] = 20.0,
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
    from guided_dip.files import check_place, write_whole
    from guided_dip.speed import measure_machine, prepare_bench

    what = [(name, size) for name in _names(backbones) for size in _sides(sizes)]
    settings = {"device": device, "precision": precision, "threads": threads}
    make_config(settings)
    if output is not None:
        check_place(output, overwrite=overwrite)
    where = resolve_device(device)
    with thread_count(threads):
        if not quiet:
            tell("measuring the machine")
        machine = measure_machine(where)
        found: dict[str, Any] = {"machine": vars(machine)}
        prepared = (prepare_bench(name, size, **settings) for name, size in what)
        if steps is None:
            rows = [_timed(r, machine, seconds, quiet) for r in prepared]
            found["rows"] = [row.as_dict() for row in rows]
            text = _table(machine, rows)
        else:
            grown = [
                (r.config.backbone, r.pixels.shape[0], _grown(r, steps, quiet)) for r in prepared
            ]
            found["memory"] = [
                {"backbone": name, "size": size, **({} if growth is None else vars(growth))}
                for name, size, growth in grown
            ]
            text = "\n".join(_memory_line(*line) for line in grown)
    give(json.dumps(found) if as_json else text)
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


def _timed(restoration: Restoration, machine: Machine, seconds: float, quiet: bool) -> Row:
    from guided_dip.speed import time_steps

    name, size = restoration.config.backbone, restoration.pixels.shape[0]
    label = f"timing {name} at {size}x{size}, about {duration(seconds)}"
    with _share(label, quiet=quiet) as show:
        return time_steps(restoration, machine, seconds=seconds, on_turn=show)


def _grown(restoration: Restoration, steps: int, quiet: bool) -> Growth | None:
    from guided_dip.speed import memory_growth

    fit = restoration.stage_fit(restoration.plan.stages[-1], steps)
    name, size = restoration.config.backbone, restoration.pixels.shape[0]
    with _share(f"{steps} steps of {name} at {size}x{size}", quiet=quiet) as show:
        return memory_growth(fit, lambda done: show(done / steps))


def _table(machine: Machine, rows: list[Row]) -> str:
    head = (
        f"{machine.name} ({machine.device}, {machine.threads} threads, torch {machine.torch}): "
        f"float32 {machine.float32 / 1e9:.0f} Gop/s, bfloat16 {machine.bfloat16 / 1e9:.0f} Gop/s, "
        f"memory {machine.bandwidth / 1e9:.1f} GB/s"
    )
    cells = [
        COLUMNS,
        *(_cells(row) for row in rows),
    ]
    widths = [max(len(line[k]) for line in cells) for k in range(len(cells[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in cells
    ]
    return "\n".join([head, *lines, EXPLAINED])


def _cells(row: Row) -> tuple[str, ...]:
    def ms(seconds: float) -> str:
        return f"{seconds * 1e3:.1f}"

    def spread(speed: Speed) -> str:
        return f"({ms(speed.low)} to {ms(speed.high)})"

    return (
        row.backbone,
        str(row.size),
        f"{row.parameters:,}",
        f"{row.cost.operations / 1e9:.2f}",
        f"{row.cost.bytes / 1e6:.0f}",
        f"{ms(row.floor)} ms",
        f"{ms(row.ours.median)} ms",
        spread(row.ours),
        f"{row.over_floor:.1f}",
        f"{ms(row.reference.median)} ms",
        spread(row.reference),
        f"{row.times_faster:.2f}",
    )


def _memory_line(name: str, size: int, growth: Growth | None) -> str:
    if growth is None:
        return f"{name} at {size}x{size}: memory is not counted on this system"
    readings = ", ".join(str(value) for value in growth.mebibytes)
    return (
        f"{name} at {size}x{size}: {growth.mebibytes_grown:+d} MiB from step {growth.steps[1]} to "
        f"{growth.steps[-1]}; MiB: {readings}"
    )
