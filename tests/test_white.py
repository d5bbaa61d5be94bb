"""Which value is white: found, or stated; arrays in, arrays out."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from guided_dip import restore, restore_stack
from guided_dip.config import make_config
from guided_dip.errors import InputError
from guided_dip.images import from_float, in_units_of_white, to_float
from guided_dip.reconstructor import GuidedDIPReconstructor
from guided_dip.restoration import prepare, run_together
from guided_dip.white import Extremes, extremes_of, find_white

TINY = {"backbone_options": {"width": 4, "scales": 2}, "steps": 4, "device": "cpu", "threads": 1}
WHITES = st.floats(1e-3, 1e9)


def counts(shape=(24, 32), dtype=np.uint16, brightest=3811, seed=0):
    """A slope with noise, as a camera of 12 bits counts it."""
    slope = np.linspace(0.2, 0.8, int(np.prod(shape))).reshape(shape)
    noisy = slope + np.random.default_rng(seed).normal(0, 0.05, shape)
    values = (noisy.clip(0, 1) * 0.95 * brightest).astype(dtype)
    values.flat[-1] = brightest
    return values


def in_counts(units):
    return np.rint(units.astype(np.float64) * 4095).clip(0, 4095)


# To and from units of white


@given(arrays.arrays(np.uint16, (4, 5)), WHITES)
def test_whole_numbers_come_back_from_any_white(values, white):
    units = to_float(values, white)
    assert units.dtype == np.float32
    np.testing.assert_array_equal(from_float(units, values.dtype, white), values)


@given(
    arrays.arrays(np.float32, (4, 5), elements=st.floats(-1e6, 1e6, width=32)),
    WHITES,
)
def test_floats_come_back_from_any_white(values, white):
    back = from_float(to_float(values, white), values.dtype, white)
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, values, rtol=3e-7, atol=1e-30)


@given(arrays.arrays(np.int16, (4, 5)))
def test_the_type_s_white_is_what_it_is_where_it_is_stated(values):
    units = to_float(values)
    assert to_float(values, 32767).tobytes() == units.tobytes()
    assert from_float(units, np.int16, 32767).tobytes() == from_float(units, np.int16).tobytes()


def test_what_is_beyond_white_stays_and_what_is_beyond_the_type_is_clipped():
    assert from_float(np.array([1.5, 1e9, -1.0]), np.uint16, 1000).tolist() == [1500, 65535, 0]
    assert from_float(np.array([1.5, -0.5]), np.float32, 1000).tolist() == [1500, -500]


def test_values_too_large_for_white_are_refused():
    with pytest.raises(InputError, match="larger white"):
        to_float(np.array([[1e30]]), 1e-20)


# What is found


@pytest.mark.parametrize(
    ("dtype", "low", "high", "white"),
    [
        (np.uint16, 0, 3811, 4095),
        (np.uint16, 0, 4095, 4095),  # saturated
        (np.uint16, 0, 4096, 8191),
        (np.uint16, 100, 8191, 8191),
        (np.uint16, 0, 8192, "type"),
        (np.uint16, 0, 65535, "type"),
        (np.uint16, 0, 1, 15),
        (np.uint16, 0, 16, 31),
        (np.uint16, 0, 0, "type"),  # black
        (np.uint16, 700, 700, 1023),  # constant
        (np.int16, -50, 900, 1023),
        (np.int16, -1000, 400, 1023),
        (np.int16, -30000, 400, "type"),
        (np.int16, -32768, 0, "type"),
        (np.uint32, 0, 65535, 65535),
        (np.int32, 0, 2**29, "type"),
        (np.uint8, 0, 7, "type"),
        (np.int8, 0, 7, "type"),
        (np.float32, 0.0, 0.01, "type"),
        (np.float64, 0, 3000, "type"),
        (bool, 0, 1, "type"),
    ],
)
def test_white_that_is_found(dtype, low, high, white):
    pixels = np.array([[low, high]], dtype)
    assert find_white("auto", pixels.dtype, extremes_of(pixels))[0] == white
    assert prepare(np.tile(pixels, (4, 2)), make_config(TINY)).config.white == white


def test_alpha_apart_all_channels_count_and_what_is_missing_does_not():
    pixels = np.full((3, 3, 3), 200, np.uint16)
    pixels[1, 1, 2] = 3000
    assert extremes_of(pixels) == Extremes("uint16", 200, 3000)
    hot = np.zeros((3, 3), bool)
    hot[1, 1] = True
    assert extremes_of(pixels, hot) == Extremes("uint16", 200, 200)
    assert extremes_of(pixels, ~np.zeros((3, 3), bool)) is None
    assert extremes_of(pixels, np.ones((2, 2), bool)) == extremes_of(pixels)


def test_extremes_of_other_types_do_not_count():
    one = Extremes("uint16", 5, 90)
    assert one.joined(Extremes("uint16", 2, 80)) == Extremes("uint16", 2, 90)
    assert one.joined(Extremes("int16", -2, 800)) == one.joined(None) == one
    assert find_white("auto", np.dtype(np.int16), one) == ("type", "")


def test_the_user_is_told():
    note = prepare(counts(), make_config(TINY)).note
    assert note == "white is 4095, as the brightest value is 3811 (--white type: 65535)"
    dark = np.array([[-3000, 5] * 2] * 4, np.int16)
    assert "as the lowest value is -3000 (" in prepare(dark, make_config(TINY)).note
    for white in ("type", 4095, 70000):
        assert "white is" not in prepare(counts(), make_config(TINY | {"white": white})).note


@pytest.mark.parametrize("white", [0, -1, "nan", float("inf"), "bright", True, None, [4095]])
def test_what_is_no_white_is_refused(white):
    with pytest.raises(InputError, match=r"white cannot be .*: try auto, type or a number above 0"):
        restore(counts(), white=white, **TINY)
    with pytest.raises(InputError, match="white cannot be"):
        in_units_of_white(counts(), white)


# What is restored


def test_counts_are_restored_as_the_same_picture_in_units_of_white():
    y = counts((24, 32, 3))
    result = restore(y, **TINY)
    same = restore(to_float(y, 4095), **TINY)
    assert result.image.dtype == np.uint16
    assert result.noise == same.noise
    np.testing.assert_array_equal(result.image, in_counts(same.image))
    assert (result.image != y).any()


def test_counts_are_restored_as_the_same_picture_that_uses_all_of_its_type():
    y = counts()
    stretched = np.rint(y * (65535 / 4095)).astype(np.uint16)
    few, all_of_it = (restore(each, noise="gaussian:15", **TINY).image for each in (y, stretched))
    assert np.abs(few - all_of_it / (65535 / 4095)).max() <= 1


def test_a_white_that_is_found_can_be_stated():
    y = counts()
    assert restore(y, white=4095, **TINY).image.tobytes() == restore(y, **TINY).image.tobytes()
    floats = restore(y.astype(np.float64), white=4095, **TINY).image
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(np.rint(floats), restore(y, **TINY).image)


@pytest.mark.parametrize("pixels", [counts(brightest=50000), counts(dtype=np.uint8, brightest=20)])
def test_others_are_restored_as_with_their_type_s_white(pixels):
    one, other = restore(pixels, **TINY), restore(pixels, white="type", **TINY)
    assert one.image.tobytes() == other.image.tobytes()
    assert one.config == other.config
    assert one.note == other.note


def test_a_resolved_config_restores_the_same():
    result = restore(counts(), **TINY)
    assert result.config.white == 4095
    again = prepare(counts(), result.config).run()
    assert again.image.tobytes() == result.image.tobytes()


def test_no_count_ends_above_white_unless_the_picture_goes_beyond_it():
    saturated = (counts().astype(int) + 2500).clip(0, 4095).astype(np.uint16)
    assert restore(saturated, **TINY).image.max() <= 4095
    beyond = restore(counts(), white=2000, noise="gaussian:5", strength=0, **TINY).image
    np.testing.assert_array_equal(beyond, counts())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("white", [3000, 0.37])
def test_floats_that_are_not_restored_stay_what_they_are(dtype, white):
    values = np.random.default_rng(0).normal(0.5, 0.1, (16, 16, 3)).astype(dtype) * white
    clean = restore(values, white=white, noise="none", **TINY)
    np.testing.assert_array_equal(clean.image, values.astype(np.float32))
    mask = np.zeros((16, 16), bool)
    mask[4:7, 4:7] = True
    values[5, 5] = np.nan
    filled = restore(values, white=white, mask=mask, nan_as_missing=True, **TINY).image
    np.testing.assert_array_equal(filled[~mask], values[~mask].astype(np.float32))
    assert np.isfinite(filled).all()


def test_what_is_under_a_mask_does_not_matter():
    y = counts()
    mask = np.zeros(y.shape, bool)
    mask[5:8, 5:8] = True
    results = []
    for value in (0, 65535):
        y[mask] = value
        results.append(restore(y, mask=mask, **TINY).image)
    np.testing.assert_array_equal(*results)
    np.testing.assert_array_equal(results[0][~mask], y[~mask])


def test_a_clean_picture_of_its_type_is_in_its_units():
    clean, y = counts(seed=1), counts()
    units = restore(to_float(y, 4095), clean=to_float(clean, 4095), **TINY)
    for reference in (clean, to_float(clean, 4095)):
        scores = restore(y, clean=reference, **TINY).scores_before
        assert scores.psnr == pytest.approx(units.scores_before.psnr, abs=1e-3)
    floats = y.astype(np.float64)
    stated = restore(floats, clean=clean.astype(np.float32), white=4095, **TINY)
    assert stated.scores_before.psnr == pytest.approx(units.scores_before.psnr, abs=1e-3)


def test_one_white_goes_for_all_pictures_of_a_stack():
    stack = np.stack([counts((32, 32), brightest=brightest) for brightest in (300, 2100, 1000)])
    result = restore_stack(stack, patch=16, patch_guides=5, **TINY)
    assert result.config.white == 4095
    assert result.image.dtype == np.uint16
    assert "the brightest value is 2100" in result.note


def test_pictures_of_different_whites_are_computed_together():
    pictures = [counts(brightest=brightest) for brightest in (3811, 700)]
    config = make_config(TINY | {"noise": "gaussian:20", "check_noise": False})
    together = run_together([prepare(each, config) for each in pictures])
    assert [result.config.white for result in together] == [4095, 1023]
    for each, result in zip(pictures, together, strict=True):
        assert np.abs(result.image.astype(int) - prepare(each, config).run().image).max() <= 2


def test_a_part_has_the_white_of_the_whole():
    y = counts()
    dim = y[:8, :8]
    assert prepare(dim, make_config(TINY)).config.white == 2047
    part = prepare(dim, make_config(TINY), extremes=extremes_of(y))
    assert part.config.white == 4095
    assert "3811" in part.note


def test_larger_pictures_are_in_the_same_units():
    y = counts()
    large = restore(y, task="super-resolve", enlarge=2, noise="gaussian:10", **TINY).image
    assert large.shape == (48, 64)
    assert large.mean() == pytest.approx(y.mean(), rel=0.2)
    same = restore(to_float(y, 4095), task="super-resolve", enlarge=2, noise="gaussian:10", **TINY)
    np.testing.assert_array_equal(large, in_counts(same.image))


def test_a_jpeg_s_white_is_known():
    with pytest.raises(InputError, match="leave it out"):
        restore(counts(dtype=np.uint8, brightest=200), task="dejpeg", white=200, **TINY)


def test_a_physics_states_its_noise_in_its_measurements_units():
    import torch

    class Physics:
        noise_model = type("Noise", (), {"sigma": 50.0})

        def A(self, x):  # noqa: N802  # deepinv's name
            return x

    y = torch.from_numpy(counts((16, 16)).astype(np.float32))[None, None]
    settings = {key: value for key, value in TINY.items() if key != "device"}
    counted = GuidedDIPReconstructor(white=4095, **settings)(y, Physics())
    physics = Physics()
    physics.noise_model = type("Noise", (), {"sigma": 50 / 4095})
    units = GuidedDIPReconstructor(**settings)(y / 4095, physics)
    torch.testing.assert_close(counted, units * 4095, rtol=1e-3, atol=1)


def test_records_say_the_white():
    restoration = prepare(counts(), make_config(TINY))
    assert restoration.white == 4095
    assert replace(restoration, config=restoration.config.replace(white="type")).white is None
