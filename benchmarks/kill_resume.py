"""Kill short runs at random moments, go on with each, and compare every byte.

    python benchmarks/kill_resume.py [--kills 50] [--seed 0] [--folder DIR]

A run is begun, killed with SIGKILL after a random time, gone on with, killed again, and so on for
up to four times, until it ends; then its restoration, its pictures and its records must be those
of a run that nobody disturbed. Kinds of runs take turns: every supervision, two backbones. Exits
with 1 if a byte differs.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from guided_dip.images import Picture, write

SMALL = ["--set", "backbone_options={width: 4, scales: 2}", "--set", "final_draws=4"]
UNET = ["--backbone", "unet", "--set", "backbone_options={widths: [4, 8], skip_levels: [1], "]
UNET[-1] += "skip_channels: 2}"
KINDS = {
    "recorrupted-guides": ["--noise", "gaussian:25", *SMALL],
    "observation": ["--supervision", "observation", *SMALL],
    "observation-guides": ["--supervision", "observation-guides", "--noise", "gaussian:25", *SMALL],
    "clean-guides": ["--supervision", "clean-guides", *SMALL],
    "report, unet": ["--preset", "report", *UNET],
    "author, unet": ["--preset", "author", *UNET],
    "early stopping": ["--supervision", "observation", "--stopping", "es-emv", *SMALL],
}
MOST_KILLS = 4  # of one run


def command(folder: Path, *words: str) -> list[str]:
    """Return the command line of a restoration."""
    base = [sys.executable, "-m", "guided_dip", "restore", str(folder / "in.png"), "--quiet"]
    return [*base, *words]


def outcome(run: Path) -> tuple[dict[str, bytes], list[dict[str, object]]]:
    """Return the pictures of a run, and its records without their times."""
    files = [*run.glob("restored.*"), *(run / "pictures").iterdir()]
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    records = [{**json.loads(line), "seconds": 0} for line in lines]
    return {path.name: path.read_bytes() for path in files}, records


def disturbed(folder: Path, words: list[str], last: float, chance: random.Random) -> int:
    """Carry a run out in spite of kills; return how many of them hit it at work."""
    run, kills = folder / "run", 0
    shutil.rmtree(run, ignore_errors=True)
    begin = command(folder, *words, "--run-dir", str(run), "--checkpoint-every", "0.05")
    go_on = command(folder, "--resume", str(run), "--checkpoint-every", "0.05")
    for _ in range(MOST_KILLS):
        has_begun = (run / ".partial" / "begun.json").exists()
        process = subprocess.Popen(go_on if has_begun else begin, stderr=subprocess.PIPE)
        try:
            process.communicate(timeout=chance.uniform(0, 1.1) * last)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            kills += 1
        if (run / "summary.json").exists() and not (run / ".partial").exists():
            return kills
        if run.exists() and not any(run.iterdir()):
            run.rmdir()
    has_begun = (run / ".partial" / "begun.json").exists()
    subprocess.run(go_on if has_begun else begin, check=True)
    return kills


def main() -> int:
    """Kill until enough; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    chance, total, runs, bad = random.Random(args.seed), 0, 0, []
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        noisy = np.random.default_rng(0).normal(128, 25, (32, 32, 3)).clip(0, 255)
        write(folder / "in.png", Picture(noisy.astype(np.uint8)), overwrite=True)
        expected, times = {}, {}
        while total < args.kills:
            name = list(KINDS)[runs % len(KINDS)]
            words = [*KINDS[name], "--steps", str(args.steps), "--set", "threads=1"]
            if name not in expected:
                began, whole = time.monotonic(), folder / "whole"
                shutil.rmtree(whole, ignore_errors=True)
                subprocess.run(command(folder, *words, "--run-dir", str(whole)), check=True)
                expected[name], times[name] = outcome(whole), time.monotonic() - began
            kills = disturbed(folder, words, times[name], chance)
            same = outcome(folder / "run") == expected[name]
            total, runs = total + kills, runs + 1
            bad += [] if same else [name]
            told = "the same bytes" if same else "DIFFERS"
            print(f"{total}/{args.kills} kills: {name}, killed {kills} times, {told}", flush=True)
    print(f"{total} kills of {runs} runs, {len(bad)} ended otherwise than undisturbed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
