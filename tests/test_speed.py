"""What a step costs and takes: counted by hand, and timed in turns."""

import io
import json
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from guided_dip import memory
from guided_dip.cli import bench_engine
from guided_dip.cli.app import run
from guided_dip.engine import Engine
from guided_dip.errors import InputError, RunError
from guided_dip.fit import Fit
from guided_dip.guidance import Plan, Stage
from guided_dip.speed import machine as machine_module
from guided_dip.speed import timing as timing_module
from guided_dip.speed.counts import Cost, count_step, parameter_count
from guided_dip.speed.loops import Growth, ReferenceLoop, memory_growth, quick_steps
from guided_dip.speed.machine import Machine, measure_machine, seconds_of
from guided_dip.speed.timing import (
    USES,
    Row,
    Speed,
    picture,
    prepare_bench,
    time_steps,
    whole_picture,
)
from guided_dip.supervision import observation
from guided_dip.training import FitSettings

CPU = torch.device("cpu")
MACHINE = Machine("cpu", "made up", 1, "0", float32=1e9, bfloat16=4e9, bandwidth=2e9)
SMALL = {"device": "cpu", "threads": 1, "precision": "float32"}


def fit_of(network, steps=3, size=8, **settings):
    y = torch.rand(1, 3, size, size)
    z = torch.randn(1, 2, size, size)
    plan = Plan("observation", "cosine", (Stage(steps),))
    return Fit(network, observation(y, (z,), jitter=0.0, seed=0), plan, FitSettings(**settings))


def test_operations_and_bytes_are_those_counted_by_hand():
    network = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 3, 1))
    cost = count_step(fit_of(network))
    pixels = 8 * 8
    first, last = 2 * 2 * 5 * 9 * pixels, 2 * 5 * 3 * pixels
    # Forward, and the gradients: of the first layer's weights, of the last one's weights and input.
    assert cost.operations == 2 * first + 3 * last
    assert cost.forwards == 1
    weights = 2 * 5 * 9 + 5 + 5 * 3 + 3
    assert parameter_count(network) == weights
    outputs = (5 + 5 + 3) * pixels
    # A weight, its gradient, Adam's two moments, and each output: float32, twice each.
    assert cost.bytes == 4 * 2 * (4 * weights + outputs)


def test_a_layer_without_an_output_of_its_own_moves_nothing():
    first, last = nn.Conv2d(2, 5, 3, padding=1), nn.Conv2d(5, 3, 1)
    plain = count_step(fit_of(nn.Sequential(first, last)))
    for layer in (nn.ReLU(inplace=True), nn.Identity()):
        assert count_step(fit_of(nn.Sequential(first, layer, last))) == plain
    other = count_step(fit_of(nn.Sequential(first, nn.ReLU(), last)))
    assert other.bytes - plain.bytes == 4 * 2 * 5 * 8 * 8


def test_outputs_count_in_the_precision_they_have():
    def bytes_in(precision):
        layers = nn.Sequential(nn.Conv2d(2, 5, 3, padding=1), nn.ReLU(), nn.Conv2d(5, 3, 1))
        return count_step(fit_of(Engine(layers, CPU, precision))).bytes

    outputs = (5 + 5 + 3) * 8 * 8
    assert bytes_in("float32") - bytes_in("bfloat16") == 2 * 2 * outputs


