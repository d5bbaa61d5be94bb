"""A run that is cut anywhere goes on to the same bytes."""

import dataclasses
import importlib
import math
import os
import random
import signal
import subprocess
import sys
import time
from itertools import pairwise

import numpy as np
import pytest
import torch

from guided_dip.cli import run as command
from guided_dip.config import make_config
from guided_dip.errors import InputError, RunError
from guided_dip.fit import Fit
from guided_dip.images import Picture, read, write
from guided_dip.restoration import Checkpoint, prepare
from guided_dip.restoration import run as run_module

SMALL = {"backbone_options": {"width": 4, "scales": 2}, "threads": 1, "precision": "float32"}
NARROW = {"widths": [4, 4, 4], "skip_channels": 2, "skip_levels": [1, 2]}
CASES = {
    "recorrupted": {"noise": "gaussian:25"},
    "observation": {"supervision": "observation", "learning_rate": 0.01},
    "clean guides": {"preset": "report"},
    "author": {"preset": "author", "resize": 32},
    "observation guides": {"supervision": "observation-guides", "noise": "gaussian:25"},
    "unet": {"backbone": "unet", "backbone_options": NARROW, "noise": "gaussian:25"},
    "dropout": {"backbone": "networks:Dropping", "backbone_options": {}},
    "adamw": {"optimizer": "adamw"},
    "adam": {"optimizer": "adam", "learning_rate_schedule": "constant"},
    "restarts": {"restarts": 3},
    "squares and tiles": {"patch": 16, "patch_guides": 4, "tile": 12, "max_memory": "1GiB"},
    "squares, tiles, restarts": {
        **{"patch": 16, "patch_guides": 4, "tile": 12, "restarts": 3, "weight_average": 0.9},
    },
    "restarts, averages": {"restarts": 2, "weight_average": 0.9, "output_average": 0.9},
    "one cycle": {"learning_rate_schedule": "one-cycle"},
    "cosine, clipped": {"learning_rate_schedule": "cosine", "clip_gradients": 0.1},
    "averages": {"weight_average": 0.9},
    "mean output": {"output_average": 0.9},
    "new optimizer": {"rebuild_optimizer": True, "reset_batchnorm": True},
    "es-wmv": {"supervision": "observation", "stopping": "es-wmv", "steps": 120},
    "es-emv": {"supervision": "observation", "stopping": "es-emv"},
}


def image(shape=(32, 32, 3), seed=0):
    rng = np.random.default_rng(seed)
    return (128 + rng.normal(0, 25, shape)).clip(0, 255).astype(np.uint8)


class CutError(Exception):
    pass


def restoration(case=(), pixels=None):
    settings = {"steps": 34, "count": 4, "final_draws": 3} | dict(case)
    preset = settings.pop("preset", None)
    settings = SMALL | ({"backbone_options": NARROW} if preset else {}) | settings
    pixels = image() if pixels is None else pixels
    return prepare(pixels, make_config(settings, preset=preset), clean=image(seed=1))


def cut_at(step, case=(), resume=None, pixels=None):
    """Return the checkpoint, as it is read back, of a run that is cut after a step."""
    cut = restoration(case, pixels)

    def on_step(record):
        if record.step == step:
            raise CutError

    with pytest.raises(CutError):
        cut.run(on_step, resume=resume)
    return Checkpoint.from_bytes(cut.checkpoint().to_bytes())


def timeless(records):
    return [dataclasses.replace(record, seconds=0) for record in records]


def assert_same(one, other):
    assert one.image.tobytes() == other.image.tobytes()
    assert timeless(one.records) == timeless(other.records)
    assert one.rollbacks == other.rollbacks
    assert one.stopped_at == other.stopped_at
    assert (one.spread is None) == (other.spread is None)
    if one.spread is not None:
        assert one.spread.tobytes() == other.spread.tobytes()
    for (at, first), (there, second) in zip(one.snapshots, other.snapshots, strict=True):
        assert at == there
        assert first.tobytes() == second.tobytes()


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_kind_of_run_goes_on_to_the_same_bytes(case):
    whole = restoration(case).run()
    steps = len(whole.records)
    for step in {0, 9, 10, 21, steps - 2, steps - 1}:
        checkpoint = cut_at(step, case)
        assert len(checkpoint.records) in range(step - 19, step + 2)
        assert_same(restoration(case).run(resume=checkpoint), whole)


