"""Clipped noise: its moments against draws, their inverse, and where it is found."""

import math

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


@pytest.mark.parametrize(("low", "high"), LIMITS)
@pytest.mark.parametrize("sigma", [0.02, 0.3])
def test_moments_are_those_of_draws(low, high, sigma):
    clipping = Clipping(low, high, sigma)
    values = np.linspace(-0.2, 1.2, 15)
    draws = np.random.default_rng(0).standard_normal((200_000, 1)) * sigma + values
    seen = np.clip(draws, low, high)
    error = 5 * sigma / math.sqrt(len(draws))
    np.testing.assert_allclose(clipping.mean(values), seen.mean(0), atol=error)
    np.testing.assert_allclose(clipping.std(values), seen.std(0), atol=error)


def test_an_average_of_black_is_too_bright():
    clipping = Clipping(0.0, math.inf, SIGMA)
    assert clipping.mean(np.array(0.0)) == pytest.approx(SIGMA / math.sqrt(2 * math.pi))
    assert clipping.value(clipping.mean(np.array(0.0))) == 0.0
    assert clipping.std(np.array(0.0)) == pytest.approx(SIGMA * math.sqrt(0.5 - 0.5 / math.pi))


@given(st.sampled_from(LIMITS), st.floats(0.004, 0.5), st.lists(st.floats(0, 1), min_size=2))
def test_values_come_back_from_their_means(limits, sigma, values):
    clipping = Clipping(*limits, sigma)
    values = np.sort(values)
    back = clipping.value(clipping.mean(values))
    np.testing.assert_allclose(back, values, atol=2e-3 * sigma + 1e-6)
    # any mean whatever has a value, larger ones larger values, none beyond the limits
    means = np.linspace(-1, 2, 100)
    found = clipping.value(means)
    assert (np.diff(found) >= 0).all()
    assert found.min() >= limits[0]
    assert found.max() <= limits[1]


def test_far_from_the_limits_nothing_changes():
    clipping = Clipping(0.0, 1.0, 0.02)
    values = np.linspace(0.2, 0.8, 20)
    np.testing.assert_allclose(clipping.value(values), values, atol=1e-5)
    np.testing.assert_allclose(clipping.slope(values), 1.0, atol=1e-5)
    np.testing.assert_allclose(clipping.std(values), 0.02, rtol=1e-5)
    one_sided = Clipping(0.0, math.inf, 0.02)
    np.testing.assert_allclose(one_sided.value(np.array([5.0, 77.0])), [5.0, 77.0])


def test_the_slope_is_the_derivative():
    clipping = Clipping(0.0, 1.0, SIGMA)
    means = clipping.mean(np.linspace(0.01, 0.99, 30))
    step = 1e-3
    numeric = (clipping.value(means + step) - clipping.value(means - step)) / (2 * step)
    np.testing.assert_allclose(clipping.slope(means), numeric, rtol=0.03)
    assert clipping.slope(np.array([-1.0, 2.0])).tolist() == [0, 0]


def test_local_strength_is_read_off_the_picture():
    image = scene()
    clipping = Clipping(0.0, 1.0, SIGMA)
    share = clipping.local_share(clipped(image, SIGMA))
    assert share.shape == image.shape
    assert 0.3 <= share.min() < 0.62  # black: sqrt(1/2 - 1/(2 pi)) = 0.58
    inner = (image > 0.3) & (image < 0.7)
    assert share[inner].min() > 0.95
    truth = clipping.std(image) / SIGMA
    assert np.abs(share - np.clip(truth, 0.3, 1)).mean() < 0.05


def test_local_strength_keeps_to_its_side_of_an_edge():
    image = np.zeros((64, 64, 1))
    image[:, 32:] = 0.5
    clipping = Clipping(0.0, 1.0, SIGMA)
    share = clipping.local_share(clipped(image, SIGMA))
    truth = clipping.std(image) / SIGMA
    assert np.abs(share - truth)[:, 29:35].mean() < 0.06  # a blur of 2 pixels: 0.16


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 9, 1), (9, 1, 2), (3, 2, 4)])
def test_local_strength_of_small_pictures(shape):
    pixels = np.full(shape, 0.5)
    share = Clipping(0.0, 1.0, SIGMA).local_share(pixels)
    np.testing.assert_allclose(share, np.ones(shape), atol=1e-3)


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
    assert noise.sigma * 255 == pytest.approx(level, rel=0.08)


@settings(max_examples=20)
@given(st.floats(0.02, 0.3), st.integers(0, 99))
def test_clipping_never_makes_an_estimate_fail(sigma, seed):
    noise = estimate_noise(clipped(scene(32), sigma, seed), channel_axis=-1)
    assert isinstance(noise, NoiseModel)
    assert 0 < noise.even_sigma <= 1
