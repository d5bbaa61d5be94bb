"""What a GPU does in few calls, as far as a CPU can tell: `test_cuda` has the rest."""

import copy
import gc
import itertools
from contextlib import nullcontext

import pytest
import torch
from torch import nn

from guided_dip import backbones, graphs
from guided_dip.backbones.bfloat16 import InBfloat16
from guided_dip.engine import Engine
from guided_dip.graphs import Replay, replay_of
from guided_dip.operators import identity
from guided_dip.training import Batch, FitSettings, Trainer, Trainers
from networks import SMALL

CPU = torch.device("cpu")


def built(name):
    torch.manual_seed(0)
    network = backbones.build(name, 3, options=SMALL[name])
    row = backbones.find(name)
    z = backbones.network_input(row, 3, (32, 48), torch.Generator().manual_seed(1))
    return network.to(memory_format=torch.channels_last), z


def ran(run, network, z):
    network.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = run(z)
    output.float().square().mean().backward()
    return [output.detach().float(), *(weight.grad.clone() for weight in network.parameters())]


@pytest.mark.parametrize("name", backbones.BACKBONES)
@pytest.mark.parametrize("training", [True, False])
def test_convolutions_in_bfloat16_are_autocast_s(name, training):
    network, z = built(name)
    network.train(training)
    before = copy.deepcopy(network.state_dict())
    expected = ran(network, network, z)
    statistics = {key: value.clone() for key, value in network.named_buffers() if value.dim()}
    network.load_state_dict(before)
    found = ran(InBfloat16(network), network, z)
    assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))
    for key, value in statistics.items():
        assert training == (not torch.equal(value, before[key]))
        assert torch.equal(network.get_buffer(key), value)


def test_it_runs_with_the_network_s_weights_and_mode_of_the_moment():
    network, z = built("unet")
    run = InBfloat16(network)
    with torch.no_grad():
        first = run(z)
        for weight in network.parameters():
            weight.mul_(1.5)
        second = run(z)
        network.eval()
        third = run(z)
        expected = InBfloat16(network)(z)
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    assert torch.equal(third, expected)


def test_statistics_that_are_not_to_move_do_not():
    network, z = built("unet")
    run, norm = InBfloat16(network), next(m for m in network.modules() if type(m) is nn.BatchNorm2d)
    run(z)
    before = norm.running_mean.clone()
    norm.track_running_stats = False
    run(z)
    assert torch.equal(norm.running_mean, before)
    norm.track_running_stats = True
    run(z)
    assert not torch.equal(norm.running_mean, before)


def test_a_copy_of_a_network_runs_by_itself():
    network, z = built("normfree")
    engine = Engine(network, CPU, "bfloat16", replayable=True)
    assert not engine._few_calls
    engine._few_calls = True
    first = engine(z)
    other = copy.deepcopy(engine)
    with torch.no_grad():
        for weight in other.parameters():
            weight.zero_()
    assert torch.equal(engine(z), first)
    assert not torch.equal(other(z), first)
    assert {type(layer) for layer in engine.layers} >= {
        type(layer) for layer in InBfloat16(network).layers.modules()
    }


class Stream:
    """Stands for a stream of PyTorch's: notes what it waits for."""

    def __init__(self, name, log):
        self.name, self.log = name, log

    def wait_stream(self, other):
        self.log.append(f"{self.name} waits for {other.name}")


class Fake:
    """Stands for PyTorch's streams and graphs: what is recorded is done again at each replay."""

    def __init__(self, monkeypatch):
        self.log, number = [], itertools.count(1)
        here = Stream("usual", self.log)
        monkeypatch.setattr(torch.cuda, "Stream", lambda _: Stream(next(number), self.log))
        monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
        monkeypatch.setattr(torch.cuda, "current_stream", lambda device: here)
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: object())


@pytest.fixture
def fake(monkeypatch):
    made = Fake(monkeypatch)

    def recorded(self, work, inputs):
        places = [given.clone() for given in inputs]
        outputs = [torch.empty_like(output) for output in work(*places)]
        made.log.append("recorded")

        class Graph:
            @staticmethod
            def replay():
                made.log.append("played")
                for place, output in zip(outputs, work(*places), strict=True):
                    place.copy_(output)

        return graphs.Graph(Graph, places, outputs)

    monkeypatch.setattr(Replay, "_recorded", recorded)
    return made


def test_work_is_done_once_then_recorded_and_played(fake):
    replay, seen = Replay(CPU), []

    def double(x):
        seen.append(x)
        return [2 * x]

    found = [replay(double, [torch.full((2,), float(k))], "key") for k in range(4)]
    assert [outputs[0].tolist() for outputs in found] == [[0, 0], [2, 2], [4, 4], [6, 6]]
    assert fake.log == ["recorded", "played", "played", "played"]


