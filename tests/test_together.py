"""Several restorations at once are what each is by itself, but for rounding."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from guided_dip import backbones
from guided_dip.backbones import several
from guided_dip.backbones.several import join
from guided_dip.config import make_config
from guided_dip.engine import Engine
from guided_dip.errors import InputError
from guided_dip.fit import Fit
from guided_dip.optimizers import make_optimizers
from guided_dip.restoration import prepare, run_together, why_alone, why_apart
from guided_dip.runs import Source, summarize
from networks import SMALL

CPU = torch.device("cpu")
FINE = {"precision": "float32", "threads": 1, "device": "cpu"}


def networks(name, count, seed=0):
    made = []
    for k in range(count):
        torch.manual_seed(seed + k)
        network = backbones.build(name, 3, options=SMALL[name])
        made.append(Engine(network, CPU, "float32"))
    return made


def inputs(name, count, size=(32, 32)):
    row = backbones.find(name)
    return torch.cat(
        [
            backbones.network_input(row, 3, size, torch.Generator().manual_seed(k))
            for k in range(count)
        ]
    )


@pytest.mark.parametrize("name", backbones.BACKBONES)
@pytest.mark.parametrize("training", [True, False])
def test_each_image_goes_through_its_own_network(name, training):
    own, z = networks(name, 3), inputs(name, 3)
    expected = [network.train(training)(z[k : k + 1]) for k, network in enumerate(own)]
    joint = join(networks(name, 3)).train(training)
    torch.testing.assert_close(joint(z), torch.cat(expected), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_gradients_and_running_statistics_reach_each_network(name):
    own, z = networks(name, 2), inputs(name, 2)
    target = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(9))
    for k, network in enumerate(own):
        (network.train()(z[k : k + 1]) - target[k : k + 1]).square().mean().backward()
    shared = networks(name, 2)
    joint = join(shared).train()
    (joint(z) - target).square().mean((1, 2, 3)).sum().backward()
    gradients = [dict(network.named_parameters()) for network in own]
    for key, weight in joint.named_parameters():
        expected = torch.cat([each[key].grad for each in gradients])
        scale = float(expected.abs().max()) or 1.0
        torch.testing.assert_close(weight.grad, expected, rtol=1e-3, atol=1e-4 * scale + 1e-6)
    for mine, theirs in zip(shared, own, strict=True):
        for key, value in theirs.named_buffers():
            if value.dim():
                torch.testing.assert_close(mine.get_buffer(key), value, rtol=1e-4, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    transposed=st.booleans(),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    padding=st.integers(0, 2),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    bias=st.booleans(),
    count=st.integers(1, 3),
)
def test_convolutions_of_any_kind_are_pytorch_s(
    transposed, kernel, stride, padding, size, bias, count
):
    """By matrices on tiny maps, grouped on others: outputs and gradients agree."""
    if not transposed and min(size) + 2 * padding < kernel:
        return
    if transposed and min((length - 1) * stride - 2 * padding + kernel for length in size) < 1:
        return
    kind = nn.ConvTranspose2d if transposed else nn.Conv2d
    torch.manual_seed(kernel)
    own = [nn.Sequential(kind(4, 3, kernel, stride, padding, bias=bias)) for _ in range(count)]
    for network in own:
        network.to(memory_format=torch.channels_last)
    x = torch.randn(count, 4, *size)
    expected = torch.cat([network(x[k : k + 1]) for k, network in enumerate(own)])
    weights = torch.randn_like(expected)
    (expected * weights).sum().backward()
    gradients = [network[0].weight.grad for network in own]
    mine = x.clone().requires_grad_()
    joint = join(own)
    found = joint(mine)
    (found * weights).sum().backward()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(joint[0].weight.grad, torch.cat(gradients), rtol=1e-4, atol=1e-4)
    assert mine.grad.shape == x.shape


def test_tiny_maps_are_computed_by_matrices_in_bfloat16_too(monkeypatch):
    torch.manual_seed(0)
    own = [nn.Sequential(nn.Conv2d(8, 8, 5, 2, 2), nn.ConvTranspose2d(8, 8, 4, 2, 1)) for _ in "ab"]
    x = torch.randn(2, 8, 4, 4)
    expected = torch.cat([network(x[k : k + 1]) for k, network in enumerate(own)])
    joint = join(own)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = joint(x)
        monkeypatch.setattr(several, "TINY", 0)
        grouped = joint(x)
    assert found.dtype == grouped.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.02)
    torch.testing.assert_close(grouped.float(), expected, rtol=0.05, atol=0.02)


def test_what_one_changes_the_other_sees():
    own = networks("unet", 2)
    joint = join(own)
    with torch.no_grad():
        for weight in joint.parameters():
            weight.fill_(1.0)
        for weight in own[1].parameters():
            weight.fill_(2.0)
    for weight in joint.parameters():
        first, second = weight.chunk(2)
        assert bool((first == 1).all())
        assert bool((second == 2).all())


@pytest.mark.parametrize(
    "layer",
    [
        nn.Linear(3, 3),
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, dilation=2),
        nn.Conv2d(4, 4, 3, padding="same"),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(4, 4, 3, stride=2, output_padding=1),
        nn.BatchNorm2d(4, momentum=None),
        nn.GroupNorm(2, 4),
    ],
)
def test_other_layers_are_not_joined(layer):
    with pytest.raises(TypeError, match="cannot be joined"):
        join([nn.Sequential(layer), nn.Sequential(layer)])


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "muon"])
def test_optimisers_move_each_network_as_its_own_would(optimizer):
    generator = torch.Generator().manual_seed(0)
    own, shared = networks("normfree", 2), networks("normfree", 2)
    joint = join(shared)
    rates = {"learning_rate": 0.01, "muon_learning_rate": 0.02, "weight_decay": 0.1}
    ours = make_optimizers(joint, optimizer, **rates)
    theirs = [make_optimizers(network, optimizer, **rates) for network in own]
    for _ in range(3):
        for key, weight in joint.named_parameters():
            weight.grad = torch.randn(weight.shape, generator=generator)
            for network, part in zip(own, weight.grad.chunk(2), strict=True):
                network.get_parameter(key).grad = part.clone()
        for one in [*ours, *(each for group in theirs for each in group)]:
            one.step()
    for mine, network in zip(shared, own, strict=True):
        for key, weight in network.named_parameters():
            torch.testing.assert_close(mine.get_parameter(key), weight, rtol=1e-3, atol=1e-4)


def restorations(count=3, **given):
    rng = np.random.default_rng(0)
    usual = {"backbone": "unet", "backbone_options": SMALL["unet"], "steps": 20}
    made = []
    for seed in range(count):
        image = rng.random((32, 32, 3)).astype(np.float32)
        config = make_config({**usual, **FINE, **given, "seed": seed}, preset="report")
        made.append(prepare(image, config, clean=image))
    return made


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"measure": "after", "eval_mode": True, "rebuild_optimizer": True, "reset_batchnorm": True},
        {"backbone": "segnet", "backbone_options": SMALL["segnet"], "schedule": "cosine"},
        {"backbone": "skip", "backbone_options": SMALL["skip"], "supervision": "observation"},
    ],
)
def test_runs_together_are_each_by_itself_but_for_rounding(given):
    alone = [restoration.run() for restoration in restorations(**given)]
    seen = []
    found = run_together(restorations(**given), lambda k, record: seen.append((k, record.step)))
    assert seen == [(k, step) for step in range(20) for k in range(3)]
    for mine, theirs in zip(found, alone, strict=True):
        assert mine.together == 3
        assert theirs.together == 1
        losses, expected = ([r.loss for r in result.records] for result in (mine, theirs))
        assert losses == pytest.approx(expected, rel=2e-2)
        assert losses[0] == pytest.approx(expected[0], rel=1e-5)
        assert mine.scores.psnr == pytest.approx(theirs.scores.psnr, abs=0.3)
        assert [step for step, _ in mine.snapshots] == [step for step, _ in theirs.snapshots]
        assert mine.records[-1].psnr == pytest.approx(theirs.records[-1].psnr, abs=0.3)


@pytest.mark.parametrize("restarts", [1, 2])
def test_the_default_network_with_muon_runs_together_too(restarts):
    given = {"noise": "gaussian:25", "steps": 12, "backbone_options": {"width": 8}}
    given |= {"restarts": restarts}

    def prepared():
        rng = np.random.default_rng(1)
        image = rng.normal(0.5, 0.1, (32, 32, 3)).astype(np.float32)
        return [prepare(image, make_config({**given, **FINE, "seed": seed})) for seed in range(2)]

    alone = [restoration.run() for restoration in prepared()]
    for mine, theirs in zip(run_together(prepared()), alone, strict=True):
        assert mine.records[0].loss == pytest.approx(theirs.records[0].loss, rel=1e-4)
        assert mine.records[-1].loss == pytest.approx(theirs.records[-1].loss, rel=0.02)
        assert np.abs(mine.image - theirs.image).mean() < 0.01


def test_the_same_runs_together_are_the_same_bytes():
    first, second = (run_together(restorations(steps=5)) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        assert one.image.tobytes() == other.image.tobytes()


def test_one_that_diverges_is_left_out_and_the_others_go_on(monkeypatch):
    expected = run_together(restorations(steps=6))
    took = Fit._took

    def spoiled(self, task, loss, *rest):
        step = took(self, task, loss, *rest)
        bad = self.settings.seed == spoilt and step.index == 2
        return dataclasses.replace(step, loss=torch.tensor(math.nan)) if bad else step

    prepared = restorations(steps=6)
    spoilt = prepared[1]._fit().settings.seed
    assert spoilt != prepared[0]._fit().settings.seed
    monkeypatch.setattr(Fit, "_took", spoiled)
    found = run_together(prepared)
    assert found[1] is None
    for k in (0, 2):
        assert found[k].image.tobytes() == expected[k].image.tobytes()


def test_a_summary_says_how_many_ran_together():
    prepared = restorations(count=2, steps=3)
    result = run_together(prepared)[0]
    summary = summarize(prepared[0], result, Source("a.png", "0"), noise_estimated=False)
    assert summary.together == 2


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"stopping": "es-wmv"}, "stop"),
        ({"weight_average": 0.9}, "averages"),
        ({"clip_gradients": 1.0}, "clipped"),
        ({"backbone": "networks:Dropping", "backbone_options": {}}, "none of this project's"),
    ],
)
def test_what_cannot_run_together_says_why(given, reason):
    prepared = restorations(count=2, **given)
    assert reason in why_apart(prepared)
    assert reason in why_alone(prepared[0].config)
    assert reason in why_alone(make_config({"backbone": "unet", **given}, preset="report"))
    with pytest.raises(InputError, match=reason):
        run_together(prepared)


def test_seeds_that_shuffle_their_guides_run_together_too():
    given = {"guide_order": "shuffled", "supervision": "clean-guides", "count": 4}
    apart = [r.run() for r in restorations(**given)]
    joined = run_together(restorations(**given))
    assert len({result.plan for result in joined}) == len(joined)
    for one, other in zip(apart, joined, strict=True):
        assert one.plan == other.plan
        assert [r.stage for r in one.records] == [r.stage for r in other.records]
        losses = ([r.loss for r in each.records] for each in (one, other))
        np.testing.assert_allclose(*losses, rtol=1e-3)
    for change in ({"rebuild_optimizer": True}, {"learning_rate_schedule": "linear"}):
        config = make_config(given | change, preset="report")
        assert "order of guides" in why_alone(config)
    assert why_alone(config.replace(guide_order="least-noisy-first")) is None


def test_runs_that_differ_in_settings_or_size_are_apart():
    assert why_apart(restorations()) is None
    assert why_alone(restorations(count=1)[0].config) is None
    mixed = [restorations(count=1)[0], restorations(count=1, schedule="linear")[0]]
    other = [restorations(count=1)[0], restorations(count=1, schedule="cosine")[0]]
    assert why_apart(mixed) or why_apart(other)
