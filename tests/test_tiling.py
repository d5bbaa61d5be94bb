"""Tiles cover a picture once, and put together they are what is computed at once."""

import dataclasses

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from guided_dip import seeds
from guided_dip.backbones.normfree import NormFree
from guided_dip.diffusion import make_schedule
from guided_dip.fit import Fit
from guided_dip.guidance import make_plan
from guided_dip.sizing import MARGIN
from guided_dip.supervision import Filter, RecorruptedGuides
from guided_dip.tiling import Tiling, bands, middle, within
from guided_dip.training import FitSettings

sizes = st.tuples(st.integers(1, 200), st.integers(1, 200))


@given(sizes, st.integers(8, 90), st.integers(0, 40), st.sampled_from([1, 4, 16]))
def test_tiles_cover_every_pixel_once_with_their_margin(size, side, margin, multiple):
    count = torch.zeros(size)
    for tile in Tiling(size, side, margin, multiple).tiles():
        count[tile.inner] += 1
        for inner, outer, length in zip(tile.inner, tile.outer, size, strict=True):
            assert outer.start % multiple == outer.stop % multiple == 0
            assert inner.stop - inner.start <= side
            assert outer.start <= max(0, inner.start - margin)
            assert outer.stop >= min(length, inner.stop + margin)
            assert outer.stop < length + multiple
        assert within(tile.inner, tile.inner) == tuple(
            slice(0, part.stop - part.start) for part in tile.inner
        )
    assert (count == 1).all()


@given(sizes, st.integers(8, 90), st.integers(0, 40), st.sampled_from([1, 4, 16]))
def test_tiles_that_end_with_the_picture_are_the_others_cut_off(size, side, margin, multiple):
    usual = list(Tiling(size, side, margin, multiple).tiles())
    found = list(Tiling(size, side, margin, multiple, beyond=False).tiles())
    for tile, other in zip(found, usual, strict=True):
        assert (tile.inner, tile.core) == (other.inner, other.core)
        for outer, wide, length in zip(tile.outer, other.outer, size, strict=True):
            assert outer == slice(wide.start, min(wide.stop, length))


def test_tiles_of_a_window():
    tiling = Tiling((100, 90), 32, 8, 4)
    window = (slice(10, 75), slice(0, 90))
    count = torch.zeros(tiling.size)
    for tile in tiling.tiles(window):
        count[tile.inner] += 1
    assert (count[window] == 1).all()
    assert count.sum() == 65 * 90


@given(st.integers(1, 60), st.integers(1, 90), st.integers(1, 5), st.integers(8, 90), st.data())
def test_tiles_of_pages_lie_in_one_page_and_are_each_page_s_own(height, width, pages, side, data):
    alone = Tiling((height, width), side, 8, 4)
    tiling = Tiling((pages * height, width), side, 8, 4, pages)
    first = data.draw(st.integers(0, pages * height - 1))
    rows = slice(first, data.draw(st.integers(first + 1, pages * height)))
    count = torch.zeros(tiling.size)
    for tile in tiling.tiles((rows, slice(0, width))):
        count[tile.inner] += 1
        page = tile.inner[0].start // height
        assert page == (tile.inner[0].stop - 1) // height == tile.outer[0].start // height
        assert tile.outer[0].stop < (page + 1) * height + 4
    assert (count[rows] == 1).all()
    assert count.sum() == (rows.stop - rows.start) * width
    whole = list(tiling.tiles())
    own = [(tile.inner, tile.outer) for tile in alone.tiles()]
    for page in range(pages):
        top = page * height
        lower = [
            ((slice(r.start + top, r.stop + top), c), (slice(a.start + top, a.stop + top), b))
            for (r, c), (a, b) in own
        ]
        part = whole[page * len(own) : (page + 1) * len(own)]
        assert [(tile.inner, tile.outer) for tile in part] == lower


@given(sizes, st.integers(1, 300), st.sampled_from([1, 8, 16]))
def test_the_middle_is_in_the_middle(size, side, multiple):
    for part, length in zip(middle(size, side, multiple), size, strict=True):
        assert part.stop - part.start == min(side, length)
        assert part.start % multiple == 0
        assert abs(part.start - (length - part.stop)) <= 1 + 2 * (multiple - 1)


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 10_000))
def test_bands_are_even_and_follow_on_each_other(height, width, pixels):
    found = list(bands(height, width, pixels))
    assert [row for part in found for row in range(part.start, part.stop)] == list(range(height))
    rows = [part.stop - part.start for part in found]
    assert max(rows) - min(rows) <= 1
    assert (max(rows) - 1) * width < pixels


@settings(max_examples=30)
@given(st.integers(-300, 300), st.integers(-300, 300), st.integers(1, 300), st.integers(1, 300))
def test_a_field_of_noise_is_the_same_in_every_window(top, left, height, width):
    like = torch.zeros(1, 2, 1, 1)
    rows, columns = slice(top, top + height), slice(left, left + width)
    part = seeds.field(like, rows, columns, 3, "final", 7)
    around = seeds.field(
        like, slice(top - 9, top + height + 4), slice(left - 3, left + width), 3, "final", 7
    )
    assert torch.equal(part, around[..., 9 : 9 + height, 3 : 3 + width])
    assert not torch.equal(part, seeds.field(like, rows, columns, 3, "final", 8))