def test_a_run_may_be_cut_again_and_again():
    whole = restoration().run()
    checkpoint = None
    for step in (5, 12, 19, 20, 30):
        checkpoint = cut_at(step, resume=checkpoint)
    result = restoration().run(resume=checkpoint)
    assert_same(result, whole)
    times = [record.seconds for record in result.records]
    assert all(first <= second for first, second in pairwise(times))


def test_a_run_goes_on_to_the_same_bytes_on_a_machine_of_other_memory(monkeypatch):
    """The resolved config has the sizes of the parts, so the machine is not asked again."""
    room = importlib.import_module("guided_dip.restoration.prepare")
    pixels = image((1100, 500, 1))
    case = {"steps": 12, "noise": "gaussian:25"}
    monkeypatch.setattr(room, "total_memory", lambda _: 9 * 2**30)
    whole = prepare(pixels, make_config(SMALL | case))
    resolved = make_config(whole.config.model_dump())
    assert (resolved.patch, resolved.patch_guides, resolved.tile) == (256, 5, 512)
    monkeypatch.setattr(room, "total_memory", lambda _: 2**30)
    assert prepare(pixels, resolved).config == whole.config
    monkeypatch.setattr(room, "total_memory", lambda _: 2**20)
    assert prepare(pixels, make_config(SMALL | case)).config.patch == 96
    assert prepare(pixels, resolved).config == whole.config


def test_segnet_goes_on_to_the_same_bytes():
    case = {
        "preset": "author",
        "backbone": "segnet",
        "backbone_options": {"widths": [4, 4]},
        "steps": 12,
        "count": 2,
        "resize": 32,
    }
    whole = restoration(case).run()
    assert_same(restoration(case).run(resume=cut_at(11, case)), whole)


def test_a_cut_run_of_a_network_with_dropout_needs_its_random_state():
    case = CASES["dropout"]
    checkpoint = cut_at(20, case)
    checkpoint.fit["random"] = torch.Generator().manual_seed(1).get_state()
    whole = restoration(case).run()
    assert restoration(case).run(resume=checkpoint).image.tobytes() != whole.image.tobytes()


def test_nobody_else_s_random_numbers_are_touched():
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    restoration(CASES["dropout"]).run()
    assert torch.equal(torch.rand(3), expected)