def test_another_shape_or_key_is_another_recording(fake):
    replay = Replay(CPU)
    for key in ("a", "b"):
        for size in (2, 3):
            for _ in range(3):
                replay(lambda x: [x + 1], [torch.zeros(size)], key)
    assert fake.log.count("recorded") == 4
    replay.forget()
    replay(lambda x: [x + 1], [torch.zeros(2)], "a")
    assert fake.log.count("recorded") == 4
    replay(lambda x: [x + 1], [torch.zeros(2)], "a")
    assert fake.log.count("recorded") == 5


def test_outputs_are_kept_from_the_next_replay(fake):
    replay = Replay(CPU)
    found = [replay(lambda x: [x + 1], [torch.full((1,), float(k))], 0)[0] for k in range(5)]
    assert [float(each) for each in found] == [1, 2, 3, 4, 5]


def test_garbage_is_kept_while_a_step_is_recorded_and_afterwards_no_more():
    assert gc.isenabled()
    with graphs._garbage_kept():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    with graphs._garbage_kept():
        pass
    assert not gc.isenabled()
    gc.enable()


def test_only_what_is_known_to_bear_it_is_played():
    network, _ = built("normfree")
    assert replay_of(Engine(network, CPU, "float32", replayable=True)) is None
    assert replay_of(network) is None


SETTINGS = [
    FitSettings(optimizer="adam"),
    FitSettings(optimizer="muon", weight_decay=0.01, clip_gradients=1.0),
    FitSettings(optimizer="adamw", measure="after", eval_mode=True),
]


def stepped(trainer, turns, count=1):
    """Take some steps, and return all losses and pictures."""
    seen = []
    generator = torch.Generator().manual_seed(3)
    for step in range(5):
        shape = (1, 3, 16, 32)
        inputs, targets = (
            [torch.rand(shape, generator=generator) for _ in range(count)] for _ in range(2)
        )
        trainer.set_rates(step / 5, 1.0)
        seen += trainer.take(Batch(inputs, targets, [turns[step]] * count, identity))
    return seen


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("turns", [(0, 0, 0, 0, 0), (0, 3, 5, 2, 1)])
def test_steps_that_are_played_are_the_steps(fake, monkeypatch, settings, turns):
    """Learning rates on the GPU, turns outside: the same, but for the order of sums."""
    expected = stepped(Trainer(built("normfree")[0], settings), turns)
    monkeypatch.setattr("guided_dip.training.trainer.replay_of", lambda network: Replay(CPU))
    # What is recorded is done once more, as a graph is not while it is recorded.
    monkeypatch.setattr(
        Replay, "__call__", lambda self, work, inputs, key: work(*(x.clone() for x in inputs))
    )
    trainer = Trainer(built("normfree")[0], settings)
    assert all(
        isinstance(group["lr"], torch.Tensor)
        for optimizer in trainer.optimizers
        for group in optimizer.param_groups
    )
    for mine, theirs in zip(stepped(trainer, turns), expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("settings", SETTINGS)
def test_a_state_goes_from_a_gpu_to_a_cpu_and_back(fake, monkeypatch, settings):
    plain = Trainer(built("normfree")[0], settings)
    monkeypatch.setattr("guided_dip.training.trainer.replay_of", lambda network: Replay(CPU))
    played = Trainer(built("normfree")[0], settings)
    monkeypatch.setattr(Replay, "__call__", lambda self, work, inputs, key: work(*inputs))
    for trainer in (plain, played):
        stepped(trainer, (0,) * 5)
    states = [copy.deepcopy(trainer.state()) for trainer in (plain, played)]
    for trainer, state, kind in ((plain, states[1], float), (played, states[0], torch.Tensor)):
        trainer.load_state(state)
        groups = [group for optimizer in trainer.optimizers for group in optimizer.param_groups]
        assert all(isinstance(group["lr"], kind) for group in groups)
        assert {group.get("capturable") for group in groups} <= {kind is torch.Tensor, None}
    for mine, theirs in zip(stepped(plain, (0,) * 5), stepped(played, (0,) * 5), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4)


def test_trainers_begin_together_and_end_together(fake, monkeypatch):
    monkeypatch.setattr("guided_dip.training.trainer.replay_of", lambda network: Replay(CPU))
    monkeypatch.setattr(
        Replay, "__call__", lambda self, work, inputs, key: fake.log.append("work") or work(*inputs)
    )
    both = Trainers([Trainer(built("normfree")[0], FitSettings()) for _ in range(2)])
    both.begin()
    assert both.set_rates(0.5, 1.0) == FitSettings().learning_rate
    inputs, target = [torch.rand(1, 3, 16, 16) for _ in range(2)], torch.rand(1, 3, 16, 16)
    taken = both.take(Batch(inputs, [target, target], [0, 0], identity))
    assert fake.log == [
        *("1 waits for usual", "2 waits for usual"),
        *("work", "work"),
        *("usual waits for 1", "usual waits for 2"),
    ]
    assert taken.outputs.shape == (2, 3, 16, 16)
    monkeypatch.undo()
    alone = Trainer(built("normfree")[0], FitSettings())
    alone.set_rates(0.5, 1.0)
    losses = alone.take(Batch(inputs[1:], [target], [0], identity)).losses
    torch.testing.assert_close(taken.losses[1], losses)