def test_a_field_is_white_and_normal():
    noise = seeds.field(torch.zeros(1, 3, 1, 1), slice(-100, 900), slice(40, 940), 0, "x")
    assert noise.mean().item() == pytest.approx(0, abs=3e-3)
    assert noise.std().item() == pytest.approx(1, abs=3e-3)
    assert (noise**4).mean().item() == pytest.approx(3, rel=0.02)
    for shift in (1, seeds.BLOCK):
        product = (noise[..., shift:] * noise[..., :-shift]).mean().item()
        assert product == pytest.approx(0, abs=4e-3)


SCHEDULE = make_schedule("cosine", lower_clip=1e-4)
SIZE = (150, 202)  # no multiples of anything
Y = torch.rand(1, 3, *SIZE, generator=torch.Generator().manual_seed(1))


class Local(nn.Module):
    """Sees 4 pixels around, on a grid of 4."""

    multiple = 4

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.down, self.up = nn.Conv2d(3, 8, 4, 4), nn.ConvTranspose2d(8, 3, 4, 4)

    def forward(self, x):
        return self.up(torch.tanh(self.down(x)))


def fit(network, *, side, margin=8, multiple=4, restarts=1, grain=None, share=None, **options):
    plan = make_plan(
        "recorrupted-guides", SCHEDULE, steps=4 * restarts, count=2, sigma=0.1, restarts=restarts
    )
    guides = RecorruptedGuides(Y, plan, sigma=0.1, seed=0, grain=grain, share=share)
    settings = FitSettings(final_draws=5, flips_and_turns=True, learning_rate=1e-2, **options)

    class Ended(Fit):
        """A fit whose steps are on a corner, so that networks of any grid take them."""

        def _next(self):
            task = super()._next()
            given, target = (image[..., :64, :64] for image in task.pair[:2])
            return dataclasses.replace(task, pair=task.pair._replace(input=given, target=target))

    return Ended(
        network,
        guides,
        plan,
        settings,
        fresh=lambda restart: type(network)(seed=restart).state_dict(),
        tiling=Tiling(SIZE, side, margin, multiple),
    )


GRAIN = {
    "grain": Filter(torch.rand(3, 3), torch.eye(3)),
    "share": torch.rand(Y.shape, generator=torch.Generator().manual_seed(2)),
}


@pytest.mark.parametrize("restarts", [1, 3])
@pytest.mark.parametrize("kind", [{}, GRAIN], ids=["white", "grain"])
def test_the_tiles_of_a_local_network_are_the_whole(restarts, kind):
    """Its noise, flips and turns, the means over draws and restarts: all as without tiles."""
    found = []
    for side in (1000, 64, 40):
        one = fit(Local(), side=side, restarts=restarts, **kind)
        assert len(list(one)) == 4 * restarts
        found.append(one.estimate_and_spread())
    for estimate, spread in found[1:]:
        assert estimate.shape == spread.shape == Y.shape
        torch.testing.assert_close(estimate, found[0][0], rtol=0, atol=1e-5)
        torch.testing.assert_close(spread, found[0][1], rtol=0, atol=1e-4)


def test_a_window_is_that_of_the_whole():
    one = fit(Local(), side=50, restarts=2)
    for step in one:
        if step.index in (1, 3, 5, 7):
            window = (slice(33, 120), slice(7, 190))
            part, spread = one.estimate_and_spread(3, window)
            whole, all_spread = one.estimate_and_spread(3)
            torch.testing.assert_close(part, whole[..., *window], rtol=0, atol=1e-5)
            torch.testing.assert_close(spread, all_spread[..., *window], rtol=0, atol=1e-4)


def test_restarts_in_tiles_keep_weights_instead_of_images():
    one = fit(Local(), side=64, restarts=3)
    list(one)
    state = one.state()
    assert state["ended"] == {"count": 0}
    assert len(state["ended_weights"]) == 2
    other = fit(Local(), side=64, restarts=3)
    other.load_state(state)
    assert torch.equal(other.estimate(), one.estimate())


def test_a_single_output_has_no_spread():
    one = fit(Local(), side=64)
    assert one.estimate_and_spread(1)[1] is None


def test_the_default_network_sees_hardly_more_than_the_margin():
    """What tiles differ by from the whole is nothing to see, at their seams as well."""
    torch.manual_seed(0)
    network = NormFree(width=16)
    tiled, whole = (fit(network, side=side, margin=MARGIN, multiple=16) for side in (64, 1000))
    expected = whole.estimate(4)
    apart = (tiled.estimate(4) - expected).abs()
    assert apart.max() < 0.01 * expected.std()
    assert apart[..., 60:68, :].mean() < 1e-3 * expected.std()
