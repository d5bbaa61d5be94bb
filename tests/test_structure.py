"""Wide holes: what goes on across them is found in the picture made smaller."""

import signal
import time

import numpy as np
import pytest
import torch

from guided_dip.cli import run as command
from guided_dip.config import make_config
from guided_dip.diffusion import make_schedule
from guided_dip.filling import WIDE, bent, filled, wide_part
from guided_dip.guidance import make_plan
from guided_dip.hiding import Hiding
from guided_dip.images import Picture, read, write
from guided_dip.restoration import Known, Restoration, prepare, restore, structure
from guided_dip.supervision import RecorruptedGuides

TINY = {"backbone_options": {"width": 4, "scales": 2}, "steps": 4, "threads": 1}


@pytest.fixture
def little(monkeypatch):
    monkeypatch.setattr(structure, "WORK", dict.fromkeys(structure.WORK, (8, 4)))


def stripes(side=64):
    """A dark beam on a light wall."""
    image = np.full((side, side, 3), 0.8, np.float32)
    image[28:36] = 0.2
    return image


def hole(side=64, half=14):
    missing = np.zeros((side, side), bool)
    missing[32 - half : 32 + half, 32 - half : 32 + half] = True
    return missing


def coarse(image, missing, **settings):
    y = torch.from_numpy(image).permute(2, 0, 1)[None]
    known = torch.from_numpy(~missing).float()[None, None]
    config = prepare(image, make_config({"task": "inpaint", **TINY, **settings}), Known(missing))
    return structure.coarse_of(y, known, config.config)


def test_narrow_holes_are_none_of_its_business():
    image, narrow = stripes(), np.zeros((64, 64), bool)
    narrow[20 : 20 + WIDE - 1, 10:50] = True
    assert coarse(image, narrow) is None
    scattered = np.random.default_rng(0).random((64, 64)) < 0.5
    assert coarse(image, scattered) is None
    assert coarse(image, hole()) is not None