@pytest.mark.parametrize(
    ("layer", "products"),
    [
        # A kernel for each pixel of the smaller side: there the output, here the input.
        (nn.Conv2d(4, 6, 5, 2, padding=2), 4 * 6 * 5 * 5 * 8 * 8),
        (nn.ConvTranspose2d(4, 6, 4, 2, padding=1), 4 * 6 * 4 * 4 * 16 * 16),
    ],
)
def test_strided_and_transposed_convolutions_are_counted_both_ways(layer, products):
    """Forward, the gradient of the weights and that of the input: as many products each."""
    given = torch.randn(1, 4, 16, 16, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        layer(given).sum().backward()
    assert counter.get_total_flops() == 3 * 2 * products


def test_the_floor_is_the_longer_of_arithmetic_and_memory():
    assert Cost(8_000_000, 2_000_000, 1).floor(MACHINE, "float32") == pytest.approx(8e-3)
    assert Cost(8_000_000, 2_000_000, 1).floor(MACHINE, "bfloat16") == pytest.approx(2e-3)
    assert Cost(8_000_000, 20_000_000, 1).floor(MACHINE, "float32") == pytest.approx(10e-3)


@pytest.mark.parametrize(
    ("backbone", "preset", "operations"),
    [
        ("normfree", "balanced", 2_053_926_558),
        ("normfree", "fast", 868_818_782),
        ("normfree", "best", 2_053_926_558),
        ("unet", "report", 186_335_232),
        ("segnet", "report", 15_019_278_336),
        ("skip", None, 7_188_611_072),
    ],
)
def test_a_step_makes_one_pass_and_no_more_arithmetic_than_it_must(
    backbone, preset, operations, monkeypatch
):
    """Seconds depend on the machine; passes and operations tell of a slower loop anywhere."""
    monkeypatch.setitem(USES, backbone, (preset, USES[backbone][1]))
    restoration = prepare_bench(backbone, 64, **SMALL)
    cost = count_step(restoration.stage_fit(whole_picture(restoration), 2))
    assert cost.forwards == 1
    assert cost.operations == operations


@pytest.mark.parametrize("backbone", ["unet", "segnet", "skip"])
def test_operations_of_the_networks_follow_from_their_layers(backbone):
    """Reckoned from shapes alone; the layers that see the input need no gradient of it."""
    reckoned = []

    def reckon(layer, inputs, output):
        pixels = output if isinstance(layer, nn.Conv2d) else inputs[0]
        kernel = layer.weight[0].numel()
        passes = 3 if inputs[0].requires_grad else 2
        reckoned.append(2 * passes * pixels.numel() * kernel)

    restoration = prepare_bench(backbone, 64, **SMALL)
    fit = restoration.stage_fit(whole_picture(restoration), 2)
    for layer in fit.network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            layer.register_forward_hook(reckon)
    cost = count_step(fit)
    assert cost.operations == sum(reckoned) // 2  # two steps were taken, one was counted


def test_a_second_pass_is_seen():
    author = prepare_bench("unet", 32, **SMALL, measure="after")
    assert count_step(author.stage_fit(author.plan.stages[-1], 2)).forwards == 2


def test_the_reference_loop_is_the_usual_script():
    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(3, 3, 1)
            self.passes = []

        def forward(self, x):
            self.passes.append((self.training, torch.is_grad_enabled(), x.dtype))
            return self.layer(x)

    network = Watched()
    target = torch.full((1, 3, 4, 6), 0.5)
    loop = ReferenceLoop(network, torch.randn(1, 3, 4, 6), target)
    before = network.layer.weight.detach().clone()
    for _ in range(40):
        loop.step()
    assert network.passes[:2] == [(True, True, torch.float32), (False, False, torch.float32)]
    assert len(network.passes) == 80
    assert len(loop.snapshots) == len(loop.losses) == 40
    assert {picture.shape for picture in loop.snapshots} == {(4, 6, 3)}
    assert loop.losses[-1] < loop.losses[0]
    assert not torch.equal(before, network.layer.weight)


@pytest.mark.parametrize("backbone", USES)
def test_the_reference_loop_takes_every_backbone(backbone):
    options = prepare_bench(backbone, 32, **SMALL).config.backbone_options
    loop = ReferenceLoop.of(backbone, picture(32), options=options, device=CPU)
    loop.step()
    assert loop.snapshots[0].shape == (32, 32, 3)


def test_steps_go_on_with_a_new_fit():
    made = []

    def make():
        made.append(fit_of(nn.Conv2d(2, 3, 1), steps=2))
        return made[-1]

    step = quick_steps(make)
    for _ in range(5):
        step()
    assert [fit.done for fit in made] == [2, 2, 1]


@pytest.mark.parametrize(("a_step", "steps"), [(0.001, 300), (0.2, 3)])
def test_a_turn_is_long_enough_for_small_networks_to_find_their_pace(monkeypatch, a_step, steps):
    taken = []

    def seconds_of(work, device):
        before = len(taken)
        work()
        return a_step * (len(taken) - before)

    monkeypatch.setattr(timing_module, "seconds_of", seconds_of)
    assert timing_module._block(lambda: taken.append(0), CPU) == pytest.approx(a_step)
    assert len(taken) == 1 + steps


def test_runs_together_are_timed_by_the_run(monkeypatch):
    """Each of the steps that are timed is one of every run, and a run's share of it is told."""
    counted = []

    def forward(self, x):
        counted.append(len(x))
        return plain_forward(self, x)

    plain_forward = Engine.forward
    monkeypatch.setattr(Engine, "forward", forward)
    monkeypatch.setattr(timing_module, "BLOCK_SECONDS", 0.0)
    prepared = prepare_bench("unet", 32, **SMALL)
    row = time_steps(prepared, MACHINE, seconds=0.0, runs=4)
    steps = (1 + row.turns) * (1 + timing_module.BLOCK)
    assert counted.count(4) == steps
    assert row.together == 4
    monkeypatch.setattr(timing_module, "seconds_of", lambda work, device: 8.0)
    shared = time_steps(prepared, MACHINE, seconds=0.0, runs=4)
    alone = time_steps(prepared, MACHINE, seconds=0.0)
    assert alone.together == 1
    assert shared.ours.median == alone.ours.median / 4
    assert shared.reference.median == alone.reference.median


def test_what_cannot_run_together_is_not_timed_together():
    prepared = prepare_bench("normfree", 32, clip_gradients=1.0, **SMALL)
    with pytest.raises(InputError, match="normfree cannot be timed together: gradients"):
        time_steps(prepared, MACHINE, seconds=0.0, runs=2)


def test_the_loops_take_turns(monkeypatch):
    """Ours and the reference alternate, block by block, so that a busy machine slows both."""
    order = []

    def taken(steps, device):
        order.append("block")
        steps()
        return timing_module.BLOCK * (0.5 if len(order) % 2 else 2.0)

    monkeypatch.setattr(timing_module, "seconds_of", taken)
    monkeypatch.setattr(ReferenceLoop, "step", lambda self: order.append("reference"))
    shares = []
    row = time_steps(
        prepare_bench("unet", 32, **SMALL), MACHINE, seconds=0.0, on_turn=shares.append
    )
    theirs = ["block", "reference", "block", *["reference"] * timing_module.BLOCK]
    turn = ["block", "block", *theirs]  # a first step, and the block that counts
    assert order == turn * (1 + row.turns)
    assert row.turns == timing_module.FEWEST == len(shares)
    assert shares[-1] == 1


def test_a_row_says_how_ours_stands():
    speeds = Speed.of([0.02, 0.01, 0.03]), Speed.of([0.08])
    assert speeds[0] == Speed(pytest.approx(0.02), pytest.approx(0.015), pytest.approx(0.025))
    row = Row("unet", 64, "float32", 1, 10, Cost(5, 6, 1), 0.005, *speeds, turns=3)
    assert row.over_floor == pytest.approx(4)
    assert row.times_faster == pytest.approx(4)
    plain = json.loads(json.dumps(row.as_dict()))
    assert plain["cost"] == {"operations": 5, "bytes": 6, "forwards": 1}
    assert plain["reference"]["median"] == 0.08


@pytest.fixture
def tiny_rates(monkeypatch):
    monkeypatch.setattr(machine_module, "MATRIX", 64)
    monkeypatch.setattr(machine_module, "SIDE", 8)
    monkeypatch.setattr(machine_module, "CHANNELS", 4)
    monkeypatch.setattr(machine_module, "COPIED", 2**16)


def test_rates_are_the_better_of_product_and_convolution(tiny_rates, monkeypatch):
    times = iter([4e-6, 1e-6, 2e-6, 8e-6, 5e-6])
    monkeypatch.setattr(machine_module, "_median", lambda work, device: next(times))
    measured = measure_machine(CPU)
    product, convolution = 2 * 64**3, 2 * 4 * 4 * 9 * 64
    assert measured.float32 == max(product / 4e-6, convolution / 1e-6)
    assert measured.bfloat16 == product / 2e-6
    assert measured.bandwidth == 2 * 2**16 / 5e-6
    assert measured.rate("bfloat16") == measured.bfloat16
    assert measured.rate("float32") == measured.float32


@pytest.mark.parametrize("name", ["cuda", "cuda:1"])
def test_work_is_timed_by_the_gpus_own_events(name, monkeypatch):
    log = []

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self, stream):
            log.append(f"record on {stream}")

        def synchronize(self):
            log.append("wait")

        def elapsed_time(self, end):
            return 250.0

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"the stream of {device}")
    assert seconds_of(lambda: log.append("work"), torch.device(name)) == 0.25
    record = f"record on the stream of {name}"
    assert log == [record, "work", record, "wait"]


