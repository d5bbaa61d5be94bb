"""Write the tables and the figure of docs/study.md from benchmarks/records.jsonl.

python docs/make_study.py

What stands between ``<!-- NAME -->`` and ``<!-- end -->`` is written anew; the rest is prose.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from guided_dip.experiments.benchmark_records import Score, read_records
from guided_dip.experiments.benchmark_scores import MethodScores, by_method
from guided_dip.experiments.benchmark_study import Benchmark

HERE = Path(__file__).parent
PAGE = HERE / "study.md"
FIGURE = HERE / "images" / "ablations.png"
RECORDS = HERE.parent / "benchmarks" / "records.jsonl"
REFERENCE = "bm3d"
OURS = ("fast", "balanced", "best")
MINUS = "\N{MINUS SIGN}"
# What was changed in `fast`, in words, by the settings that say so.
CHANGES = {
    "flips_and_turns=False": "no flips and turns",
    "optimizer=adamw": "AdamW instead of Muon",
    "patch=0": "the whole picture from the first step",
    "final_draws=1": "one final draw instead of 16",
    "a_start=1,a_end=1": "strength 1 throughout, instead of 2 down to 0.5",
    "a_start=0.5,a_end=0.5": "strength 0.5 throughout",
    "a_end=0.8": "last strength 0.8",
    "weight_average=0.98": "weights averaged (decay 0.98)",
    "final=linear": "linear output instead of a leaky sigmoid",
    "restarts=1,steps x3": "three times the steps, in one fit",
}


def changed(benchmark: Benchmark) -> str:
    """Return what a benchmark changes, in one key."""
    parts = []
    for key, value in benchmark.settings.items():
        if key == "backbone_options":
            parts += [f"final={value['final']}"]
        else:
            parts.append(f"{key}={value:g}" if isinstance(value, float) else f"{key}={value}")
    if benchmark.steps_factor != 1:
        parts.append(f"steps x{benchmark.steps_factor:g}")
    return ",".join(parts)


def grouped(scores: Sequence[Score]) -> Iterator[tuple[Benchmark, tuple[MethodScores, ...]]]:
    """Gather records by benchmark, in the order of the page."""
    found: dict[str, list[Score]] = {}
    for score in scores:
        found.setdefault(score.benchmark.model_dump_json(), []).append(score)
    groups = [(of[0].benchmark, of) for of in found.values()]
    for benchmark, of in sorted(groups, key=lambda group: _place(group[0])):
        yield benchmark, by_method(of)


def compared(scores: Sequence[Score]) -> Iterator[tuple[Benchmark, dict[str, MethodScores]]]:
    """Give the unchanged benchmarks that have the reference, their methods by name."""
    for benchmark, methods in grouped(scores):
        named = {method.method.name: method for method in methods}
        if not benchmark.settings and benchmark.steps_factor == 1 and REFERENCE in named:
            yield benchmark, named


def _place(benchmark: Benchmark) -> tuple[object, ...]:
    noise = benchmark.noise or ""
    level = float(noise.partition(":")[2].partition(",")[0] or 0)
    return (not noise, benchmark.dataset, benchmark.eight_bit, level, benchmark.told)


def title(benchmark: Benchmark) -> str:
    """Name a benchmark by its pictures and noise."""
    if benchmark.noise is None:
        return f"{benchmark.dataset}, real noise"
    return ", ".join(filter(None, [_noisy(benchmark), _told(benchmark)]))


def _noisy(benchmark: Benchmark) -> str:
    """Name the noisy pictures of a benchmark."""
    return f"{benchmark.dataset}, {benchmark.noise}{', 8-bit files' if benchmark.eight_bit else ''}"


def _told(benchmark: Benchmark) -> str:
    """Say what the methods were told of the noise; empty if the truth."""
    words = {"exact": "", "auto": "level estimated"}
    return words.get(benchmark.told, f"told {benchmark.told} times the level")


def signed(value: float) -> str:
    """Write a difference in dB with its sign."""
    return f"{value:+.2f}".replace("-", MINUS)


def mean_psnr(method: MethodScores, images: set[str]) -> float:
    """Mean over some pictures of the first seed."""
    values = [s.psnr for s in method.scores if s.image in images and s.seed == 0]
    return statistics.fmean(values)


def overview(scores: Sequence[Score]) -> str:
    """Lay out every comparison with other methods: means over the pictures that all have."""
    lines = [
        "| pictures and noise | number | noisy | effort | ours | BM3D | non-local means | "
        "worst and best against BM3D | seconds | MiB |",
        "|---" * 10 + "|",
    ]
    for benchmark, named in compared(scores):
        lines += [_line(benchmark, named, effort) for effort in OURS if effort in named]
    return "\n".join(lines)


def _line(benchmark: Benchmark, named: dict[str, MethodScores], effort: str) -> str:
    ours = {s.image: s for s in named[effort].scores if s.seed == 0}
    theirs = {s.image: s for s in named[REFERENCE].scores if s.seed == 0}
    images = set(ours) & set(theirs)
    apart = [ours[name].psnr - theirs[name].psnr for name in images]
    noisy = statistics.fmean(ours[name].psnr_noisy for name in images)
    nlm = f"{mean_psnr(named['nlm'], images):.2f}" if "nlm" in named else ""
    taken = statistics.median(ours[name].seconds for name in images)
    memory = [peak for name in images if (peak := ours[name].peak_memory) is not None]
    cells = [
        title(benchmark),
        str(len(images)),
        f"{noisy:.2f}",
        f"`{effort}`",
        f"**{mean_psnr(named[effort], images):.2f}**",
        f"{mean_psnr(named[REFERENCE], images):.2f}",
        nlm,
        f"{signed(min(apart))}, {signed(max(apart))}",
        f"{taken:.0f}",
        f"{max(memory)}" if memory else "",
    ]
    return f"| {' | '.join(cells)} |"


def pictures(scores: Sequence[Score]) -> str:
    """Lay out each picture of every comparison: ours, and ours minus BM3D."""
    columns = []
    for benchmark, named in compared(scores):
        if benchmark.dataset == "kodak256" and "balanced" in named and benchmark.told == "exact":
            theirs = {s.image: s.psnr for s in named[REFERENCE].scores if s.seed == 0}
            ours = {s.image: s.psnr for s in named["balanced"].scores if s.seed == 0}
            bits = ", 8 bit" if benchmark.eight_bit else ""
            head = f"{(benchmark.noise or '').removeprefix('gaussian:')}{bits}"
            columns.append((head, ours, theirs))
    names = sorted({name for _, ours, _ in columns for name in ours})
    lines = [
        f"| picture | {' | '.join(f'sigma {head}' for head, *_ in columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for name in names:
        cells = [
            f"{ours[name]:.2f} ({signed(ours[name] - theirs[name])})" if name in ours else ""
            for _, ours, theirs in columns
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def robustness(scores: Sequence[Score]) -> str:
    """Lay out what comes of other levels told and more steps, against the same picture's usual."""
    lines = [
        "| pictures and noise | effort | with | number | PSNR | usual | difference | "
        "worst and best |",
        "|---" * 8 + "|",
    ]
    groups = {b.model_dump_json(): (b, methods) for b, methods in grouped(scores)}
    for benchmark, methods in groups.values():
        usual = benchmark.model_copy(update={"told": "exact", "steps_factor": 1.0})
        if benchmark == usual or benchmark.settings or benchmark.noise is None:
            continue
        _, beside = groups.get(usual.model_dump_json(), (usual, ()))
        base = {method.method.name: method for method in beside}
        lines += [
            _robust_line(benchmark, method, base[method.method.name])
            for method in methods
            if method.method.name in OURS and method.method.name in base
        ]
    return "\n".join(lines)


