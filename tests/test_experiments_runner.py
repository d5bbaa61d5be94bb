"""Many resumable runs: kept when finished, else computed from the start; none stops another."""

import json
import multiprocessing
import os
import signal

import numpy as np
import pytest

from guided_dip.errors import InputError
from guided_dip.experiments import runner
from guided_dip.experiments.board import locked, read_index
from guided_dip.experiments.runner import Input, RunSpec, run_all
from guided_dip.runs import Source, load_run

SETTINGS = {
    "supervision": "clean-guides",
    "backbone": "skip",
    "backbone_options": {"width": 4, "scales": 2, "skip_channels": 2},
    "steps": 6,
    "count": 2,
    "device": "cpu",
}


def picture(seed=0, side=16):
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Input(Source("p.png", "0" * 64), pixels, pixels)


def specs_of(count=2, **changes):
    return [
        RunSpec(f"row/seed-{seed}", "p", SETTINGS | changes | {"seed": seed})
        for seed in range(count)
    ]


def run(specs, folder, images=None, **options):
    return run_all(specs, folder, images=images or {"p": picture()}, **{"workers": 1} | options)


def states(outcomes):
    return [outcome.state for outcome in outcomes]


def figures(folder):
    """Return all that a run's records say but its times."""
    return [(r.step, r.stage, r.t, r.loss, r.psnr) for r in load_run(folder).records]


@pytest.fixture
def executed(monkeypatch):
    """Names of the runs that are carried out in this process."""
    names = []
    execute = runner.execute
    monkeypatch.setattr(
        runner, "execute", lambda task, on: (names.append(task.name), execute(task, on))
    )
    return names


def test_a_finished_run_is_never_computed_again(tmp_path, executed):
    assert states(run(specs_of(), tmp_path)) == ["done", "done"]
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.parent != tmp_path}
    assert states(run(specs_of(3), tmp_path)) == ["kept", "kept", "done"]
    assert executed == ["row/seed-0", "row/seed-1", "row/seed-2"]
    kept = [path for path in before if path.is_file()]
    assert kept
    assert all(path.stat().st_mtime_ns == before[path] for path in kept)


def test_another_spec_or_another_image_is_computed_from_the_start(tmp_path):
    run(specs_of(1), tmp_path)
    assert states(run(specs_of(1, steps=7), tmp_path)) == ["done"]
    assert len(load_run(tmp_path / "row/seed-0").records) == 7
    other = {"p": picture(seed=1)}
    assert states(run(specs_of(1, steps=7), tmp_path, images=other)) == ["done"]
    assert states(run(specs_of(1, steps=7), tmp_path, images=other)) == ["kept"]


def test_another_results_schema_is_computed_from_the_start(tmp_path, monkeypatch):
    run(specs_of(1), tmp_path)
    monkeypatch.setattr(runner, "RESULTS", runner.RESULTS + 1)
    assert states(run(specs_of(1), tmp_path)) == ["done"]


def test_the_number_of_threads_is_no_part_of_a_run(tmp_path):
    run(specs_of(1), tmp_path)
    assert load_run(tmp_path / "row/seed-0").config.threads == 1
    assert states(run(specs_of(1, threads=2), tmp_path)) == ["kept"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "summary.json").unlink(),
        lambda folder: (folder / "spec.json").unlink(),
        lambda folder: (folder / "spec.json").write_text("[]"),
        lambda folder: (folder / "metrics.jsonl").write_text(""),
        lambda folder: (folder / ".partial").mkdir() or (folder / "summary.json").unlink(),
    ],
)
def test_an_unfinished_or_damaged_run_is_computed_from_the_start(tmp_path, damage):
    run(specs_of(1), tmp_path)
    once = figures(tmp_path / "row/seed-0")
    damage(tmp_path / "row/seed-0")
    assert states(run(specs_of(1), tmp_path)) == ["done"]
    assert figures(tmp_path / "row/seed-0") == once
    assert not (tmp_path / "row/seed-0/.partial").exists()


def test_a_failing_run_stops_no_other_and_is_named(tmp_path):
    wrong = RunSpec("row/bad", "p", SETTINGS | {"backbone_options": {"width": 0}})
    outcomes = run([wrong, *specs_of(1)], tmp_path)
    assert states(outcomes) == ["failed", "done"]
    assert "width" in outcomes[0].error
    assert not (tmp_path / "row/bad").exists()
    index = read_index(tmp_path)
    assert {name: entry.state for name, entry in index.items()} == {
        "row/bad": "failed",
        "row/seed-0": "done",
    }


def test_the_index_remembers_the_runs_of_earlier_calls(tmp_path):
    run(specs_of(1), tmp_path)
    run([RunSpec("other", "p", SETTINGS)], tmp_path)
    assert set(read_index(tmp_path)) == {"row/seed-0", "other"}
    (tmp_path / "index.json").write_text("{")
    with pytest.raises(InputError, match="no index of runs"):
        run(specs_of(1), tmp_path)


