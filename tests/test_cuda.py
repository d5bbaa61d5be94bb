"""On an NVIDIA GPU a step that is played from a graph is the step itself; skipped without one."""

import numpy as np
import pytest
import torch

from guided_dip import backbones
from guided_dip.backbones import segnet
from guided_dip.backbones.bfloat16 import InBfloat16
from guided_dip.config import make_config
from guided_dip.engine import Engine
from guided_dip.graphs import Replay
from guided_dip.restoration import Checkpoint, Restoration, prepare, run_together
from networks import SMALL

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")

OPTIONS = SMALL | {"normfree": {"width": 8, "scales": 2}}
FINE = {"device": "cuda", "precision": "float32"}


def picture(seed=0, side=32):
    rng = np.random.default_rng(seed)
    smooth = np.add.outer(np.linspace(0.2, 0.6, side), np.linspace(0, 0.3, side + 16))
    return (smooth[..., None] + rng.normal(0, 0.1, (side, side + 16, 3))).astype(np.float32)


def restoration(backbone="normfree", preset=None, seed=0, clean=None, **given):
    usual = {"backbone": backbone, "backbone_options": OPTIONS[backbone], "steps": 40}
    config = make_config(
        {**usual, **FINE, "noise": "gaussian:25", "seed": seed, **given}, preset=preset
    )
    return prepare(picture(), config, clean=clean)


@pytest.fixture
def plays(monkeypatch):
    """Count the graphs that are recorded and the steps that are played."""
    count = {"recorded": 0, "replayed": 0}
    recorded, replay = Replay._recorded, torch.cuda.CUDAGraph.replay

    def counted(self, *args):
        count["recorded"] += 1
        return recorded(self, *args)

    def played(self):
        count["replayed"] += 1
        replay(self)

    monkeypatch.setattr(Replay, "_recorded", counted)
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", played)
    return count


def eager(monkeypatch):
    monkeypatch.setattr("guided_dip.training.trainer.replay_of", lambda _network: None)


SETTINGS = [
    ("normfree", None, {}),
    ("normfree", None, {"patch": 16, "patch_guides": 1, "count": 2}),
    ("normfree", None, {"clip_gradients": 1.0, "optimizer": "adamw"}),
    ("normfree", None, {"weight_average": 0.9}),
    ("unet", "report", {"count": 4}),
    ("segnet", "author", {"count": 4, "resize": 32}),
    ("skip", None, {"supervision": "observation"}),
    ("deep-decoder", None, {"supervision": "observation"}),
    ("segnet", "report", {"count": 4, "precision": "bfloat16"}),
    ("normfree", None, {"precision": "bfloat16"}),
]


@pytest.mark.parametrize(("backbone", "preset", "given"), SETTINGS)
def test_a_step_that_is_played_is_the_step(monkeypatch, plays, backbone, preset, given):
    """Over few steps: rounding differs, and a fit enlarges it."""
    given = {"steps": 12, **given}
    clean = picture() if preset else None
    played = restoration(backbone, preset, clean=clean, **given).run()
    assert plays["replayed"] >= 4, "the check would compare eager steps with themselves"
    eager(monkeypatch)
    alone = restoration(backbone, preset, clean=clean, **given).run()
    losses = [[record.loss for record in result.records] for result in (played, alone)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.02)
    assert np.abs(played.image - alone.image).max() < 0.05


def test_every_orientation_and_shape_is_recorded_once(plays):
    result = restoration(steps=40).run()
    steps = len(result.records)
    assert plays["recorded"] <= 8
    assert plays["replayed"] >= steps - 4


@pytest.mark.parametrize("backbone", ["normfree", "unet"])
def test_runs_together_are_each_by_itself(backbone):
    preset = "report" if backbone == "unet" else None
    given = {"steps": 12, "restarts": 1, "count": 2}
    clean = picture() if preset else None

    def made():
        return [restoration(backbone, preset, seed, clean, **given) for seed in range(3)]

    shared = run_together(made())
    for one, together in zip(made(), shared, strict=True):
        alone = one.run()
        assert together.together == 3
        losses = [[record.loss for record in result.records] for result in (alone, together)]
        np.testing.assert_allclose(losses[0], losses[1], rtol=0.02)
        assert np.abs(alone.image - together.image).max() < 0.05
    assert np.abs(shared[0].image - shared[1].image).max() > 1e-4


def test_a_run_goes_on_from_a_checkpoint(plays):
    whole = restoration(steps=30, restarts=1)
    kept = []

    def keep(record):
        if record.step == 21:
            kept.append(whole.checkpoint().to_bytes())

    expected = whole.run(keep)
    again = restoration(steps=30, restarts=1).run(resume=Checkpoint.from_bytes(kept[0], "cuda"))
    assert [r.step for r in again.records] == [r.step for r in expected.records]
    losses = [[record.loss for record in result.records] for result in (again, expected)]
    np.testing.assert_allclose(losses[0], losses[1], rtol=0.02)


def test_a_fit_that_diverges_goes_back_and_records_anew(monkeypatch, plays):
    usual, seen = Restoration._has_diverged, []

    def once(self, course, loss):
        if len(course.records) == 25 and not seen:
            seen.append(plays["recorded"])
            return True
        return usual(self, course, loss)

    monkeypatch.setattr(Restoration, "_has_diverged", once)
    result = restoration(steps=40, restarts=1).run()
    assert result.rollbacks == (25,)
    assert plays["recorded"] > seen[0]
    seen.clear()
    eager(monkeypatch)
    alone = restoration(steps=40, restarts=1).run()
    assert alone.rollbacks == (25,)
    assert np.abs(result.image - alone.image).mean() < 0.02


def test_networks_of_ones_own_run_step_by_step(plays):
    given = {"backbone": "networks:Dropping", "steps": 12, "noise": "gaussian:25"}
    result = prepare(picture(), make_config({**FINE, **given})).run()
    assert np.isfinite(result.image).all()
    assert plays == {"recorded": 0, "replayed": 0}


def test_pooling_on_a_gpu_is_that_on_a_cpu():
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 3, (1, 8, 12, 20), generator=generator).float()  # with many ties
    x = x.contiguous(memory_format=torch.channels_last)
    v = torch.randn(1, 8, 6, 10, generator=generator)
    found = []
    for device in ("cpu", "cuda"):
        given, values = (t.clone().to(device).detach().requires_grad_() for t in (x, v))
        pooled, code = segnet.pool(given)
        back = segnet.unpool(values, code)
        ((pooled * pooled).sum() + (back * given.detach()).sum()).backward()
        found.append([t.detach().cpu() for t in (pooled, back, given.grad, values.grad)])
    for mine, theirs in zip(*found, strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_few_calls_in_bfloat16_are_autocast_s(name):
    cuda = torch.device("cuda")
    z = backbones.network_input(
        backbones.find(name), 3, (32, 64), torch.Generator().manual_seed(0)
    ).to(cuda)
    found = []
    for replayable in (True, False):
        torch.manual_seed(0)
        network = backbones.build(name, 3, options=OPTIONS[name])
        engine = Engine(network, cuda, "bfloat16", replayable=replayable)
        output = engine(z)
        assert isinstance(engine._running, InBfloat16) == replayable
        (output**2).mean().backward()
        found.append([output.detach(), *(weight.grad for weight in engine.parameters())])
    ours, autocast = (torch.cat([part.flatten() for part in parts]) for parts in found)
    assert float((ours - autocast).norm()) < 0.1 * float(autocast.norm())