def _robust_line(benchmark: Benchmark, method: MethodScores, base: MethodScores) -> str:
    before = {s.image: s.psnr for s in base.scores if s.seed == 0}
    now = {s.image: s.psnr for s in method.scores if s.seed == 0 and s.image in before}
    apart = [now[name] - before[name] for name in now]
    factor = benchmark.steps_factor
    longer = f"{factor:g} times the steps" if factor != 1 else ""
    cells = [
        _noisy(benchmark),
        f"`{method.method.name}`",
        ", ".join(filter(None, [_told(benchmark), longer])),
        str(len(now)),
        f"{statistics.fmean(now.values()):.2f}",
        f"{statistics.fmean(before[name] for name in now):.2f}",
        signed(statistics.fmean(apart)),
        f"{signed(min(apart))}, {signed(max(apart))}",
    ]
    return f"| {' | '.join(cells)} |"


Row = tuple[str, list[float], list[float]]


def ablated(scores: Sequence[Score]) -> list[Row]:
    """Return name, means over the pictures and their differences from the unchanged, by seed."""
    found: dict[str, dict[tuple[int, str], float]] = {}
    for score in scores:
        b = score.benchmark
        usual = b.noise == "gaussian:25" and b.told == "exact" and not b.eight_bit
        if score.method == "fast" and usual and (b.settings or b.steps_factor == 1):
            found.setdefault(changed(b), {})[score.seed, score.image] = score.psnr
    base = found.pop("", {})
    runs = [runs for name, runs in found.items() if name in CHANGES]
    kept = sorted(set(base).intersection(*runs)) if runs else []
    seeds = sorted({seed for seed, _ in kept})

    def means(value: Callable[[tuple[int, str]], float]) -> list[float]:
        return [statistics.fmean(value(key) for key in kept if key[0] == seed) for seed in seeds]

    rows: list[Row] = [("as it is", means(lambda key: base[key]), [])]
    for name in CHANGES:
        if name in found:
            runs_of = found[name]
            apart = means(lambda key, runs_of=runs_of: runs_of[key] - base[key])
            rows.append((CHANGES[name], means(lambda key, runs_of=runs_of: runs_of[key]), apart))
    return rows if len(rows) > 1 else []


