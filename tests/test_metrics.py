"""PSNR and SSIM against scikit-image, closed forms and their own symmetries."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from guided_dip.errors import InputError
from guided_dip.metrics import psnr, ssim


def pair(shape, seed=0, sigma=0.1):
    rng = np.random.default_rng(seed)
    clean = rng.random(shape)
    return clean + rng.standard_normal(shape) * sigma, clean


shapes = st.one_of(
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.tuples(st.integers(1, 20), st.integers(1, 20), st.integers(1, 4)),
)
large_shapes = st.one_of(
    st.tuples(st.integers(7, 24), st.integers(7, 24)),
    st.tuples(st.integers(7, 24), st.integers(7, 24), st.integers(1, 4)),
)
seeds = st.integers(0, 2**32 - 1)


@given(shapes, seeds, st.sampled_from([1.0, 255.0, 65535.0, 0.5]))
def test_psnr_is_scikit_images(shape, seed, data_range):
    noisy, clean = pair(shape, seed)
    expected = peak_signal_noise_ratio(clean, noisy, data_range=data_range)
    assert psnr(noisy, clean, data_range=data_range) == pytest.approx(expected, abs=1e-6)


@settings(deadline=None)
@given(large_shapes, seeds, st.sampled_from([1.0, 255.0]))
def test_ssim_is_scikit_images(shape, seed, data_range):
    noisy, clean = pair(shape, seed)
    axis = -1 if len(shape) == 3 else None
    expected = structural_similarity(clean, noisy, data_range=data_range, channel_axis=axis)
    assert ssim(noisy, clean, data_range=data_range, channel_axis=axis) == pytest.approx(
        expected, abs=1e-6
    )


def test_psnr_of_a_known_error():
    reference = np.zeros((8, 8))
    assert psnr(reference + 0.1, reference, data_range=1.0) == pytest.approx(20)
    assert psnr(reference + 0.01, reference, data_range=1.0) == pytest.approx(40)


def test_identical_images():
    image, _ = pair((16, 16, 3))
    assert psnr(image, image.copy(), data_range=1.0) == math.inf
    assert ssim(image, image.copy(), data_range=1.0, channel_axis=-1) == pytest.approx(1)


@given(shapes, seeds)
def test_psnr_is_symmetric_and_scales_with_the_range(shape, seed):
    a, b = pair(shape, seed)
    expected = psnr(a, b, data_range=1.0)
    assert psnr(b, a, data_range=1.0) == pytest.approx(expected)
    assert psnr(a * 255, b * 255, data_range=255) == pytest.approx(expected)


def test_psnr_survives_an_error_whose_ratio_would_overflow():
    tiny = np.full((4, 4), 1e-160)
    assert math.isfinite(psnr(tiny, np.zeros((4, 4)), data_range=1e10))


def test_integers_do_not_wrap_around():
    low, high = np.zeros((8, 8), np.uint8), np.full((8, 8), 255, np.uint8)
    assert psnr(low, high, data_range=255) == pytest.approx(0)
    assert ssim(low, high, data_range=255) == pytest.approx(0, abs=1e-3)


def test_float32_is_measured_in_float64():
    a = np.full((64, 64), 0.1, np.float32)
    b = a + np.float32(1e-4)
    expected = peak_signal_noise_ratio(a.astype(float), b.astype(float), data_range=1.0)
    assert psnr(a, b, data_range=1.0) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("shape", "axis", "window"),
    [
        ((3, 9), None, 3),
        ((4, 4), None, 3),
        ((5, 6), None, 5),
        ((6, 30), None, 5),
        ((3, 3, 3), -1, 3),
    ],
)
def test_small_images_use_the_largest_window_that_fits(shape, axis, window):
    noisy, clean = pair(shape)
    expected = structural_similarity(
        clean, noisy, data_range=1.0, channel_axis=axis, win_size=window
    )
    assert ssim(noisy, clean, data_range=1.0, channel_axis=axis) == pytest.approx(expected)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -2, -3])
def test_channels_may_lie_on_any_axis(axis):
    noisy, clean = pair((20, 22, 3))
    expected = ssim(noisy, clean, data_range=1.0, channel_axis=-1)
    moved = [np.moveaxis(image, -1, axis) for image in (noisy, clean)]
    assert ssim(*moved, data_range=1.0, channel_axis=axis) == pytest.approx(expected)


@pytest.mark.parametrize("shape", [(2, 9), (9, 1), (1, 1)])
def test_ssim_needs_three_pixels(shape):
    with pytest.raises(InputError, match="too small for SSIM"):
        ssim(np.zeros(shape), np.zeros(shape), data_range=1.0)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_shapes_must_match(measure):
    with pytest.raises(InputError, match=r"\(8, 9\).*\(8, 9, 3\)"):
        measure(np.zeros((8, 9)), np.zeros((8, 9, 3)), data_range=1.0)


@pytest.mark.parametrize("measure", [psnr, ssim])
@pytest.mark.parametrize("data_range", [0, -1, math.nan, math.inf])
def test_data_range_must_be_positive(measure, data_range):
    with pytest.raises(InputError, match="data_range"):
        measure(np.zeros((8, 8)), np.ones((8, 8)), data_range=data_range)


@pytest.mark.parametrize("measure", [psnr, ssim])
def test_no_pixels(measure):
    with pytest.raises(InputError, match="no pixels"):
        measure(np.zeros((0, 8)), np.zeros((0, 8)), data_range=1.0)


@pytest.mark.parametrize(
    ("shape", "axis"), [((8, 8, 3), None), ((8, 8), -1), ((8, 8, 3), 3), ((8, 8, 3), -4)]
)
def test_channel_axis_must_fit(shape, axis):
    with pytest.raises(InputError) as raised:
        ssim(np.zeros(shape), np.zeros(shape), data_range=1.0, channel_axis=axis)
    assert str(raised.value) == (
        f"images of {shape} do not fit channel_axis={axis}: try None for gray (H, W) and -1 for "
        "(H, W, C)"
    )


def test_what_is_no_array_of_floats_is_measured_as_one():
    assert psnr([[0, 0], [0, 2]], [[0, 0], [0, 0]], data_range=2) == pytest.approx(6.0206)
    low, high = np.zeros((8, 8), np.uint8), np.full((8, 8), 200, np.uint8)
    assert psnr(low, high, data_range=255) == psnr(high, low, data_range=255)
    assert psnr(low, high, data_range=255) == pytest.approx(20 * math.log10(255 / 200))


def test_inputs_are_not_modified():
    noisy, clean = pair((16, 16))
    before = noisy.copy(), clean.copy()
    psnr(noisy, clean, data_range=1.0)
    ssim(noisy, clean, data_range=1.0)
    np.testing.assert_array_equal((noisy, clean), before)