def test_an_apple_gpu_is_waited_for_before_and_after(monkeypatch):
    log = []
    monkeypatch.setattr(torch.mps, "synchronize", lambda: log.append("wait"))
    assert seconds_of(lambda: log.append("work"), torch.device("mps")) >= 0
    assert log == ["wait", "work", "wait"]


def test_memory_is_read_at_eleven_points(monkeypatch):
    readings = iter([100, 150, *[160] * 8, 170])
    monkeypatch.setattr("guided_dip.speed.loops.memory_now", lambda: next(readings))
    done = []
    growth = memory_growth(fit_of(nn.Conv2d(2, 3, 1), steps=20), done.append)
    assert growth.steps == tuple(range(0, 21, 2))
    assert growth.mebibytes_grown == 20
    assert done == list(range(1, 21))
    assert Growth((0, 1), (5, 6)).mebibytes_grown == 0


def test_where_memory_is_not_counted_there_is_no_growth(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "PROC", tmp_path / "absent")
    assert memory_growth(fit_of(nn.Conv2d(2, 3, 1), steps=10)) is None


def test_a_fit_holds_no_more_memory_after_many_steps():
    growth = memory_growth(fit_of(nn.Conv2d(2, 3, 1), steps=2000))
    assert growth is None or growth.mebibytes_grown <= 2