def test_checkpoints_of_other_kinds_are_refused():
    checkpoint = cut_at(5)
    data = checkpoint.to_bytes()
    for damaged in (b"", b"text", data[: len(data) // 2], data[:-30]):
        with pytest.raises(InputError, match="damaged"):
            Checkpoint.from_bytes(damaged)


def test_a_checkpoint_of_another_version_is_refused(monkeypatch):
    data = cut_at(5).to_bytes()
    monkeypatch.setattr("guided_dip.restoration.checkpoint.FORMAT", 3)
    with pytest.raises(InputError, match="has format 2, not 3"):
        Checkpoint.from_bytes(data)


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_a_checkpoint_runs_no_code(tmp_path):
    import io

    data = io.BytesIO()
    torch.save({"format": 2, "fit": Touch(str(tmp_path / "touched"))}, data)
    with pytest.raises(InputError, match="damaged"):
        Checkpoint.from_bytes(data.getvalue())
    assert not (tmp_path / "touched").exists()


# Divergence


@pytest.fixture
def bad_losses(monkeypatch):
    """Make the loss bad at steps that are given, as (step, least rate factor, loss)."""
    bad = []
    took = Fit._took

    def spoiled(self, *step):
        record = took(self, *step)
        for index, factor, loss in bad:
            if record.index == index and self.rate_factor >= factor:
                return dataclasses.replace(record, loss=torch.tensor(loss))
        return record

    monkeypatch.setattr(Fit, "_took", spoiled)
    return bad


@pytest.mark.parametrize("loss", [math.nan, math.inf, 1e6])
def test_a_diverging_fit_goes_back_and_on_at_a_smaller_rate(bad_losses, loss):
    plain = restoration().run()
    bad_losses.append((23, 1.0, loss))
    result = restoration().run()
    assert result.rollbacks == (23,)
    assert [record.step for record in result.records] == list(range(34))
    # Kept after 10 and 20 steps: the older one is where it goes back to.
    assert timeless(result.records[:10]) == timeless(plain.records[:10])
    rates, usual = ([r.learning_rate for r in run.records] for run in (result, plain))
    assert rates[:10] == usual[:10]
    assert rates[10:] == pytest.approx([0.25 * rate for rate in usual[10:]])
    assert "diverged at step 23" in result.note
    assert np.isfinite(result.image).all()


def test_a_run_that_went_back_goes_on_to_the_same_bytes(bad_losses):
    bad_losses.append((23, 1.0, math.nan))
    whole = restoration().run()
    for step in (8, 15, 22, 25, 33):
        assert_same(restoration().run(resume=cut_at(step)), whole)


def test_a_fit_goes_back_at_most_twice(bad_losses):
    bad_losses.append((23, 0.1, math.nan))
    assert restoration().run().rollbacks == (23, 23)
    bad_losses.append((25, 0.0, math.nan))
    with pytest.raises(RunError, match=r"diverged at step 25 .* 2 times before"):
        restoration().run()


def test_an_estimate_that_is_not_finite_is_no_result(monkeypatch):
    final = run_module.Restoration._final
    calls = []

    def spoiled(self, course):
        pixels, spread = final(self, course)
        calls.append(course.fit.rate_factor)
        return (pixels * np.float32(math.nan) if len(calls) == 1 else pixels), spread

    monkeypatch.setattr(run_module.Restoration, "_final", spoiled)
    result = restoration().run()
    assert calls == [1.0, 0.25]
    assert result.rollbacks == (34,)
    assert np.isfinite(result.image).all()


# The command

TINY = ["--steps", "60", "--set", "backbone_options={width: 4, scales: 2}", "--set", "threads=1"]
TINY += ["--noise", "gaussian:25", "--set", "final_draws=3"]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("noisy.png", Picture(image()))
    write("clean.png", Picture(image(seed=1)))
    return tmp_path


# A shell that starts the tests in the background makes its children deaf to interruptions.
INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from guided_dip.cli import main
main()
"""


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "restore", *arguments],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def wait_for(condition, process):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def lines(path):
    return path.read_text().count("\n") if path.exists() else 0


def bytes_of(folder):
    """Return what may not depend on when a run was cut; and the records without their times."""
    import json

    files = [folder / "restored.png", *sorted((folder / "pictures").iterdir())]
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    for record in records:
        record["seconds"] = 0
    return [(path.name, path.read_bytes()) for path in files], records


@pytest.fixture
def whole(here):
    long = ["--steps", "400"]
    assert command(["restore", "noisy.png", *TINY, *long, "--run-dir", "whole", "--quiet"]) == 0
    return bytes_of(here / "whole")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_an_estimate_and_a_way_to_go_on(here, whole, capsys, number, code):
    process = start("noisy.png", *TINY, "--steps", "400", "--run-dir", "run", "-o", "out.png")
    metrics = here / "run" / ".partial" / "metrics.jsonl"
    wait_for(lambda: lines(metrics) > 25, process)
    process.send_signal(number)
    error = process.communicate(timeout=60)[1].strip().splitlines()[-1]
    assert process.returncode == code
    assert "of 400; the estimate so far is run/estimate.png; to go on: " in error
    assert read("run/estimate.png").pixels.shape == (32, 32, 3)
    assert not (here / "out.png").exists()
    words = error.split("to go on: guided-dip ")[1].split()
    assert words == ["restore", "noisy.png", "--resume", "run", "-o", "out.png"]
    assert command(words) == 0
    assert "going on with run" in capsys.readouterr().err
    assert bytes_of(here / "run") == whole
    assert not (here / "run" / "estimate.png").exists()
    assert not (here / "run" / ".partial").exists()
    assert (here / "out.png").read_bytes() == (here / "run" / "restored.png").read_bytes()


def test_without_a_run_folder_one_is_made_beside_the_output(here, whole):
    (here / "out.run").mkdir()
    process = start("noisy.png", *TINY, "--steps", "400", "-o", "out.png")
    time.sleep(1)
    # There is nothing to see from outside: end it once it has told about the run.
    assert "noisy.png: " in process.stderr.readline()
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    error = process.communicate(timeout=60)[1].strip().splitlines()[-1]
    assert process.returncode == 130, error
    assert "the estimate so far is out.run-2/estimate.png" in error
    assert command(error.split("to go on: guided-dip ")[1].split()) == 0
    assert bytes_of(here / "out.run-2") == whole
    assert (here / "out.png").exists()


def test_killed_runs_go_on_to_the_same_bytes(here, whole):
    moments = random.Random(0)
    go_on = ["noisy.png", *TINY, "--steps", "400", "--run-dir", "run"]
    metrics = here / "run" / ".partial" / "metrics.jsonl"
    for _ in range(3):
        process = start(*go_on, "--checkpoint-every", "0")
        more = lines(metrics) + moments.randint(1, 120)
        wait_for(lambda at=more: lines(metrics) >= min(at, 390), process)
        process.kill()
        process.communicate()
        go_on = ["noisy.png", "--resume", "run"]
    assert command(["restore", *go_on, "--quiet"]) == 0
    assert bytes_of(here / "run") == whole


@pytest.fixture
def cut(here):
    process = start(
        "noisy.png", *TINY, "--steps", "4000", "--run-dir", "run", "--clean", "clean.png",
        "--checkpoint-every", "0",
    )  # fmt: skip
    checkpoint = here / "run" / ".partial" / "checkpoint.pt"
    wait_for(checkpoint.exists, process)
    process.kill()
    process.communicate()
    return here


def complaint(capsys, *arguments):
    capsys.readouterr()
    assert command(["restore", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


def test_what_cannot_go_on_is_refused_with_the_reason(cut, capsys):
    before = sorted(path.name for path in cut.rglob("*"))
    go_on = ["noisy.png", "--resume", "run", "--clean", "clean.png"]
    assert "leave out --steps" in complaint(capsys, *go_on, "--steps", "3")
    assert "leave out --run-dir" in complaint(capsys, *go_on, "--run-dir", "b")
    assert "another clean picture (clean.png)" in complaint(capsys, "noisy.png", "--resume", "run")
    other = complaint(capsys, "clean.png", "--resume", "run", "--clean", "clean.png")
    assert "is a run of another picture, noisy.png" in other
    assert "no such file" in complaint(capsys, "no.png", "--resume", "run")
    assert "holds no run that could go on" in complaint(capsys, "noisy.png", "--resume", "no")
    assert "try --resume run" in complaint(capsys, "noisy.png", "--run-dir", "run")
    assert sorted(path.name for path in cut.rglob("*")) == before
    begun = cut / "run" / ".partial" / "begun.json"
    text = begun.read_text()
    begun.write_text(text.replace('"guided-dip":"', '"guided-dip":"9.').replace(
        '"guided-dip": "', '"guided-dip": "9.'))  # fmt: skip
    assert "was begun with guided-dip 9." in complaint(capsys, *go_on)
    begun.write_text("{")
    assert "begun.json: damaged" in complaint(capsys, *go_on)
    begun.write_text(text)
    checkpoint = cut / "run" / ".partial" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    assert "checkpoint is damaged" in complaint(capsys, *go_on)


def test_a_finished_run_needs_no_going_on(here, capsys):
    assert command(["restore", "noisy.png", *TINY, "--run-dir", "run", "--quiet"]) == 0
    error = complaint(capsys, "noisy.png", "--resume", "run")
    assert "its run is finished; its restoration is run/restored.png" in error


def test_a_full_disk_leaves_a_way_to_go_on(here, whole, monkeypatch, capsys):
    from guided_dip.runs.folder import RunWriter

    def full(*_):
        raise OSError(28, "No space left on device")

    long = ["noisy.png", *TINY, "--steps", "400", "--run-dir", "run", "--checkpoint-every", "0"]
    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "save", full)
        assert command(["restore", *long]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert (here / "run" / ".partial" / "checkpoint.pt").exists()
    assert command(["restore", "noisy.png", "--resume", "run", "--quiet"]) == 0
    assert bytes_of(here / "run") == whole
