"""Many resumable runs: kept when finished, else computed from the start; none stops another."""

import dataclasses
import hashlib
import json
import math
import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch

from guided_dip.config import Config
from guided_dip.errors import InputError
from guided_dip.experiments import runner
from guided_dip.experiments.board import locked, read_index
from guided_dip.experiments.groups import Group
from guided_dip.experiments.runner import LATER, Input, RunSpec, digest_of, run_all
from guided_dip.experiments.worker import execute
from guided_dip.fit import Fit
from guided_dip.restoration import prepare
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


def test_settings_that_came_later_change_no_digest_until_they_are_used():
    spec = specs_of(1)[0]
    named = RunSpec(spec.name, "p", {**spec.settings, **LATER})
    assert digest_of(spec, picture()) == digest_of(named, picture())
    for key, other in (("hide_end", 0.2), ("task", "dejpeg"), ("kernel", "gaussian:2")):
        assert LATER[key] == Config.model_fields[key].default
        changed = RunSpec(spec.name, "p", spec.settings | {key: other})
        assert digest_of(spec, picture()) != digest_of(changed, picture())


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


def spec_file(folder):
    return json.loads((folder / "spec.json").read_text())


def company(folder):
    """Return how many runs a run was computed with, itself included, as its folder tells it."""
    told = len(spec_file(folder).get("together", [0]))
    assert load_run(folder).summary.together == told
    return told


def content(folder):
    """Return all that is in a run's folder but times and memory."""
    found = {}
    for path in (path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        if path.name == "metrics.jsonl":
            data = figures(folder)
        elif path.name == "summary.json":
            data = json.loads(data) | {"seconds": None, "peak_memory": None}
        found[path.relative_to(folder)] = data
    return found


def spoilt(fit_seed, times):
    """Return `Fit._took`, but that the loss of step 2 of a seed is no number, so many times."""
    took, left = Fit._took, [times]

    def spoiled(self, task, loss, *rest):
        step = took(self, task, loss, *rest)
        if self.settings.seed != fit_seed or step.index != 2 or not left[0]:
            return step
        left[0] -= 1
        return dataclasses.replace(step, loss=torch.tensor(math.nan))

    return spoiled


def test_runs_that_are_alike_go_together_in_the_order_of_the_specs(tmp_path):
    alike, other = specs_of(3), specs_of(2, steps=7)
    other = [dataclasses.replace(spec, name=f"other/{k}") for k, spec in enumerate(other)]
    averaged = specs_of(2, weight_average=0.9)
    averaged = [dataclasses.replace(spec, name=f"averaged/{k}") for k, spec in enumerate(averaged)]
    large = RunSpec("large", "q", alike[0].settings)
    specs = [alike[0], other[0], *averaged, alike[1], large, alike[2], other[1]]
    images = {"p": picture(), "q": picture(side=32)}
    assert states(run(specs, tmp_path, images, together=2)) == ["done"] * len(specs)
    assert {spec.name: company(tmp_path / spec.name) for spec in specs} == {
        "row/seed-0": 2,
        "row/seed-1": 2,
        "row/seed-2": 1,
        "other/0": 2,
        "other/1": 2,
        "averaged/0": 1,
        "averaged/1": 1,
        "large": 1,
    }
    first, second = (spec_file(tmp_path / spec.name) for spec in alike[:2])
    assert first["together"] == second["together"] == [first["alone"], second["alone"]]
    assert (first["place"], second["place"]) == (0, 1)
    assert first["digest"] != first["alone"]


def test_runs_on_pictures_of_one_size_go_together(tmp_path):
    images = {"p": picture(), "q": picture(seed=1)}
    specs = [RunSpec(key, key, SETTINGS) for key in images]
    run(specs, tmp_path / "together", images, together=2)
    run(specs, tmp_path / "alone", images)
    for key in images:
        assert company(tmp_path / "together" / key) == 2
        mine, theirs = (load_run(tmp_path / how / key) for how in ("together", "alone"))
        assert mine.records[0].loss == pytest.approx(theirs.records[0].loss, rel=1e-5)
        assert mine.records[-1].loss == pytest.approx(theirs.records[-1].loss, rel=0.02)


def test_a_run_by_itself_is_the_same_whatever_others_may_do(tmp_path):
    specs = [*specs_of(1), RunSpec("other", "p", SETTINGS | {"steps": 7})]
    run(specs, tmp_path / "usual")
    run(specs, tmp_path / "together", together=4)
    for spec in specs:
        usual = tmp_path / "usual" / spec.name
        assert content(tmp_path / "together" / spec.name) == content(usual)
        kept = spec_file(usual)
        digest = kept.pop("digest")
        assert set(kept) == {"results", "settings", "input"}
        text = json.dumps(kept, sort_keys=True)
        assert digest == hashlib.sha256(text.encode()).hexdigest()


def test_a_run_keeps_its_place_in_whatever_company_it_was_computed(tmp_path):
    assert states(run(specs_of(2), tmp_path)) == ["done", "done"]
    assert states(run(specs_of(2), tmp_path, together=2)) == ["kept", "kept"]
    assert states(run(specs_of(4), tmp_path, together=4)) == ["kept", "kept", "done", "done"]
    assert [company(tmp_path / spec.name) for spec in specs_of(4)] == [1, 1, 4, 4]
    for together in (1, 2, 3):
        assert states(run(specs_of(4), tmp_path, together=together)) == ["kept"] * 4
    assert states(run(specs_of(4, steps=7), tmp_path, together=4)) == ["done"] * 4


@pytest.mark.parametrize("saved", [0, 1, 2])
def test_an_interrupted_group_ends_in_the_same_bytes(tmp_path, saved):
    def stop(progress):
        if progress.runs_done == saved and progress.steps_done > 10:
            raise KeyboardInterrupt

    cut, whole = tmp_path / "cut", tmp_path / "whole"
    with pytest.raises(KeyboardInterrupt):
        run(specs_of(3), cut, together=3, on_progress=stop)
    before = {path: path.stat().st_mtime_ns for path in cut.glob("row/*/summary.json")}
    assert len(before) == saved
    assert states(run(specs_of(3), cut, together=3)) == ["kept"] * saved + ["done"] * (3 - saved)
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())
    run(specs_of(3), whole, together=3)
    for spec in specs_of(3):
        assert company(cut / spec.name) == 3
        assert content(cut / spec.name) == content(whole / spec.name)