def _hold(folder, held, go):
    with locked(folder):
        held.set()
        go.wait(60)


def test_two_processes_cannot_compute_in_one_folder(tmp_path):
    context = multiprocessing.get_context("spawn")
    held, go = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(tmp_path, held, go))
    other.start()
    try:
        assert held.wait(60)
        with pytest.raises(InputError, match="another call is computing this study"):
            run(specs_of(1), tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
        other.kill()  # what it held is free at once
        other.join()
    finally:
        other.kill()
        other.join()
    assert states(run(specs_of(1), tmp_path)) == ["done"]


def test_a_process_may_lock_twice(tmp_path):
    with locked(tmp_path), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_failure_in_the_middle_leaves_nothing_that_looks_finished(tmp_path, monkeypatch):
    def stop(progress):
        if progress.steps_done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(specs_of(2), tmp_path, on_progress=stop)
    assert not (tmp_path / "row/seed-0/summary.json").exists()
    assert [entry.state for entry in read_index(tmp_path).values()] == ["running", "waiting"]
    assert states(run(specs_of(2), tmp_path)) == ["done", "done"]


def test_progress_counts_runs_and_steps(tmp_path):
    run(specs_of(1), tmp_path)
    told = []
    run(specs_of(3), tmp_path, on_progress=told.append)
    assert (told[0].runs_done, told[0].runs, told[0].steps_done, told[0].steps) == (1, 3, 6, 18)
    assert (told[-1].runs_done, told[-1].steps_done, told[-1].seconds_left) == (3, 18, 0)
    done = [progress.steps_done for progress in told]
    assert done == sorted(done)


def test_specs_are_checked_before_anything_is_written(tmp_path):
    for name in ("", "/abs", "../out", "a/../../b"):
        with pytest.raises(InputError, match="cannot be called"):
            run([RunSpec(name, "p", SETTINGS)], tmp_path / "study")
    with pytest.raises(InputError, match="cannot be called"):
        run(specs_of(1) * 2, tmp_path / "study")
    with pytest.raises(InputError, match="no image 'q'"):
        run([RunSpec("a", "q", SETTINGS)], tmp_path / "study")
    with pytest.raises(InputError, match="did you mean 'steps'"):
        run([RunSpec("a", "p", SETTINGS | {"stepz": 3})], tmp_path / "study")
    with pytest.raises(InputError, match="at least 1 worker"):
        run(specs_of(1), tmp_path, workers=0)
    assert not (tmp_path / "study").exists()


def test_a_float_image_is_restored_to_floats(tmp_path):
    pixels = np.random.default_rng(0).normal(0.5, 0.3, (16, 16, 3)).astype(np.float32)
    noisy = Input(Source("p.png", "0" * 64), pixels, np.clip(pixels, 0, 1))
    spec = RunSpec("a", "p", SETTINGS | {"supervision": "observation"})
    assert states(run([spec], tmp_path, images={"p": noisy})) == ["done"]
    assert load_run(tmp_path / "a").restored.dtype == np.float32


def test_a_killed_worker_is_reported_and_its_run_repeated_with_the_same_numbers(tmp_path):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    specs = specs_of(2, steps=150)
    victims = []

    def kill(progress):
        if progress.steps_done and not victims:
            victims.append(multiprocessing.active_children()[0].pid)
            os.kill(victims[0], signal.SIGKILL)

    outcomes = run(specs, killed, workers=2, on_progress=kill)
    assert sorted(states(outcomes)) == ["done", "failed"]
    (lost,) = [outcome for outcome in outcomes if outcome.state == "failed"]
    assert "exit code -9" in lost.error
    assert not (killed / lost.name / "summary.json").exists()
    assert sorted(states(run(specs, killed))) == ["done", "kept"]
    run(specs, alone)
    for spec in specs:
        assert figures(killed / spec.name) == figures(alone / spec.name)
    assert not multiprocessing.active_children()


def test_digests_tell_inputs_apart():
    pixels = np.zeros((4, 4, 3), np.uint8)
    source = Source("p.png", "0" * 64)
    inputs = [
        Input(source, pixels),
        Input(source, pixels, pixels),
        Input(source, pixels.astype(np.float32)),
        Input(source, pixels.reshape(3, 4, 4)),
    ]
    assert len({one.digest for one in inputs}) == len(inputs)


def test_a_spec_is_kept_beside_its_run(tmp_path):
    run(specs_of(1), tmp_path)
    kept = json.loads((tmp_path / "row/seed-0/spec.json").read_text())
    assert kept["settings"]["steps"] == 6
    assert len(kept["digest"]) == len(kept["input"]) == 64