@pytest.mark.parametrize(("side", "factor"), [(64, 1), (150, 2), (301, 3), (500, 4)])
def test_the_picture_is_made_so_small_that_it_is_looked_at_soon(side, factor):
    image, missing = stripes(side), hole(side)
    looked = coarse(image, missing)
    assert looked.factor == factor
    height, width = looked.fit.pixels.shape[:2]
    assert height == width == -(-side // factor)
    assert height * width <= structure.PIXELS + 2 * side
    assert looked.fit.missing.any()
    assert looked.fit.config.supervision == "observation"


def test_what_is_known_is_seen_of_means_over_known_pixels():
    image, missing = stripes(150), hole(150)
    image[missing] = 77.0
    small = coarse(image, missing).fit
    assert small.pixels[~small.missing].max() < 0.81


def test_it_is_as_large_as_the_picture(little):
    for side in (64, 150, 151):
        seen = coarse(stripes(side), hole(side)).look()
        assert seen.shape == (1, 3, side, side)
        assert torch.isfinite(seen).all()


def test_a_beam_goes_on_across_a_hole():
    """Filled in smoothly it would end."""
    image, missing = stripes(), hole()
    y = torch.from_numpy(image).permute(2, 0, 1)[None]
    known = torch.from_numpy(~missing).float()[None, None]
    seen = coarse(image, missing, seed=1).look()
    smooth = filled(y, known)

    def error(found):
        return float(((found - y) * (1 - known)).square().sum() / (1 - known).sum() / 3)

    assert error(seen) < 0.5 * error(smooth)


def test_guides_are_filled_in_from_what_is_seen():
    image, missing = stripes(), hole()
    y = torch.from_numpy(image).permute(2, 0, 1)[None]
    known = torch.from_numpy(~missing).float()[None, None]
    schedule = make_schedule("cosine", lower_clip=1e-4)
    plan = make_plan("recorrupted-guides", schedule, steps=4, count=2, sigma=None, hide=(0.5, 0.1))
    given = y * known
    hiding = Hiding(known, 0)
    assert hiding.holes
    told = RecorruptedGuides(given, plan, sigma=0.0, seed=0, hiding=hiding, structure=y)
    shown = told.final_input(1, 0)
    torch.testing.assert_close(shown[:, :3], y, rtol=0, atol=1e-6)
    assert torch.equal(shown[:, 3:], known)
    window = (slice(10, 50), slice(20, 60))
    torch.testing.assert_close(told.final_input(1, 0, window), shown[..., *window])
    for step in range(4):
        pair = told.pair(step // 2, step)
        assert (
            pair.input[:, :3] * pair.input[:, 3:] - given * pair.input[:, 3:]
        ).abs().max() < 1e-6
    other = RecorruptedGuides(given, plan, sigma=0.0, seed=0, hiding=hiding, structure=y + 0.1)
    # A constant more says nothing: known pixels tell that it is not there.
    torch.testing.assert_close(other.final_input(1, 0), shown, rtol=0, atol=1e-5)


def test_narrow_holes_beside_wide_ones_are_filled_in_as_ever():
    image, missing = stripes(), hole()
    missing[2:62, 4:8] = True
    y = torch.from_numpy(image).permute(2, 0, 1)[None]
    known = torch.from_numpy(~missing).float()[None, None]
    wide = wide_part(1 - known)[0, 0].bool().numpy()
    assert np.array_equal(wide, hole())
    plan = make_plan(
        *("recorrupted-guides", make_schedule("cosine", lower_clip=1e-4)),
        **{"steps": 4, "count": 2, "sigma": None, "hide": (0.5, 0.1)},
    )
    seen = torch.rand(y.shape, generator=torch.Generator().manual_seed(0))
    guides = RecorruptedGuides(y, plan, sigma=0.0, seed=0, hiding=Hiding(known, 0), structure=seen)
    shown = guides.final_input(1, 0)[0, :3]
    assert torch.equal(shown[:, ~wide], bent(y, known)[0][:, ~wide])
    assert not torch.equal(shown[:, wide], bent(y, known)[0][:, wide])


def test_a_run_looks_across_first_and_is_repeated_to_the_same_bytes(little):
    image, missing = stripes(), hole()
    config = make_config({"task": "inpaint", **TINY})
    steps = []
    one = prepare(image, config, Known(missing))
    one.look_across(steps.append)
    assert [record.step for record in steps] == [0, 1, 2, 3]
    found = one.run().image
    assert np.array_equal(found[~missing], image[~missing])
    assert np.array_equal(restore(image, mask=missing, **TINY).image, found)


def test_its_time_counts_where_time_is_short(little, monkeypatch):
    image, missing = stripes(), hole()
    one = prepare(image, make_config({"task": "inpaint", **TINY}), Known(missing))
    monkeypatch.setattr(one.coarse.fit.__class__, "_step_time", lambda *_: 1.0)
    monkeypatch.setattr(one.coarse.fit.__class__, "_draw_times", lambda *_: (0.0, 0.0))
    assert one.pace() == (1.0, 4.0)
    assert "_structure" not in vars(one)


@pytest.mark.parametrize("beforehand", [False, True])
def test_looking_across_counts_as_a_run_s_time(little, monkeypatch, beforehand):
    image, missing = stripes(), hole()
    one = prepare(image, make_config({"task": "inpaint", **TINY}), Known(missing))
    look, taken = structure.Coarse.look, []

    def timed(self, on_step=None):
        began = time.perf_counter()
        seen = look(self, on_step)
        taken.append(time.perf_counter() - began)
        return seen

    monkeypatch.setattr(structure.Coarse, "look", timed)
    if beforehand:
        one.look_across()
    result = one.run()
    assert len(taken) == 1
    assert result.seconds >= taken[0] + result.records[-1].seconds


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_is_cut_before_the_first_step_leaves_nothing(
    little, tmp_path, monkeypatch, capsys, number
):
    monkeypatch.chdir(tmp_path)
    write("in.png", Picture(np.uint8(stripes() * 255)))
    write("mask.png", Picture(np.uint8(hole() * 255)))
    taken = Restoration.take

    def interrupted(self, course, step):
        if self.config.supervision == "observation":
            signal.raise_signal(number)
        return taken(self, course, step)

    monkeypatch.setattr(Restoration, "take", interrupted)
    small = ["--steps", "4", "--set", "backbone_options={width: 4, scales: 2}"]
    arguments = ["--mask", "mask.png", "-o", "out.png", "--run-dir", "run", *small]
    assert command(["restore", "in.png", *arguments]) == 128 + number
    assert "interrupted before its first step, so nothing is kept" in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.png", "mask.png"]


def test_the_command_says_what_it_does_first(little, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write("in.png", Picture(np.uint8(stripes() * 255)))
    write("mask.png", Picture(np.uint8(hole() * 255)))
    small = ["--steps", "4", "--set", "backbone_options={width: 4, scales: 2}"]
    small += ["--set", "threads=1"]
    assert command(["restore", "in.png", "--mask", "mask.png", "-o", "out.png", *small]) == 0
    assert "some holes are wide: first, what goes on across them" in capsys.readouterr().err
    quiet = ["--quiet", "--overwrite"]
    first = read("out.png").pixels
    assert (
        command(["restore", "in.png", "--mask", "mask.png", "-o", "out.png", *small, *quiet]) == 0
    )
    assert capsys.readouterr().err == ""
    assert np.array_equal(read("out.png").pixels, first)