def test_a_run_that_diverges_among_others_is_run_by_itself(tmp_path, monkeypatch):
    run(specs_of(3), tmp_path / "undisturbed", together=3)
    spec = specs_of(3)[1]
    seed = prepare(picture().image, spec.config)._fit().settings.seed
    monkeypatch.setattr(Fit, "_took", spoilt(seed, times=2))
    assert states(run(specs_of(3), tmp_path / "spoilt", together=3)) == ["done"] * 3
    for name in ("row/seed-0", "row/seed-2"):
        assert content(tmp_path / "spoilt" / name) == content(tmp_path / "undisturbed" / name)
    assert company(tmp_path / "spoilt" / spec.name) == 1
    mended, usual = (load_run(tmp_path / how / spec.name) for how in ("spoilt", "undisturbed"))
    assert mended.summary.rollbacks == (2,)
    assert len(mended.records) == 6
    assert mended.records[-1].learning_rate < usual.records[-1].learning_rate


def noisy(hole=False):
    pixels = np.random.default_rng(3).random((16, 16, 3)).astype(np.float32)
    if hole:
        pixels[4, 4] = math.nan
    return Input(Source("p.png", "0" * 64), pixels)


def test_where_one_run_cannot_begin_it_fails_alone(tmp_path, caplog):
    images = {"p": noisy(), "bad": noisy(hole=True), "q": noisy()}
    settings = SETTINGS | {"supervision": "observation"}
    specs = [RunSpec(key, key, settings) for key in images]
    outcomes = run(specs, tmp_path, images, together=3)
    assert states(outcomes) == ["done", "failed", "done"]
    assert "NaN" in outcomes[1].error
    assert [company(tmp_path / key) for key in ("p", "q")] == [1, 1]
    assert "p: 3 runs are computed one by one: the image holds NaN" in caplog.text


@pytest.mark.parametrize("workers", [1, 2])
def test_runs_that_turn_out_to_be_unlike_are_run_one_by_one(tmp_path, caplog, workers):
    images = {"p": noisy(), "q": noisy(hole=True)}
    settings = SETTINGS | {"supervision": "observation", "nan_as_missing": True, "patch": 0}
    specs = [RunSpec(key, key, settings) for key in images]
    specs += [RunSpec("r", "p", settings | {"steps": 7})]
    outcomes = run(specs, tmp_path, images, together=2, workers=workers)
    assert states(outcomes) == ["done"] * 3
    assert [company(tmp_path / spec.name) for spec in specs] == [1, 1, 1]
    assert "p: 2 runs are computed one by one: these runs cannot be computed together: pixels" in (
        caplog.text
    )
    assert states(run(specs, tmp_path, images, together=2)) == ["kept"] * 3