ARGUMENTS = ["bench-engine", "--backbones", "unet", "--sizes", "32", "--threads", "1"]


def test_the_command_prints_a_table(tiny_rates, capsys):
    assert run([*ARGUMENTS, "--seconds", "0", "--precision", "bfloat16"]) == 0
    out, err = capsys.readouterr()
    head, columns, row, _, *explained = out.splitlines()
    assert "1 thread, " in head
    assert "float32" in head
    assert "GB/s" in head
    assert columns.split() == " ".join(bench_engine.COLUMNS).split()
    assert row.split()[:4] == ["unet", "32", "1,786,545", "bfloat16"]
    assert [line.split("  ")[0] for line in explained] == list(bench_engine.COLUMNS)
    assert "timing unet at 32x32" in err


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2345, "234.5"), (0.0123, "12.3"), (4.56e-4, "0.456")]
)
def test_short_steps_keep_their_digits(seconds, text):
    assert bench_engine._milliseconds(seconds) == text


def test_the_command_gives_json_and_saves_it(tiny_rates, tmp_path, capsys):
    file = tmp_path / "speed.json"
    assert run([*ARGUMENTS, "--seconds", "0", "--json", "--quiet", "-o", str(file)]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert not err
    assert found == json.loads(file.read_text())
    (row,) = found["rows"]
    assert row["times_faster"] == row["reference"]["median"] / row["ours"]["median"]
    assert row["cost"]["forwards"] == 1
    assert found["machine"]["threads"] == 1


def test_the_command_watches_the_memory(tiny_rates, monkeypatch, capsys):
    readings = iter([100, 150, *[160] * 8, 170] * 2)
    monkeypatch.setattr("guided_dip.speed.loops.memory_now", lambda: next(readings))
    assert run([*ARGUMENTS, "--steps", "10", "--json", "--quiet"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["memory"]
    assert (found["backbone"], found["size"], found["mebibytes_grown"]) == ("unet", 32, 20)
    assert found["steps"] == list(range(11))
    assert run([*ARGUMENTS, "--steps", "10", "--quiet"]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert "GB/s" in head
    assert line.startswith("unet at 32x32: +20 MiB from step 1 to 10; ")


def test_the_command_says_where_memory_is_not_counted(tiny_rates, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(memory, "PROC", tmp_path / "absent")
    assert run([*ARGUMENTS, "--steps", "10", "--quiet"]) == 0
    assert "memory is not counted" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (["--backbones", "unett"], "unknown backbone 'unett'"),
        (["--sizes", "12"], "size '12'"),
        (["--sizes", "128,big"], "size 'big'"),
        (["--device", "tpu"], "unknown device 'tpu'"),
        (["--precision", "int8"], "precision cannot be 'int8'"),
        (["--steps", "3"], "--steps"),
        (["--steps", "10", "--together", "2"], "memory is watched in one run"),
        (["--seconds", "inf"], "--seconds"),
    ],
)
def test_what_the_command_refuses(wrong, message, capsys):
    assert run([*ARGUMENTS, *wrong]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(("place", "problem"), [("nope/x.json", "no folder"), ("x", "exists")])
def test_a_place_that_will_not_do_is_refused_before_measuring(
    place, problem, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("guided_dip.speed.measure_machine", lambda _: pytest.fail("measured"))
    (tmp_path / "x").write_text("old")
    assert run([*ARGUMENTS, "--quiet", "-o", str(tmp_path / place)]) == 2
    out, err = capsys.readouterr()
    assert not out
    assert problem in err
    assert err.count("\n") == 1
    assert (tmp_path / "x").read_text() == "old"


def test_results_are_shown_where_they_cannot_be_saved(tiny_rates, tmp_path, monkeypatch, capsys):
    def full(path, data):
        raise RunError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr("guided_dip.files.write_whole", full)
    file = tmp_path / "x"
    file.write_text("old")
    arguments = ["--seconds", "0", "--json", "--quiet", "--overwrite", "-o", str(file)]
    assert run([*ARGUMENTS, *arguments]) == 1
    out, err = capsys.readouterr()
    assert len(json.loads(out)["rows"]) == 1
    assert "No space left" in err


def test_on_a_terminal_there_is_a_bar(monkeypatch):
    shown = io.StringIO()
    shown.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setenv("TERM", "xterm")
    with bench_engine._share("timing unet", quiet=False) as show:
        show(0.5)
    assert "timing unet" in shown.getvalue()
    assert "left" in shown.getvalue()


def test_pictures_are_noisy_and_the_same():
    np.testing.assert_array_equal(picture(24), picture(24))
    assert picture(24).shape == (24, 24, 3)
    assert picture(24).dtype == np.float32
