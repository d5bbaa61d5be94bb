"""Clipped noise: what is filled in, where it is found, and how strong it was."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guided_dip.clipping import Clipping, find_clipping
from guided_dip.noise import NoiseModel, estimate_noise

SIGMA = 25 / 255
LIMITS = [(0.0, 1.0), (0.0, math.inf), (-math.inf, 1.0), (-2.0, 3.0)]


def scene(side=128):
    """Dark to bright with edges and some texture, (side, side, 3) in [0, 1]."""
    y, x = np.mgrid[:side, :side] / side
    gray = np.clip(1.2 * x - 0.1 + 0.1 * np.sin(40 * y) * (y > 0.5), 0, 1)
    return np.stack([gray, gray[::-1], 0.5 * gray + 0.2], -1)


def clipped(image, sigma, seed=0, levels=255):
    noisy = image + sigma * np.random.default_rng(seed).standard_normal(image.shape)
    return np.round(np.clip(noisy, 0, 1) * levels) / levels


def test_an_average_of_black_is_too_bright_until_it_is_filled_in():
    cut = clipped(np.zeros((200, 200, 1)), SIGMA)
    assert cut.mean() == pytest.approx(SIGMA / math.sqrt(2 * math.pi), rel=0.02)
    assert cut.std() == pytest.approx(SIGMA * math.sqrt(0.5 - 0.5 / math.pi), rel=0.02)
    filled = Clipping(0.0, math.inf, SIGMA).filled(cut, 0)
    assert abs(filled.mean()) < 0.02 * SIGMA
    assert filled.std() == pytest.approx(SIGMA, rel=0.02)


def test_filled_noise_is_as_it_was_before_it_was_cut_off():
    image = scene()
    cut = clipped(image, SIGMA)
    clipping = Clipping(0.0, 1.0, SIGMA)
    filled = clipping.filled(cut, 0)
    whole = (cut > 0) & (cut < 1)
    assert np.array_equal(filled[whole], cut[whole])
    assert (filled[cut == 0] < 0).all()
    assert (filled[cut == 1] > 1).all()
    for part in (image < 0.5 * SIGMA, image > 1 - 0.5 * SIGMA):
        assert part.mean() > 0.02
        noise, left = (filled - image)[part] / SIGMA, (cut - image)[part] / SIGMA
        assert abs(left.mean()) > 0.3
        assert left.std() < 0.7
        assert abs(noise.mean()) < 0.05
        assert noise.std() == pytest.approx(1, abs=0.06)
        assert abs((noise**3).mean()) < 0.35  # 0 if it is normal; of what was left, above 1
        assert (left**3).mean() ** 2 > 0.3


def test_filling_repeats_by_its_seed_and_leaves_its_input_alone():
    cut = clipped(scene(32), SIGMA)
    before, clipping = cut.copy(), Clipping(0.0, 1.0, SIGMA)
    first, again, other = (clipping.filled(cut, seed) for seed in (0, 0, 1))
    assert np.array_equal(cut, before)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    untouched = Clipping(-math.inf, math.inf, SIGMA).filled(cut, 0)
    assert np.array_equal(untouched, cut)


@settings(max_examples=30, deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)),
    st.floats(1e-3, 0.5),
    st.sampled_from(LIMITS),
    st.integers(0, 99),
)
def test_any_picture_is_filled_beyond_its_limits(shape, sigma, limits, seed):
    low, high = limits
    pixels = np.clip(np.random.default_rng(seed).normal(0.5, 1.0, shape), low, high)
    filled = Clipping(low, high, sigma).filled(pixels, seed)
    assert filled.shape == shape
    assert np.isfinite(filled).all()
    assert (filled[pixels == low] <= low).all()
    assert (filled[pixels == high] >= high).all()


@pytest.mark.parametrize("sigma", [5, 15, 25, 50])
def test_clipping_is_found_where_it_is(sigma):
    sigma = sigma / 255
    image = scene()
    found = find_clipping(clipped(image, sigma), sigma)
    assert found == Clipping(0.0, 1.0, sigma)
    noisy = image + sigma * np.random.default_rng(1).standard_normal(image.shape)
    assert find_clipping(noisy, sigma) is None
    assert find_clipping(np.round(noisy * 255) / 255, sigma) is None
    dark = find_clipping(np.maximum(noisy, 0), sigma)
    assert dark == Clipping(0.0, math.inf, sigma)
    bright = find_clipping(np.minimum(noisy, 1), sigma)
    assert bright == Clipping(-math.inf, 1.0, sigma)
    assert find_clipping(np.maximum(noisy, 0), sigma, black=False) is None
    assert find_clipping(clipped(image, sigma), 0.0) is None


def test_a_black_border_is_no_clipping():
    noisy = 0.5 + SIGMA * np.random.default_rng(0).standard_normal((64, 64, 1))
    framed = np.zeros((96, 96, 1))
    framed[16:-16, 16:-16] = noisy
    assert find_clipping(framed, SIGMA) is None
    assert find_clipping(np.full((8, 8, 1), 0.5), SIGMA) is None


@pytest.mark.parametrize("level", [15, 25, 50])
def test_the_level_of_clipped_noise(level):
    noise = estimate_noise(clipped(scene(), level / 255), channel_axis=-1)
    assert noise.kind == "gaussian"
    assert noise.sigma * 255 == pytest.approx(level, rel=0.03)


def test_the_level_is_read_in_the_middle_of_a_large_picture():
    image = np.zeros((900, 40, 1))
    image[100:800] = np.linspace(0.05, 0.6, 700)[:, None, None]
    noise = estimate_noise(clipped(image, SIGMA), channel_axis=-1)
    assert noise.sigma / SIGMA == pytest.approx(1, rel=0.05)


@settings(max_examples=20)
@given(st.floats(0.02, 0.3), st.integers(0, 99))
def test_clipping_never_makes_an_estimate_fail(sigma, seed):
    noise = estimate_noise(clipped(scene(32), sigma, seed), channel_axis=-1)
    assert isinstance(noise, NoiseModel)
    assert 0 < noise.even_sigma <= 1


def test_a_large_image_is_filled_in_bands_that_meet_without_a_seam(monkeypatch):
    """Each band sees so many rows around it that its means are those of the whole."""
    image = scene(96)
    cut = clipped(image, SIGMA)
    clipping = Clipping(0.0, 1.0, SIGMA)
    monkeypatch.setattr("guided_dip.clipping.ENOUGH", 0)
    monkeypatch.setattr("guided_dip.clipping.BAND", 32)
    filled = clipping.filled(cut, 0)
    assert filled.dtype == np.float32
    assert np.array_equal(filled, clipping.filled(cut, 0))
    whole = (cut > 0) & (cut < 1)
    assert np.array_equal(filled[whole], cut[whole].astype(np.float32))
    assert (filled[cut == 0] < 0).all()
    assert (filled[cut == 1] > 1).all()
    noise = (filled - image)[image < 0.5 * SIGMA] / SIGMA
    assert abs(noise.mean()) < 0.1
    assert noise.std() == pytest.approx(1, abs=0.1)
    # Bands draw for themselves: one and the same draws give what the whole image gives.
    monkeypatch.setattr(
        "guided_dip.clipping.np.random.default_rng", lambda _: SimpleNamespace(uniform=halves)
    )
    parted = clipping.filled(cut, 0)
    monkeypatch.setattr("guided_dip.clipping.ENOUGH", 10**9)
    np.testing.assert_allclose(parted, clipping.filled(cut, 0), atol=1e-6)


def halves(_low, _high, shape):
    return np.full(shape, 0.5)