def test_a_folder_that_cannot_be_written_costs_the_others_nothing(tmp_path):
    (tmp_path / "row").mkdir()
    (tmp_path / "row/seed-1").write_text("in the way")
    outcomes = run(specs_of(3), tmp_path, together=3)
    assert states(outcomes) == ["done", "failed", "done"]
    assert "is no folder" in outcomes[1].error
    assert [company(tmp_path / f"row/seed-{seed}") for seed in (0, 2)] == [3, 3]


def test_progress_counts_the_runs_of_a_group_one_by_one(tmp_path):
    told, running = [], []

    def look(progress):
        told.append(progress)
        entries = read_index(tmp_path).values()
        running.append(sum(entry.state == "running" for entry in entries))

    run(specs_of(4), tmp_path, together=2, on_progress=look)
    assert (told[0].runs_done, told[0].runs, told[0].steps_done, told[0].steps) == (0, 4, 0, 24)
    assert [p.steps_done for p in told if p.runs_done == 0] == [0, 0, 0, *range(1, 13)]
    done = [progress.runs_done for progress in told]
    assert done == sorted(done)
    assert set(done) == {0, 1, 2, 3, 4}
    assert max(running) == 2
    assert (told[-1].steps_done, told[-1].seconds_left) == (24, 0)


def test_a_run_s_share_of_a_group_s_time_is_told(tmp_path):
    groups = runner.make_groups(
        [runner._task(spec, tmp_path, {"p": picture()}) for spec in specs_of(2)], together=2
    )
    told = []
    (group,) = groups
    execute(group, told.append)
    for task in group.tasks:
        said = [m.seconds for m in told if m.kind == "step" and m.name == task.name]
        taken = [record.seconds for record in load_run(task.folder).records]
        assert said == pytest.approx([seconds / 2 for seconds in taken])
    assert [(m.kind, m.name) for m in told[-2:]] == [("done", task.name) for task in group.tasks]
    told.clear()
    execute(Group(group.tasks, frozenset({"row/seed-0"})), told.append)
    assert {message.name for message in told} == {"row/seed-1"}


def test_groups_are_the_same_in_workers(tmp_path):
    run(specs_of(5), tmp_path / "here", together=2)
    outcomes = run(specs_of(5), tmp_path / "workers", together=2, workers=2)
    assert states(outcomes) == ["done"] * 5
    for spec in specs_of(5):
        assert content(tmp_path / "workers" / spec.name) == content(tmp_path / "here" / spec.name)
    assert company(tmp_path / "workers/row/seed-4") == 1


def test_a_killed_worker_takes_its_group_along_and_no_other(tmp_path):
    specs, victims = specs_of(4, steps=150), []

    def kill(progress):
        if progress.steps_done and not victims:
            victims.append(multiprocessing.active_children()[0].pid)
            os.kill(victims[0], signal.SIGKILL)

    outcomes = run(specs, tmp_path / "killed", workers=2, together=2, on_progress=kill)
    assert sorted(states(outcomes)) == ["done", "done", "failed", "failed"]
    lost = [outcome for outcome in outcomes if outcome.state == "failed"]
    assert all("exit code -9" in outcome.error for outcome in lost)
    assert lost in ([*outcomes[:2]], [*outcomes[2:]])
    assert (
        sorted(states(run(specs, tmp_path / "killed", together=2))) == ["done"] * 2 + ["kept"] * 2
    )
    run(specs, tmp_path / "whole", together=2)
    for spec in specs:
        assert content(tmp_path / "killed" / spec.name) == content(tmp_path / "whole" / spec.name)


def test_a_group_has_at_least_one_run(tmp_path):
    with pytest.raises(InputError, match="at least 1 run"):
        run(specs_of(1), tmp_path / "study", together=0)
    assert not (tmp_path / "study").exists()


def test_a_worker_s_device_is_for_runs_that_leave_it_open(tmp_path):
    specs = [*specs_of(1), RunSpec("open", "p", SETTINGS | {"device": "auto"})]
    group = Group(tuple(runner._task(spec, tmp_path, {"p": picture()}) for spec in specs))
    placed = runner.placed(group, "cuda:1")
    assert [task.config.device for task in placed.tasks] == ["cpu", "cuda:1"]
    assert [task.digest for task in placed.tasks] == [task.digest for task in group.tasks]
    assert runner.placed(group, None) is group
