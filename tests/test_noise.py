"""Noise named, added and estimated."""

import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from skimage.restoration import estimate_sigma as wavelet_estimate

from guided_dip.errors import InputError
from guided_dip.noise import (
    NoiseModel,
    add_gaussian_noise,
    add_noise,
    estimate_noise,
    estimate_sigma,
    parse_noise,
    read_whiteness,
)

levels = st.floats(0.01, 1e5)


def scene(height=192, width=192, channels=0, seed=0):
    """Draw a synthetic photograph: smooth light, hard edges, and texture on a third of it."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    image = 0.2 + 0.4 * x + 0.1 * np.sin(5 * y)
    for _ in range(6):
        cy, cx, radius, level = rng.random(4)
        image = np.where((y - cy) ** 2 + (x - cx) ** 2 < (radius / 5) ** 2, level, image)
    image = image + (x > 0.66) * 0.15 * rng.standard_normal(image.shape)
    if channels:
        image = image[..., None] * np.linspace(0.6, 1.0, channels)
    return np.clip(image, 0, 1)


def relative_error(image, sigma, seed=1):
    axis = -1 if image.ndim == 3 else None
    noisy = add_gaussian_noise(image, sigma, seed)
    return estimate_sigma(noisy, axis) / sigma - 1


# --- naming -----------------------------------------------------------------------------------


def test_the_level_is_written_in_8_bit_units():
    assert parse_noise("gaussian:25") == NoiseModel("gaussian", 25 / 255)


@pytest.mark.parametrize("text", [" gaussian : 12.5 ", "Gaussian:12.5", "gaussian:1.25e1"])
def test_spaces_and_case_do_not_matter(text):
    assert parse_noise(text) == NoiseModel("gaussian", 12.5 / 255)


@pytest.mark.parametrize("text", ["auto", "AUTO", " auto "])
def test_auto_is_to_be_estimated(text):
    assert parse_noise(text) is None


def test_no_noise_has_a_name():
    assert parse_noise("gaussian:0") == NoiseModel("gaussian", 0.0)


@pytest.mark.parametrize(
    ("sigma", "text"),
    [(25 / 255, "25"), (12.5 / 255, "12.5"), (0.1, "25.5"), (1 / 3, "85"), (0.012345, "3.148")],
)
def test_a_model_prints_as_it_is_written(sigma, text):
    assert str(NoiseModel("gaussian", sigma)) == f"gaussian:{text}"


@given(levels)
def test_what_is_printed_can_be_read(level):
    model = NoiseModel("gaussian", level / 255)
    read = parse_noise(str(model))
    assert read is not None
    assert read.sigma == pytest.approx(model.sigma, rel=5.1e-4)
    assert str(read) == str(model)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("gausian:25", "did you mean 'gaussian'"),
        ("poison:3", "did you mean 'poisson'"),
        ("", "one of: gaussian, poisson, poisson-gaussian, auto"),
        ("25", "unknown kind '25'"),
        ("auto:3", "auto takes no level"),
        ("gaussian", "the level is missing"),
        ("gaussian:", "the level is missing"),
        ("gaussian:loud", "'loud' is not a number"),
        ("gaussian:25:3", "'25:3' is not a number"),
        ("gaussian:25,3", "there are more numbers than 1"),
        ("gaussian:-1", "at least 0"),
        ("gaussian:nan", "finite"),
        ("gaussian:inf", "finite"),
        ("gaussian:-inf", "finite"),
    ],
)
def test_an_error_is_one_line_that_says_what_to_try(text, says):
    with pytest.raises(InputError, match=says) as caught:
        parse_noise(text)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert repr(text) in message
    assert "try" in message
    assert "gaussian:25" in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("poisson", "the number of photons at white is missing; try poisson:30"),
        ("poisson:0", "must be above 0"),
        ("poisson:-3", "at least 0"),
        ("poisson:nan", "finite"),
        ("poisson-gaussian", "the gain is missing; try poisson-gaussian:2,5"),
        ("poisson-gaussian:2", "the read noise is missing"),
        ("poisson-gaussian:2,", "'' is not a number"),
        ("poisson-gaussian:0,5", "the gain must be above 0"),
        ("poisson-gaussian:2,5,7,9", "more numbers than 3"),
        ("poisson-gaussian:2,5,x", "'x' is not a number"),
        ("poisson:30,-1", "the value of no light must be finite and at least 0"),
        ("poisson-gaussian:2,inf", "the read noise must be finite"),
    ],
)
def test_an_error_about_counted_light_says_what_to_try(text, says):
    with pytest.raises(InputError, match=says) as caught:
        parse_noise(text)
    assert repr(text) in str(caught.value)
    assert "try poisson" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["poisson:30", "poisson:30,3", "poisson-gaussian:2,5", "poisson-gaussian:0.3,0,8.5"]
)
def test_counted_light_prints_as_it_is_written(text):
    assert str(parse_noise(text)) == text


def test_counted_light_is_read_in_its_units():
    assert parse_noise("poisson:30") == NoiseModel("poisson", gain=1 / 30)
    assert parse_noise("poisson:30,51") == NoiseModel("poisson", gain=1 / 30, black=0.2)
    assert parse_noise("poisson-gaussian:2,5") == NoiseModel("poisson-gaussian", 5 / 255, 2 / 255)


@given(st.text(max_size=20))
def test_any_text_is_read_or_refused_in_one_line(text):
    message = ""
    try:
        parse_noise(text)
    except InputError as error:
        message = str(error)
    assert len(message.splitlines()) <= 1


@pytest.mark.parametrize("sigma", [-0.1, math.nan, math.inf])
def test_a_model_checks_its_sigma(sigma):
    with pytest.raises(InputError, match="sigma"):
        NoiseModel("gaussian", sigma)


def test_a_model_checks_its_kind():
    with pytest.raises(InputError, match="gaussian"):
        NoiseModel("poison", 0.1)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (("gaussian", 0.1, 0.1), "gain of gaussian noise must be 0"),
        (("poisson", 0.0, 0.0), "above 0"),
        (("poisson-gaussian", 0.1, -0.1), "above 0"),
        (("poisson-gaussian", 0.1, math.nan), "finite"),
        (("poisson", 0.1, 0.1), "poisson noise has no sigma"),
        (("poisson", 0.0, 0.1, math.inf), "black of poisson noise must be finite"),
        (("gaussian", 0.1, 0.0, 0.1), "black of gaussian noise must be 0"),
    ],
)
def test_a_model_checks_its_gain(values, says):
    with pytest.raises(InputError, match=says):
        NoiseModel(*values)


def test_scaled_noise_has_the_factor_times_the_deviation():
    model = NoiseModel("poisson-gaussian", 0.02, 0.01).scaled(3)
    assert (model.sigma, model.gain) == pytest.approx((0.06, 0.09))
    assert NoiseModel("gaussian", 0.1).scaled(0.5) == NoiseModel("gaussian", 0.05)


def test_a_model_is_immutable():
    with pytest.raises(AttributeError):
        NoiseModel("gaussian", 0.1).sigma = 0.2


# --- adding -----------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 3)])
def test_added_noise_is_numpys_default_generator(shape):
    image = np.random.default_rng(9).random(shape).astype(np.float32)
    expected = image + np.random.default_rng(3).standard_normal(shape) * 0.1
    noisy = add_gaussian_noise(image, 0.1, 3)
    assert noisy.dtype == np.float64
    np.testing.assert_array_equal(noisy, expected)


def test_adding_noise_neither_clips_nor_modifies():
    image = np.ones((32, 32))
    assert add_gaussian_noise(image, 0.5, 0).max() > 1
    np.testing.assert_array_equal(image, 1)
    np.testing.assert_array_equal(add_gaussian_noise(image, 0.0, 0), image)


# --- estimating -------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [0, 1, 2, 3, 4])
@pytest.mark.parametrize(("level", "tolerance"), [(5, 0.1), (10, 0.07), (25, 0.06), (50, 0.06)])
def test_estimates_on_a_scene(channels, level, tolerance):
    scenes = [scene(channels=channels, seed=s) for s in range(3)]
    errors = [relative_error(clean, level / 255, seed=99) for clean in scenes]
    assert np.abs(errors).max() < tolerance


def test_texture_misleads_it_less_than_the_wavelet_estimate():
    image = scene(seed=4)
    image[:, ::3] += 0.1  # a fence over the whole picture
    noisy = add_gaussian_noise(image, 10 / 255, 0)
    ours, wavelet = (abs(f(noisy) * 25.5 - 1) for f in (estimate_sigma, wavelet_estimate))
    assert ours < 0.5 * wavelet


def test_noise_that_grows_with_the_light_counts_by_its_mean_variance():
    image = scene(256, 256)
    gain = 0.02
    noisy = np.random.default_rng(0).poisson(image / gain) * gain
    assert estimate_sigma(noisy) == pytest.approx(math.sqrt(gain * image.mean()), rel=0.08)


def test_channels_count_by_their_mean_variance():
    image = scene(channels=3)
    sigmas = np.array([0.02, 0.05, 0.1])
    noisy = image + np.random.default_rng(0).standard_normal(image.shape) * sigmas
    assert estimate_sigma(noisy, -1) == pytest.approx(math.sqrt((sigmas**2).mean()), rel=0.08)


def test_a_black_border_does_not_hide_the_noise():
    noisy = np.clip(add_gaussian_noise(scene(256, 256), 0.1, 0), 0, 1)
    noisy[:48] = noisy[-48:] = 0
    assert estimate_sigma(noisy) == pytest.approx(0.1, rel=0.1)


@pytest.mark.parametrize("shape", [(8, 8), (8, 8, 3), (5, 40), (17, 9, 4), (4, 4)])
def test_tiny_pictures(shape):
    axis = -1 if len(shape) == 3 else None
    rng = np.random.default_rng(0)
    found = [estimate_sigma(0.5 + 0.1 * rng.standard_normal(shape), axis) for _ in range(20)]
    assert np.mean(found) == pytest.approx(0.1, rel=0.25)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0, -2.0, 1e9])
@pytest.mark.parametrize("shape", [(8, 8), (64, 48), (40, 40, 3)])
def test_constant_pictures_have_no_noise(value, shape):
    axis = -1 if len(shape) == 3 else None
    assert estimate_sigma(np.full(shape, value), axis) == pytest.approx(0, abs=1e-9)


def test_a_ramp_has_no_noise():
    assert estimate_sigma(np.mgrid[0:64, 0:64].sum(0) / 128) == pytest.approx(0, abs=1e-9)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(4, 40),
    st.integers(4, 40),
    st.integers(0, 4),
    st.sampled_from([np.float16, np.float32, np.float64]),
    st.sampled_from(["noise", "binary", "stripes", "spike"]),
    st.integers(0, 99),
)
def test_always_a_number(height, width, channels, dtype, kind, seed):
    shape = (height, width, channels) if channels else (height, width)
    rng = np.random.default_rng(seed)
    image = {
        "noise": lambda: rng.standard_normal(shape),
        "binary": lambda: rng.integers(0, 2, shape),
        "stripes": lambda: np.indices(shape)[1] % 2,
        "spike": lambda: np.eye(height, width)[(...,) + (None,) * bool(channels)] * np.ones(shape),
    }[kind]()
    image = image.astype(dtype)
    before = image.copy()
    sigma = estimate_sigma(image, -1 if channels else None)
    assert type(sigma) is float
    assert math.isfinite(sigma)
    assert sigma >= 0
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("factor", [1e-200, 1e-6, 255.0, 1e200])
def test_the_estimate_scales_with_the_picture(factor):
    noisy = add_gaussian_noise(scene(64, 64), 0.1, 0)
    assert estimate_sigma(noisy * factor) == pytest.approx(factor * estimate_sigma(noisy))


def test_the_estimate_does_not_depend_on_black():
    noisy = add_gaussian_noise(scene(64, 64), 0.1, 0)
    assert estimate_sigma(noisy - 3) == pytest.approx(estimate_sigma(noisy))


def test_the_estimate_repeats():
    noisy = add_gaussian_noise(scene(channels=3), 0.1, 0)
    assert estimate_sigma(noisy, -1) == estimate_sigma(noisy.copy(), -1)


def test_a_large_picture_takes_less_than_a_second():
    noisy = add_gaussian_noise(np.full((512, 512, 3), 0.5), 0.1, 0)
    estimate_sigma(noisy[:64], -1)
    began = time.process_time()
    estimate_sigma(noisy, -1)
    assert time.process_time() - began < 2  # of both cores together


@pytest.mark.parametrize(
    ("image", "axis", "says"),
    [
        (np.zeros((9, 9), np.uint8), None, "uint8"),
        (np.zeros((9, 9, 3)), None, "channel_axis"),
        (np.zeros((9, 9)), -1, "channel_axis"),
        (np.zeros((3, 99)), None, "99x3"),
        (np.zeros((0, 0)), None, "0x0"),
        (np.full((9, 9), np.nan), None, "NaN"),
        (np.full((9, 9), np.inf), None, "NaN or infinite"),
    ],
)
def test_what_cannot_be_estimated(image, axis, says):
    with pytest.raises(InputError, match=says):
        estimate_sigma(image, axis)


# --- counted light ----------------------------------------------------------------------------

COUNTED = [
    NoiseModel("poisson", gain=1 / 30),
    NoiseModel("poisson-gaussian", 0.03, 0.02),
    NoiseModel("poisson", gain=1 / 50, black=0.1),
]


@pytest.mark.parametrize("model", COUNTED, ids=str)
def test_counted_noise_has_its_mean_and_variance(model):
    level = 0.4
    noisy = add_noise(np.full((400, 500), level), model, seed=3)
    assert noisy.mean() == pytest.approx(level, rel=0.01)
    variance = model.gain * (level - model.black) + model.sigma**2
    assert noisy.var() == pytest.approx(variance, rel=0.02)
    assert np.array_equal(noisy, add_noise(np.full((400, 500), level), model, seed=3))


def test_adding_gaussian_noise_by_its_model_is_adding_it():
    image = scene(20, 30)
    same = add_gaussian_noise(image, 0.1, 4)
    assert np.array_equal(add_noise(image, NoiseModel("gaussian", 0.1), 4), same)


@pytest.mark.parametrize("model", COUNTED, ids=str)
@pytest.mark.parametrize("level", [0.1, 0.3, 0.6, 1.0])
def test_evened_noise_is_the_same_everywhere(model, level):
    noisy = add_noise(np.full((400, 500), level + model.black), model, seed=1)
    assert model.evened(noisy).std() == pytest.approx(1, abs=0.08)


@pytest.mark.parametrize("model", COUNTED, ids=str)
@pytest.mark.parametrize("level", [0.03, 0.1, 0.3, 0.6, 1.0])
def test_the_mean_of_evened_pixels_comes_back_without_bias(model, level):
    noisy = add_noise(np.full((1000, 1000), level + model.black), model, seed=2)
    back = model.unevened(model.evened(noisy).mean()) - model.black
    assert back == pytest.approx(level, abs=0.05 * model.gain + 1e-3)
    plain = ((model.evened(noisy).mean() / 2) ** 2 - 0.375) * model.gain
    plain -= model.sigma**2 / model.gain
    assert abs(back - level) < abs(plain - level)  # the plain inverse is too dark


@given(st.floats(0.5, 1e3), st.floats(0, 0.2), st.floats(0, 2))
def test_evening_is_monotonic_and_comes_back_nearly(peak, sigma, level):
    kind = "poisson-gaussian" if sigma else "poisson"
    model = NoiseModel(kind, sigma, 1 / peak)
    values = np.array([level, level + 0.01])
    evened = model.evened(values)
    assert evened[1] > evened[0]
    assert model.unevened(evened) == pytest.approx(values, abs=0.6 * model.gain)


def test_gaussian_noise_is_even_already():
    model, pixels = NoiseModel("gaussian", 0.1), np.array([-1.0, 0.5, 2.0])
    assert model.evened(pixels) is pixels
    assert model.unevened(pixels) is pixels
    assert model.even_sigma == 0.1
    assert np.array_equal(model.slope(pixels), [1, 1, 1])


def test_the_slope_is_that_of_the_inverse():
    model = COUNTED[1]
    d = np.array([5.0, 8.0, 11.0])
    numeric = (model.unevened(d + 1e-3) - model.unevened(d - 1e-3)) / 2e-3
    assert model.slope(d) == pytest.approx(numeric, rel=0.03)


@pytest.mark.parametrize("sigma", [10 / 255, 25 / 255, 50 / 255])
@pytest.mark.parametrize("channels", [0, 3])
def test_even_noise_is_called_gaussian(sigma, channels):
    noisy = add_gaussian_noise(scene(channels=channels), sigma, 5)
    axis = -1 if channels else None
    assert estimate_noise(noisy, axis) == NoiseModel("gaussian", estimate_sigma(noisy, axis))


@pytest.mark.parametrize("sigma", [15 / 255, 25 / 255, 50 / 255])
def test_even_noise_that_is_cut_off_at_black_is_still_called_gaussian(sigma):
    clean = np.clip(scene(256, 256, channels=3) - 0.25, 0, 1)
    clipped = np.rint(add_gaussian_noise(clean, sigma, 8).clip(0, 1) * 255) / 255
    assert (clipped == 0).mean() > 0.05
    assert estimate_noise(clipped, -1).kind == "gaussian"


@pytest.mark.parametrize("peak", [20, 30, 100])
def test_counted_light_is_noticed_and_its_gain_estimated(peak):
    clean = np.clip(scene(256, 256), 0.02, 1) * np.linspace(0.1, 1, 256)
    model = estimate_noise(add_noise(clean, NoiseModel("poisson", gain=1 / peak), 6))
    assert model.kind != "gaussian"
    assert 1 / model.gain == pytest.approx(peak, rel=0.3)


def test_read_noise_is_noticed():
    clean = np.clip(scene(256, 256), 0.02, 1) * np.linspace(0.1, 1, 256)
    true = NoiseModel("poisson-gaussian", 12 / 255, 6 / 255)
    model = estimate_noise(add_noise(clean, true, 7))
    assert model.kind == "poisson-gaussian"
    assert model.gain == pytest.approx(true.gain, rel=0.3)
    assert model.sigma == pytest.approx(true.sigma, rel=0.3)


def test_a_constant_picture_has_no_noise():
    assert estimate_noise(np.full((40, 40), 0.5)) == NoiseModel("gaussian", 0.0)


@pytest.mark.parametrize("peak", [8, 15])
def test_few_photons_are_not_taken_for_noise_that_was_cut_off(peak):
    clean = np.clip(scene(256, 256), 0.02, 1) * np.linspace(0.1, 1, 256)
    noisy = add_noise(clean, NoiseModel("poisson", gain=1 / peak), 6)
    assert (noisy == 0).mean() > 0.02
    model = estimate_noise(noisy)
    assert model.kind != "gaussian"
    assert 1 / model.gain == pytest.approx(peak, rel=0.35)


@pytest.mark.parametrize("black", [3 / 255, 12 / 255])
def test_a_pedestal_is_noticed(black):
    clean = black + np.clip(scene(256, 256), 0.02, 1) ** 2 * np.linspace(0.05, 0.5, 256)
    true = NoiseModel("poisson", gain=1 / 40, black=black)
    noisy = np.rint(add_noise(clean, true, 6) * 255) / 255
    model = estimate_noise(noisy)
    assert model.kind == "poisson"
    assert model.black == pytest.approx(black, abs=1.5 / 255)
    assert 1 / model.gain == pytest.approx(40, rel=0.3)
    without = estimate_noise(noisy - black)
    assert without.black == pytest.approx(0, abs=1.5 / 255)


def test_a_photograph_without_dark_parts_has_no_pedestal():
    clean = 0.2 + 0.7 * scene(256, 256)
    model = estimate_noise(add_noise(clean, NoiseModel("poisson", gain=1 / 50), 6))
    assert model.kind != "gaussian"
    assert model.black == 0


def test_light_is_reckoned_in_photons():
    pixels = np.array([0.1, 0.3, 0.9])
    assert NoiseModel("gaussian", 0.1).photons(pixels) is None
    assert NoiseModel("poisson", gain=0.05, black=0.1).photons(pixels) == pytest.approx(4)
    assert NoiseModel("poisson-gaussian", 0.1, 0.05).photons(pixels) == pytest.approx(6 + 4)
    assert NoiseModel("poisson", gain=0.05, black=0.5).photons(pixels) == 0


@pytest.mark.parametrize("shape", [(128, 128, 3), (128, 96)])
def test_white_noise_is_white_and_blurred_noise_is_not(shape):
    axis = -1 if len(shape) == 3 else None
    noise = 0.5 + 0.1 * np.random.default_rng(0).standard_normal(shape)
    assert read_whiteness(noise, axis) == pytest.approx(1, abs=0.02)
    blurred = gaussian_filter(noise, [0.6, 0.6, 0][: len(shape)])
    assert read_whiteness(blurred, axis) < 0.8


@given(st.tuples(st.integers(4, 9), st.integers(4, 9)), st.integers(0, 99))
def test_the_smallest_pictures_have_a_whiteness(shape, seed):
    noise = 0.5 + 0.1 * np.random.default_rng(seed).standard_normal(shape)
    assert 0 < read_whiteness(noise) < 10


def test_a_picture_without_noise_counts_as_white():
    assert read_whiteness(np.full((16, 16), 0.5)) == 1
    assert read_whiteness(np.zeros((16, 16))) == 1
