"""Hiding known pixels: what is hidden looks like what is missing, and is never shown."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from guided_dip.diffusion import make_schedule
from guided_dip.errors import InputError
from guided_dip.filling import filled
from guided_dip.guidance import make_plan
from guided_dip.hiding import Hiding, has_holes
from guided_dip.metrics import psnr
from guided_dip.restoration import restore
from guided_dip.restoration.prepare import _filled
from guided_dip.supervision import RecorruptedGuides

SCHEDULE = make_schedule("cosine", lower_clip=1e-4)


def scattered(share, size=(64, 64), seed=0):
    drawn = np.random.default_rng(seed).random(size) >= share
    return torch.from_numpy(drawn).float()[None, None]


def drawn(draw, size=(64, 64)):
    image = Image.new("L", size[::-1], 255)
    draw(ImageDraw.Draw(image))
    return torch.from_numpy(np.asarray(image) > 0).float()[None, None]


HOLES = {
    "square": drawn(lambda d: d.rectangle((20, 20, 40, 44), fill=0)),
    "letters": drawn(lambda d: d.text((2, 20), "Guided DIP", fill=0, font_size=18), (48, 96)),
    "scratch": drawn(lambda d: d.line((0, 3, 63, 50), fill=0, width=4)),
}


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.8, 0.95])
def test_scattered_pixels_are_no_holes(share):
    assert not has_holes(scattered(share, (256, 256)))


@pytest.mark.parametrize("name", HOLES)
def test_holes_are_holes(name):
    assert has_holes(HOLES[name])


def test_nothing_and_everything_are_no_holes():
    assert not has_holes(torch.ones(1, 1, 8, 8))
    assert not has_holes(torch.zeros(1, 1, 8, 8))


@given(st.floats(0.01, 0.99), st.integers(0, 5))
def test_scattered_pixels_are_hidden_one_by_one(share, step):
    known = scattered(0.4, (128, 128))
    kept = Hiding(known, seed=3).kept(share, step)
    assert set(kept.unique().tolist()) <= {0.0, 1.0}
    assert (kept <= known).all()
    hidden = 1 - (kept.sum() / known.sum()).item()
    assert hidden == pytest.approx(share, abs=0.025)
    assert torch.equal(kept, Hiding(known, seed=3).kept(share, step))
    assert not torch.equal(kept, Hiding(known, seed=3).kept(share, step + 1))
    assert not torch.equal(kept, Hiding(known, seed=4).kept(share, step))


@pytest.mark.parametrize("name", HOLES)
def test_holes_are_hidden_by_holes_of_the_same_size(name):
    known = HOLES[name]
    hiding = Hiding(known, seed=0)
    missing = int((1 - known).sum())
    counts = []
    for step in range(40):
        moved = hiding._moved(step)
        assert int((1 - moved).sum()) == missing
        kept = hiding.kept(0.5, step)
        assert torch.equal(kept, known * moved)
        counts.append(int((known - kept).sum()))
    assert len(set(counts)) > 5  # they overlap, more or less
    assert max(counts) <= missing


def supervision(known, sigma, **options):
    size = known.shape[-2:]
    y = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(1))
    plan = make_plan(
        "recorrupted-guides", SCHEDULE, steps=50, count=5, sigma=sigma or None, hide=(0.5, 0.1)
    )
    hiding = Hiding(known, 0)
    return y, plan, RecorruptedGuides(y, plan, sigma=sigma, seed=0, hiding=hiding, **options)


@pytest.mark.parametrize("sigma", [0.0, 0.1])
def test_the_network_is_shown_no_pixel_that_is_missing_or_hidden(sigma):
    known = scattered(0.4)
    y, plan, guides = supervision(known, sigma)
    for stage in range(len(plan)):
        pair = guides.pair(stage, 7 * stage)
        shown, kept = pair.input[:, :3], pair.input[:, 3:]
        # What is filled in follows from what is kept alone.
        torch.testing.assert_close(filled(shown * kept, kept), shown)
        assert (kept <= known).all()
        hidden = ((known - kept) > 0).expand_as(y)
        measured = y * pair.weight
        assert torch.equal(pair.target[hidden], measured[hidden])
        weighed = pair.weight > 0
        assert torch.equal(weighed, (known > kept) if sigma == 0 else known > 0)
        assert (pair.weight**2).mean().item() == pytest.approx(1, rel=1e-4)
    final = guides.final_input(len(plan) - 1, 0)
    kept = final[:, 3:]
    assert (kept <= known).all()
    hidden = 1 - kept.sum().item() / known.sum().item()
    assert hidden == pytest.approx(0.0 if sigma else 0.1, abs=0.03)
    if sigma == 0:
        torch.testing.assert_close(final[:, :3], filled(y, kept))


def test_kept_pixels_are_recorrupted_as_ever():
    y, plan, guides = supervision(scattered(0.2, (200, 200)), 0.1)
    a = plan.stages[2].a
    pair = guides.pair(2, 30)
    kept = (pair.input[:, 3:] > 0).expand_as(y)
    noise_in, noise_out = (pair.input[:, :3] - y)[kept], (pair.target / pair.weight - y)[kept]
    assert noise_in.std().item() == pytest.approx(0.1 * a, rel=0.02)
    assert noise_out.std().item() == pytest.approx(0.1 / a, rel=0.02)


def test_a_plan_hides_less_and_less():
    plan = make_plan("recorrupted-guides", SCHEDULE, steps=300, count=5, hide=(0.5, 0.1))
    assert [stage.hidden for stage in plan] == pytest.approx([0.5, 0.4, 0.3, 0.2, 0.1])
    for stage in plan:  # the timestep at which so many pixels are absorbed
        assert 1 - SCHEDULE.alpha_bar[stage.t] >= stage.hidden > 1 - SCHEDULE.alpha_bar[stage.t - 1]
    steps = [stage.steps for stage in plan]
    assert steps == sorted(steps)
    assert sum(steps) == 300
    noisy = make_plan(
        "recorrupted-guides", SCHEDULE, steps=300, count=5, sigma=0.1, hide=(0.5, 0.1)
    )
    usual = make_plan("recorrupted-guides", SCHEDULE, steps=300, count=5, sigma=0.1)
    assert [(s.steps, s.t, s.a) for s in noisy] == [(s.steps, s.t, s.a) for s in usual]
    with pytest.raises(InputError, match="from much to little"):
        make_plan("recorrupted-guides", SCHEDULE, steps=9, count=2, hide=(0.1, 0.5))


SMALL = {"backbone_options": {"width": 12, "scales": 3}, "effort": "fast", "threads": 1}


def striped(side=48):
    rows, columns = np.mgrid[:side, :side]
    waves = [np.sin(rows * 0.9), np.sin(columns * 0.9), np.sin((rows + columns) * 0.6)]
    return (0.5 + 0.4 * np.stack(waves, -1)).astype(np.float32)


def test_missing_pixels_are_restored_and_known_ones_kept():
    clean = striped()
    mask = np.random.default_rng(0).random(clean.shape[:2]) < 0.5
    broken = np.where(mask[..., None], np.float32(7.0), clean)
    settings = {"noise": "none", "steps": 250, "restarts": 1} | SMALL
    result = restore(broken, mask=mask, clean=clean, **settings)
    assert np.array_equal(result.image[~mask], clean[~mask])
    error = np.abs(result.image[mask] - clean[mask]).mean()
    nearest = np.abs(_filled(broken, mask)[mask] - clean[mask]).mean()
    assert error < 0.5 * nearest
    # What lies in missing pixels is of no account.
    other = np.where(mask[..., None], np.float32(0.3), clean)
    again = restore(other, mask=mask, clean=clean, **settings)
    assert np.array_equal(again.image, result.image)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((48, 48), bool), "every pixel"),
        (np.zeros((48, 47), bool), "try one of the same size"),
    ],
)
def test_a_mask_that_leaves_nothing_or_does_not_fit_is_refused(mask, message):
    with pytest.raises(InputError, match=message):
        restore(striped(), mask=mask, noise="none", **SMALL)


def test_in_a_window_some_hole_is_hidden():
    known = torch.ones(1, 1, 64, 80)
    known[..., 3:5, 7:60] = 0  # a scratch that most windows do not see
    hiding = Hiding(known, seed=0)
    window = slice(40, 60), slice(10, 34)
    for step in range(40):
        kept = hiding.kept(0.5, step, window)
        assert kept.shape == (1, 1, 20, 24)
        assert kept.min() == 0
        assert 0.5 < kept.mean() < 1
    assert torch.equal(kept, Hiding(known, seed=0).kept(0.5, 39, window))


def test_what_a_draw_hides_is_the_same_in_every_window():
    hiding = Hiding(scattered(0.5, (70, 90)), seed=5)
    whole = hiding.scattered(0.1, 3)
    assert whole.shape == (1, 1, 70, 90)
    assert (1 - whole).mean().item() == pytest.approx(0.1, abs=0.02)
    window = slice(20, 60), slice(13, 90)
    assert torch.equal(hiding.scattered(0.1, 3, window), whole[..., 20:60, 13:90])
    assert not torch.equal(hiding.scattered(0.1, 4), whole)


@pytest.mark.parametrize("noise", ["none", "gaussian:10"])
@pytest.mark.parametrize("holes", [False, True])
def test_large_images_are_filled_in_square_by_square(noise, holes):
    clean = striped(64)
    if holes:
        missing = np.zeros((64, 64), bool)
        missing[20:24, 5:60] = missing[40:44, 10:14] = True
    else:
        missing = np.random.default_rng(0).random((64, 64)) < 0.4
    given = clean.copy()
    given[missing] = 0
    settings = {"patch": 32, "patch_guides": 5, "tile": 32, "noise": noise, "steps": 200}
    settings |= {"backbone_options": {"width": 12, "scales": 2}, "threads": 1, "restarts": 1}
    result = restore(given, mask=missing, clean=clean, **settings)
    assert result.config.tile == 32
    assert all(stage.patch == 32 for stage in result.plan)
    if noise == "none":
        assert np.array_equal(result.image[~missing], clean[~missing])
    filled = psnr(result.image[missing], clean[missing], data_range=1.0)
    assert filled > psnr(given[missing], clean[missing], data_range=1.0) + 10