def spread(values: Sequence[float]) -> str:
    """Write the sample standard deviation over seeds; a dash where there is one seed."""
    return f"{statistics.stdev(values):.2f}" if len(values) > 1 else "\N{EN DASH}"


def ablations(scores: Sequence[Score]) -> str:
    """Lay out what each change does, mean over pictures, mean and spread over seeds."""
    lines = ["| `fast`, with | PSNR | difference |", "|---|---|---|"]
    for name, values, apart in ablated(scores):
        moved = f"{signed(statistics.fmean(apart))} ± {spread(apart)}" if apart else ""
        lines.append(f"| {name} | {statistics.fmean(values):.2f} ± {spread(values)} | {moved} |")
    return "\n".join(lines)


TABLES: dict[str, Callable[[Sequence[Score]], str]] = {
    "overview": overview,
    "pictures": pictures,
    "robustness": robustness,
    "ablations": ablations,
}


def page(text: str) -> str:
    """Return the page with its tables written anew."""
    scores = read_records(RECORDS)
    for name, table in TABLES.items():
        pattern = re.compile(rf"(<!-- {name} -->\n)(?:.*?\n)??(<!-- end -->)", re.DOTALL)
        laid_out = table(scores)
        text = pattern.sub(lambda found, new=laid_out: f"{found[1]}{new}\n{found[2]}", text)
    return text


def draw() -> None:
    """Draw the ablations: a dot a seed, a bar at their mean."""
    from matplotlib.figure import Figure

    rows = ablated(read_records(RECORDS))[1:]
    rows.sort(key=lambda row: statistics.fmean(row[2]))
    figure = Figure(figsize=(8.0, 0.38 * len(rows) + 0.9), layout="constrained")
    axes = figure.add_subplot()
    for place, (_, _, apart) in enumerate(rows):
        axes.barh(place, statistics.fmean(apart), color="#b9c9d8", height=0.6)
        axes.plot(apart, [place] * len(apart), "o", color="#24507a", markersize=4)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [name for name, *_ in rows])
    axes.set_xlabel("PSNR against `fast` as it is (dB): mean of four pictures; a dot a seed")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    figure.savefig(FIGURE, dpi=110)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    draw()
