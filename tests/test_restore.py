"""restore(): array in, array out, and the promises that hold for every input."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from guided_dip.clipping import Clipping
from guided_dip.config import make_config
from guided_dip.errors import InputError, RunError
from guided_dip.guidance import SUPERVISIONS
from guided_dip.images.resize import resize_square
from guided_dip.noise import NoiseModel, add_noise, estimate_sigma
from guided_dip.restoration import prepare, restore, restore_stack
from guided_dip.restoration.span import Span, span_of

TINY = {"backbone_options": {"width": 4, "scales": 2}, "steps": 4, "device": "cpu", "threads": 1}


def picture(shape=(16, 12, 3), seed=0):
    """A smooth picture in [0, 1], float64."""
    height, width = shape[:2]
    y, x = np.mgrid[:height, :width] / max(height, width)
    image = 0.5 + 0.3 * np.sin(5 * x + 3 * y)
    return (
        image if len(shape) == 2 else np.stack([image * (1 - 0.2 * c) for c in range(shape[2])], -1)
    )


def noisy(shape=(16, 12, 3), sigma=25 / 255, dtype=np.uint8):
    image = picture(shape) + sigma * np.random.default_rng(0).standard_normal(shape)
    if np.dtype(dtype).kind == "f":
        return image.astype(dtype)
    return (np.clip(image, 0, 1) * np.iinfo(dtype).max).round().astype(dtype)


@settings(max_examples=25)
@given(
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
    st.sampled_from([None, 1, 3, 4]),
    st.sampled_from([np.uint8, np.uint16, np.int16, np.float32, np.float64]),
)
def test_shape_and_dtype_are_kept_and_the_input_is_not_modified(size, channels, dtype):
    shape = size if channels is None else (*size, channels)
    image = noisy(shape, dtype=dtype)
    before = image.copy()
    result = restore(image, noise="gaussian:25", **TINY)
    assert result.image.shape == shape
    expected = np.float32 if np.dtype(dtype).kind == "f" else dtype
    assert result.image.dtype == expected
    np.testing.assert_array_equal(image, before)


def test_read_only_and_strided_inputs():
    image = noisy()[::-1, ::2]
    image.flags.writeable = False
    expected = restore(image.copy(), noise="gaussian:25", **TINY).image
    np.testing.assert_array_equal(restore(image, noise="gaussian:25", **TINY).image, expected)


@pytest.mark.parametrize("supervision", SUPERVISIONS)
@pytest.mark.parametrize("backbone", ["skip", "unet"])
def test_every_supervision_runs_and_repeats(supervision, backbone):
    options = {"skip": {"width": 4, "scales": 2}, "unet": {"widths": [4, 6, 8], "skip_levels": [2]}}
    given = TINY | {"backbone": backbone, "backbone_options": options[backbone], "count": 3}

    def run(**changes):
        return restore(
            noisy(), noise="gaussian:25", **(given | {"supervision": supervision} | changes)
        )

    first, again = run(), run()
    assert first.image.tobytes() == again.image.tobytes()
    assert [r.loss for r in first.records] == [r.loss for r in again.records]
    assert first.image.tobytes() != run(seed=1).image.tobytes()
    assert len(first.records) == 4
    assert first.config.oracle is (supervision == "clean-guides")


def test_the_global_generator_is_left_alone():
    torch.manual_seed(3)
    expected = torch.rand(3)
    torch.manual_seed(3)
    restore(noisy(), noise="gaussian:25", **TINY)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("supervision", SUPERVISIONS)
def test_the_clean_image_scores_and_changes_nothing(supervision):
    given = TINY | {"supervision": supervision, "noise": "gaussian:25"}
    with_clean = restore(noisy(), clean=picture().astype(np.float32), **given)
    without = restore(noisy(), **given)
    assert with_clean.image.tobytes() == without.image.tobytes()
    assert [r.loss for r in with_clean.records] == [r.loss for r in without.records]
    assert without.scores is None
    assert without.records[0].psnr is None
    assert with_clean.scores.psnr > 0
    assert with_clean.scores_before.psnr == pytest.approx(20.2, abs=0.7)
    assert all(record.psnr > 0 for record in with_clean.records)


def test_scores_are_those_of_the_result():
    clean = picture().astype(np.float32)
    result = restore(noisy(dtype=np.float32), clean=clean, noise="gaussian:25", **TINY)
    error = np.mean((np.clip(result.image, 0, 1).astype(np.float64) - clean) ** 2)
    assert result.scores.psnr == pytest.approx(-10 * np.log10(error), abs=1e-6)


def test_it_restores():
    """A small network on a smooth picture takes most of the noise away."""
    shape = (32, 32, 3)
    image, clean = noisy(shape, dtype=np.float32), picture(shape).astype(np.float32)
    options = {"width": 16, "scales": 2}
    result = restore(
        image, clean=clean, noise="gaussian:25", steps=150, backbone_options=options, threads=1
    )
    assert result.scores.psnr > result.scores_before.psnr + 5
    assert result.scores.ssim > result.scores_before.ssim


def test_gray_with_and_without_a_channel_axis_agree():
    image = noisy((10, 12))
    flat = restore(image, noise="gaussian:25", **TINY).image
    deep = restore(image[..., None], noise="gaussian:25", **TINY).image
    np.testing.assert_array_equal(flat, deep[..., 0])


def test_the_callback_sees_every_record():
    seen = []
    result = restore(noisy(), noise="gaussian:25", on_step=seen.append, **TINY)
    assert tuple(seen) == result.records
    assert [record.step for record in seen] == [0, 1, 2, 3]
    assert all(a.seconds <= b.seconds for a, b in pairwise(seen))


def test_the_resolved_config_repeats_the_run():
    first = restore(noisy(), **TINY)
    assert first.noise is not None
    assert first.config.noise == str(first.noise)
    values = first.config.model_dump()
    assert None not in [values[key] for key in ("steps", "jitter", "threads")]
    assert values["device"] == "cpu"
    assert values["precision"] in {"float32", "bfloat16"}
    again = prepare(noisy(), make_config(values)).run()
    assert again.config == first.config
    assert again.image.tobytes() == first.image.tobytes()


def test_snapshots_run_to_the_end():
    result = restore(noisy(), noise="gaussian:25", **(TINY | {"steps": 20}))
    steps = [step for step, _ in result.snapshots]
    assert steps == sorted(steps)
    assert steps[-1] == 19
    assert all(image.shape == (16, 12, 3) for _, image in result.snapshots)


def test_a_clean_picture_is_given_back():
    image = np.full((20, 20, 3), 100, np.uint8)
    result = restore(image, **TINY)
    np.testing.assert_array_equal(result.image, image)
    assert "no noise was found" in result.note
    assert result.records == ()


def test_float_pixels_outside_the_range_are_kept():
    given_back = restore(np.full((9, 9), 7.5), **TINY)
    np.testing.assert_array_equal(given_back.image, np.full((9, 9), 7.5, np.float32))


@pytest.mark.parametrize(("low", "size"), [(-3.0, 8.0), (0.0, 40.0), (-1.0, 1.5)])
def test_float_pixels_outside_the_range_are_restored(low, size):
    """A network ends in a sigmoid, and yet values far from [0, 1] come back as they should."""
    shape = (32, 32)
    rng = np.random.default_rng(0)
    clean = low + size * (picture(shape) - 0.2) / 0.6
    noisy = clean + 0.1 * size * rng.standard_normal(shape)
    options = {"width": 16, "scales": 2}
    given = {"backbone_options": options, "threads": 1, "steps": 300}
    result = restore(noisy, noise=f"gaussian:{25.5 * size}", **given)
    before, after = (np.mean((x - clean) ** 2) for x in (noisy, result.image))
    assert after < 0.7 * before
    assert result.image.max() > low + 0.7 * size
    assert result.image.min() < low + 0.3 * size


def test_noise_beyond_the_range_alone_changes_no_scale():
    image = np.clip(picture((32, 32)) * 3 - 1, 0, 1)
    noisy = image + 50 / 255 * np.random.default_rng(0).standard_normal(image.shape)
    assert noisy.min() < -0.3
    assert noisy.max() > 1.3
    restoration = prepare(noisy, make_config(TINY | {"noise": "gaussian:50"}))
    assert (restoration.span.low, restoration.span.size) == (0.0, 1.0)


def test_stopping_gives_the_iterate_of_least_variance():
    given = TINY | {"supervision": "observation", "steps": 130, "stopping": "es-wmv"}
    result = restore(noisy((8, 8)), **given)
    assert result.stopped_at is not None
    assert 99 <= result.stopped_at < 130
    assert (
        result.image.tobytes()
        != restore(noisy((8, 8)), **(given | {"stopping": "none"})).image.tobytes()
    )


def test_stopping_with_too_few_steps_falls_back_to_the_final_estimate():
    given = TINY | {"supervision": "observation", "stopping": "es-wmv"}
    result = restore(noisy((8, 8)), **given)
    assert result.stopped_at is None


def test_the_author_preset_resizes_and_scores_truncated_pixels():
    image = noisy((40, 30, 3))
    result = restore(image, preset="author", clean=image, steps=3, count=2, resize=64)
    assert result.image.shape == (64, 64, 3)
    assert result.config.oracle
    assert result.scores_before.psnr == np.inf  # the input is the clean image itself
    score = result.records[-1].psnr
    # The last record is the final estimate: both are taken after the update, in eval mode.
    assert score == result.scores.psnr


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_resizing(dtype):
    image = noisy((40, 30, 3), dtype=dtype)
    resized = resize_square(image, 16)
    assert (resized.shape, resized.dtype) == ((16, 16, 3), dtype)
    scale = 1 if dtype == np.float32 else np.iinfo(dtype).max
    assert resized.mean() / scale == pytest.approx(image.mean() / scale, abs=0.01)


def test_resizing_8_bit_is_that_of_pillow():
    from PIL import Image

    image = noisy((40, 30, 3))
    expected = np.asarray(Image.fromarray(image).resize((16, 16), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(resize_square(image, 16), expected)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((0, 5)), "at least one pixel"),
        (np.zeros(5), r"must be \(H, W\)"),
        (np.zeros((2, 3, 4, 5)), r"must be \(H, W\)"),
        (np.zeros((5, 5, 9)), "9 channels"),
        (np.full((5, 5), np.nan), "NaN or infinite"),
        (np.full((5, 5), np.inf), "NaN or infinite"),
        (np.zeros((5, 5), complex), "must hold numbers"),
        (np.full((5, 5), "a"), "must hold numbers"),
    ],
)
def test_images_that_cannot_be_restored(image, message):
    with pytest.raises(InputError, match=message):
        restore(image, **TINY)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"effort": "quick"}, "unknown preset 'quick'"),
        ({"clean": picture((3, 3, 3))}, r"\(3, 3, 3\) is not the image's \(16, 12, 3\)"),
        ({"device": "cuda:99"}, "not on this machine"),
        ({"backbone": "unett"}, "did you mean 'unet'"),
        ({"backbone": "deep-decoder"}, "cannot follow recorrupted guides: try --supervision"),
        ({"backbone_options": {"widht": 3}}, "did you mean 'width'"),
        ({"supervision": "clean-guides", "start": 10}, "must be at least end"),
        ({"stepps": 3}, "did you mean 'steps'"),
    ],
)
def test_settings_that_cannot_be_used(settings, message):
    with pytest.raises(InputError, match=message):
        restore(noisy(), **(TINY | {"noise": "gaussian:25"} | settings))


def test_a_diverging_fit_says_so():
    with pytest.raises(
        RunError, match=r"diverged at step \d+ .*, and 2 times before .* learning rate much smaller"
    ):
        restore(
            noisy(),
            supervision="observation",
            optimizer="adam",
            learning_rate=1e30,
            learning_rate_schedule="constant",
            **(
                TINY
                | {
                    "steps": 50,
                    "backbone_options": {
                        "width": 4,
                        "scales": 2,
                        "norm": "none",
                        "final": "linear",
                    },
                }
            ),
        )


def test_the_foretold_time_and_the_run_do_not_disturb_each_other():
    config = make_config(TINY | {"noise": "gaussian:25"})
    timed = prepare(noisy(), config)
    step, around = timed.pace()
    assert step > 0
    assert around > 0
    plain = prepare(noisy(), config)
    assert timed.run().image.tobytes() == plain.run().image.tobytes()


def test_records_carry_the_plan():
    result = restore(noisy(), supervision="clean-guides", **(TINY | {"count": 2, "steps": 6}))
    plan = result.plan
    expected = [(i, s.t) for i, s in enumerate(plan.stages) for _ in range(s.steps)]
    assert [(r.stage, r.t) for r in result.records] == expected
    assert replace(result, note="x").note == "x"


# Strength


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_strength_blends_with_the_image(dtype):
    image = noisy((24, 24, 3), dtype=dtype)
    options = TINY | {"noise": "gaussian:25"}
    whole, none, half = (
        restore(image, strength=strength, **options).image for strength in (1, 0, 0.5)
    )
    np.testing.assert_array_equal(none, image)
    between = (whole.astype(float) + image.astype(float)) / 2
    np.testing.assert_allclose(
        half.astype(float), between, atol=1.01 if dtype == np.uint8 else 1e-6
    )


def test_strength_changes_neither_the_fit_nor_the_check():
    image = noisy((32, 32, 3))
    options = TINY | {"noise": "gaussian:25"}
    whole, part = (restore(image, strength=strength, **options) for strength in (1, 0.3))
    assert [r.loss for r in whole.records] == [r.loss for r in part.records]
    assert whole.residual == part.residual


# Missing pixels


def with_holes(shape=(48, 48, 3), share=0.2):
    image = noisy(shape, dtype=np.float32)
    holes = np.random.default_rng(1).random(shape[:2]) < share
    image[holes] = np.nan
    return image, holes


def test_missing_pixels_are_filled_in():
    image, holes = with_holes()
    options = TINY | {"steps": 400, "noise": "gaussian:25", "nan_as_missing": True}
    result = restore(image, **options)
    assert np.isfinite(result.image).all()
    clean = picture(image.shape)
    error = np.sqrt(np.mean((result.image - clean)[holes] ** 2))
    assert error < 0.08  # the noise alone is 0.1, and mid-gray would be off by 0.2
    again = restore(image, **options)
    assert again.image.tobytes() == result.image.tobytes()


def test_what_is_missing_reaches_nothing():
    """Only which pixels are missing counts, not what stands in their place."""
    image, holes = with_holes()
    infinite = image.copy()
    infinite[holes] = np.inf
    one_channel = image.copy()
    one_channel[holes, 0], one_channel[holes, 1:] = np.nan, 0.7
    options = TINY | {"noise": "gaussian:25", "nan_as_missing": True}
    expected = restore(image, **options).image
    for other in (infinite, one_channel):
        np.testing.assert_array_equal(restore(other, **options).image, expected)


@pytest.mark.parametrize("supervision", SUPERVISIONS)
def test_every_supervision_takes_missing_pixels(supervision):
    image, _ = with_holes((32, 32))
    result = restore(
        image, supervision=supervision, noise="gaussian:25", nan_as_missing=True, **TINY
    )
    assert np.isfinite(result.image).all()


def test_strength_leaves_no_hole():
    image, holes = with_holes()
    options = TINY | {"noise": "gaussian:25", "nan_as_missing": True}
    result = restore(image, strength=0, **options)
    assert np.isfinite(result.image).all()
    np.testing.assert_array_equal(result.image[~holes], image[~holes])


def test_an_image_without_holes_is_restored_as_ever():
    image = noisy((32, 32, 3))
    options = TINY | {"noise": "gaussian:25"}
    plain, asked = (restore(image, nan_as_missing=flag, **options).image for flag in (False, True))
    assert plain.tobytes() == asked.tobytes()


@pytest.mark.parametrize(
    ("stated", "used"),
    [
        (25.0, 25.0),
        (25.8, 25.8),  # the picture tells its level no better
        (24.2, 24.2),
        (27.5, None),
        (22.5, None),
        (40.0, 40.0),  # of another kind than the smooth parts show, or not what is meant
        (15.0, 15.0),
    ],
)
def test_a_stated_level_is_held_against_the_picture(stated, used):
    image = noisy((256, 256, 3), dtype=np.float32)
    restoration = prepare(image, make_config(TINY | {"noise": f"gaussian:{stated}"}))
    if used is not None:
        assert (restoration.noise.sigma * 255, restoration.note) == (pytest.approx(used), "")
        return
    assert restoration.noise.sigma * 255 == pytest.approx(25, rel=0.02)
    stands = f"stated was gaussian:{stated}, but the picture shows {restoration.noise}"
    assert restoration.note == f"{stands}, which is used"
    # what was stated stays in the config, which so repeats the run
    assert restoration.config.noise == f"gaussian:{stated}"
    assert prepare(image, restoration.config).noise == restoration.noise
    assert restoration.run().note.startswith(restoration.note)


@pytest.mark.parametrize(
    ("settings", "noise", "note"),
    [
        ({"check_noise": False}, "gaussian:27.5", ""),
        ({"supervision": "observation-guides"}, "gaussian:27.5", ""),  # report's: as stated
        ({}, "poisson:30", ""),
        (
            {},
            "gaussian:0",
            "no noise was found (below 0.5/255), so the image is returned unchanged",
        ),
    ],
)
def test_what_is_stated_is_used_as_it_is(settings, noise, note):
    image = noisy((256, 256, 3), dtype=np.float32)
    options = {"steps": 4, "device": "cpu"} | settings | {"noise": noise}
    restoration = prepare(image, make_config(options))
    assert (str(restoration.noise), restoration.note) == (noise, note)


@pytest.mark.parametrize("image", [np.uint16, np.float32])
def test_a_dim_picture_whose_white_is_stated_is_told_why_nothing_is_done(image):
    pixels = noisy((64, 64), dtype=np.float32).clip(0, 1) * (0.008 if image is np.float32 else 500)
    pixels = pixels.astype(image)
    white = 65535 if image is np.uint16 else 1
    restoration = prepare(pixels, make_config(TINY | {"noise": "auto", "white": "type"}))
    assert restoration.plan.steps == 0
    assert f"is {pixels.max() / white:.1%} of white" in restoration.note
    *_, suggested = restoration.note.split()
    assert "try --white " in restoration.note
    again = prepare(pixels, make_config(TINY | {"noise": "auto", "white": float(suggested)}))
    assert again.plan.steps
    assert "no noise" not in again.note


def test_a_small_picture_contradicts_only_what_is_far_off():
    """Of 64 x 64 pixels the level is read four times less surely."""
    image = noisy((64, 64), dtype=np.float32)
    kept = prepare(image, make_config(TINY | {"noise": "gaussian:27.5"}))
    assert str(kept.noise) == "gaussian:27.5"
    tiny = prepare(image[:40, :40], make_config(TINY | {"noise": "gaussian:32"}))
    assert str(tiny.noise) == "gaussian:32"


def test_fine_texture_makes_a_picture_contradict_nothing():
    """Texture adds to what smooth parts vary by: of weak noise a level read higher says little."""
    texture = 6 / 255 * np.random.default_rng(1).standard_normal((256, 256, 3))
    image = (noisy((256, 256, 3), 10 / 255, np.float32) + texture).astype(np.float32)
    assert estimate_sigma(image, channel_axis=-1) * 255 > 11
    assert str(prepare(image, make_config(TINY | {"noise": "gaussian:10"})).noise) == "gaussian:10"


def test_correlated_noise_contradicts_nothing():
    """Its high frequencies show less than there is."""
    rng = np.random.default_rng(0)
    smeared = ndimage.gaussian_filter(rng.standard_normal((256, 256, 3)), (0.45, 0.45, 0))
    image = picture((256, 256, 3)) + smeared / smeared.std() * 25 / 255
    assert estimate_sigma(image, channel_axis=-1) * 255 < 22
    assert str(prepare(image, make_config(TINY | {"noise": "gaussian:25"})).noise) == "gaussian:25"


def test_the_noise_of_an_image_with_holes_is_read_between_them():
    image = noisy((256, 256, 3), dtype=np.float32)
    image[100:140, 30:90] = np.nan
    result = prepare(image, make_config(TINY | {"nan_as_missing": True}))
    assert result.noise.sigma == pytest.approx(25 / 255, rel=0.1)
    image[::7, ::7] = np.nan
    with pytest.raises(InputError, match="too many pixels are missing to estimate the noise"):
        prepare(image, make_config(TINY | {"nan_as_missing": True}))


@pytest.mark.parametrize(
    ("holes", "settings", "message"),
    [
        (slice(None), {"nan_as_missing": True}, "no finite pixel"),
        (slice(0, 1), {}, "nan_as_missing=True"),
        (slice(0, 1), {"nan_as_missing": True, "resize": 32}, "cannot be resized"),
    ],
)
def test_missing_pixels_that_are_refused(holes, settings, message):
    image = noisy((40, 40, 3), dtype=np.float32)
    image[holes] = np.nan
    with pytest.raises(InputError, match=message):
        prepare(image, make_config(TINY | {"noise": "gaussian:25"} | settings))


# A time budget


def test_a_time_budget_plans_fewer_steps():
    image = noisy((64, 64, 3))
    options = TINY | {"steps": 100_000, "noise": "gaussian:25"}
    result = restore(image, time_budget=3, **options)
    assert 10 <= result.config.steps < 100_000
    assert len(result.records) == result.config.steps
    assert result.seconds < 6  # three, were the machine's pace even


def test_a_time_budget_that_is_large_enough_changes_nothing():
    image, options = noisy(), TINY | {"noise": "gaussian:25"}
    plain, given = restore(image, **options), restore(image, time_budget=1000, **options)
    assert given.image.tobytes() == plain.image.tobytes()
    assert given.config == plain.config


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), 1e-4])
def test_a_time_budget_that_allows_nothing(seconds):
    options = TINY | {"steps": 100_000, "noise": "gaussian:25"}
    with pytest.raises(InputError, match="a time budget of"):
        restore(noisy((64, 64, 3)), time_budget=seconds, **options)


# The residual's check


def test_the_residual_is_checked():
    image = noisy((48, 48, 3))
    result = restore(image, **TINY | {"steps": 200, "noise": "gaussian:25"})
    assert result.residual.ratio == pytest.approx(1, abs=0.2)
    assert result.residual.reading == pytest.approx(1, abs=0.3)
    wrong = restore(image, **TINY | {"steps": 200, "noise": "gaussian:60"})
    assert any("the noise reads as" in warning for warning in wrong.residual.warnings)


def test_where_there_is_nothing_to_check():
    assert restore(noisy(), supervision="observation", **TINY).residual is None
    oracle = restore(noisy(), supervision="clean-guides", noise="gaussian:25", **TINY)
    assert oracle.residual is None
    assert restore(np.full((64, 64), 0.5, np.float32), **TINY).residual is None


def test_a_nearly_clean_picture_comes_back_nearly_unchanged():
    image = picture((32, 32)) + np.random.default_rng(1).normal(0, 1 / 255, (32, 32))
    result = restore(image, noise="gaussian:1", **TINY)
    assert 0 < np.sqrt(np.mean((result.image - image) ** 2)) < 1 / 255
    assert "left out more than the noise" in result.note


def test_a_good_fit_is_kept_whole():
    options = {"backbone_options": {"width": 16, "scales": 3}, "steps": 300}
    image = noisy((64, 64), dtype=np.float32)
    result = restore(image, noise="gaussian:25", **{**TINY, **options})
    assert result.residual.ratio < 1
    assert result.note == ""


POISSON = NoiseModel("poisson", gain=1 / 20)


def test_counted_light_is_restored_better_by_its_own_model():
    clean = np.clip(picture((64, 64)) * np.linspace(0.1, 1.2, 64), 0.02, 1)
    counted = add_noise(clean, POISSON, seed=0)
    options = {**TINY, "backbone_options": {"width": 16, "scales": 3}, "steps": 300}

    def error(noise):
        return np.sqrt(np.mean((restore(counted, noise=noise, **options).image - clean) ** 2))

    even = f"gaussian:{255 * np.sqrt(np.mean(clean) / 20):.4g}"
    assert error("poisson:20") < 0.9 * error(even) < error("gaussian:0")


def test_counted_light_keeps_its_mean():
    clean = np.full((48, 48), 0.15)
    result = restore(add_noise(clean, POISSON, seed=1), noise="poisson:20", **{**TINY, "steps": 60})
    assert result.image.mean() == pytest.approx(0.15, rel=0.05)
    assert result.image.min() >= 0


@pytest.mark.parametrize(
    ("noise", "scale", "low"),
    [("gaussian:25", 1.0, 0.0), ("gaussian:25000", 1000.0, -200.0), ("poisson:40", 1.0, 0.0)],
)
def test_the_mean_of_each_channel_is_kept(noise, scale, low):
    if noise.startswith("poisson"):
        light = np.random.default_rng(0).poisson(picture((32, 32, 3)) * 40) / 40
    else:
        light = noisy((32, 32, 3), dtype=np.float64) * scale + low
    pixels = light.astype(np.float32)
    settings = TINY | {"noise": noise, "check_noise": False}
    restored = restore(pixels, **settings).image
    means, wanted = (part.mean((0, 1), dtype=np.float64) for part in (restored, pixels))
    np.testing.assert_allclose(means, wanted, rtol=1e-3)
    plain = restore(pixels, **settings | {"supervision": "observation", "backbone_options": {}})
    assert np.abs(plain.image.mean((0, 1)) - wanted).max() > 1e-3 * scale  # as DIP has it


@pytest.mark.parametrize("channels", [1, 2, 5, 9])
def test_any_number_of_channels(channels):
    clean = picture((32, 24, channels))
    pixels = clean + 0.1 * np.random.default_rng(0).standard_normal(clean.shape)
    settings = TINY | {"noise": "gaussian:25.5", "steps": 80, "check_noise": False}
    settings["backbone_options"] = {"width": 8, "scales": 2}
    result = restore(pixels.astype(np.float32), clean=clean.astype(np.float32), **settings)
    assert result.image.shape == (32, 24, channels)
    assert result.scores.psnr > result.scores_before.psnr + 3
    assert restore(pixels.astype(np.float32), **TINY).noise is not None


def test_a_stack_is_not_taken_for_an_image_of_many_channels():
    with pytest.raises(InputError, match="looks like a stack: restore its images one by one"):
        restore(np.zeros((5, 64, 48), np.float32))


def test_noise_that_grows_with_the_light_is_found():
    clean = np.clip(picture((128, 128)) * np.linspace(0.05, 1.2, 128), 0.01, 1)
    result = restore(add_noise(clean, POISSON, seed=2), **TINY)
    assert result.noise.kind in ("poisson", "poisson-gaussian")
    assert result.noise.gain == pytest.approx(1 / 20, rel=0.3)
    assert result.config.noise == str(result.noise)


@given(
    st.sampled_from([None, NoiseModel("gaussian", 0.1), POISSON]),
    st.floats(-1, 0.4),
    st.floats(0.6, 3),
)
def test_a_span_covers_the_image_and_comes_back(noise, low, high):
    counted = noise is not None and noise.gain > 0
    pixels = np.linspace(max(low, 0.05) if counted else low, high, 300).astype(np.float32)
    span = span_of(pixels.reshape(10, 30, 1), noise)
    inside = span.to_fit(pixels)
    assert inside.dtype == np.float32
    room = 4 * span.sigma + 0.01
    assert -room <= inside.min() <= inside.max() <= 1 + room
    # Taking a mean back without bias moves a single value by a part of a photon.
    assert span.from_fit(inside) == pytest.approx(
        pixels, abs=0.3 * POISSON.gain if counted else 1e-5
    )


def test_an_ordinary_image_is_its_own_span():
    assert span_of(noisy(dtype=np.float32), NoiseModel("gaussian", 25 / 255)) == Span(
        0.0, 1.0, NoiseModel("gaussian", 25 / 255)
    )


def test_a_spread_is_told_in_the_image_s_units():
    span = span_of(np.full((4, 4, 1), 0.5, np.float32), POISSON)
    values = span.to_fit(np.full((4, 4, 1), 0.5, np.float32))
    step = np.full_like(values, 1e-3)
    moved = span.from_fit(values + step) - span.from_fit(values)
    assert span.spread_from_fit(step, values) == pytest.approx(moved, rel=0.05)


# Squares


def on_squares(**settings):
    image = noisy((40, 56, 3), dtype=np.float32)
    options = TINY | {"steps": 30, "patch": 16, "patch_guides": 2, "count": 3}
    return restore(image, noise="gaussian:25", **(options | settings))


def test_squares_first_and_the_whole_image_then():
    clean = picture((40, 56, 3)).astype(np.float32)
    result = on_squares(clean=clean)
    assert [stage.patch for stage in result.plan] == [16, 16, None]
    assert len(result.records) == 30
    assert result.image.shape == (40, 56, 3)
    assert all(np.isfinite(record.psnr) for record in result.records)
    assert on_squares().image.tobytes() == result.image.tobytes()
    assert on_squares(patch=0).image.tobytes() != result.image.tobytes()
    # pictures on the way are of the whole image, evenly over the work
    assert all(pixels.shape == (40, 56, 3) for _, pixels in result.snapshots)
    assert result.snapshots[-1][0] == 29


def test_squares_larger_than_the_image_are_refused():
    with pytest.raises(InputError, match=r"patch \(41\) is larger than the image of 56x40"):
        on_squares(patch=41)


def test_squares_and_missing_pixels():
    image = noisy((40, 56, 3), dtype=np.float32)
    image[3, 4] = np.nan
    options = TINY | {"noise": "gaussian:25", "nan_as_missing": True}
    assert restore(image, **options).config.patch == 0
    plan = restore(image, patch=16, patch_guides=2, **options).plan
    assert [stage.patch for stage in plan] == [16, 16, None, None, None]


def test_the_foretold_time_knows_squares_from_the_whole():
    image = noisy((64, 64, 3), dtype=np.float32)
    options = TINY | {"noise": "gaussian:25", "count": 2, "patch_guides": 1, "steps": 200}
    options["backbone_options"] = {"width": 24, "scales": 2}
    paces = [
        [prepare(image, make_config(options | {"patch": side})).pace()[0] for side in (64, 16)]
        for _ in range(5)
    ]
    few, many = np.min(paces, axis=0)  # a busy machine takes longer, none takes less
    assert many < few


# Clipping


def dark(sigma=25 / 255, side=48):
    """A picture that is black in half, and what a camera would keep of it."""
    clean = np.clip(picture((side, side, 3)) - 0.5, 0, 1).astype(np.float32) * 0.6
    draw = np.random.default_rng(0).standard_normal(clean.shape)
    return clean, np.clip(clean + sigma * draw, 0, 1).astype(np.float32)


def test_clipped_noise_leaves_no_haze():
    clean, image = dark()
    options = {"backbone_options": {"width": 16, "scales": 2}, "steps": 200, "threads": 1}
    result = restore(image, clean=clean, noise="gaussian:25", **options)
    black = clean == 0
    assert image[black].mean() == pytest.approx(25 / 255 / np.sqrt(2 * np.pi), rel=0.05)
    assert abs(result.image[black].mean()) < 0.012
    assert result.scores.psnr > result.scores_before.psnr + 12


def test_the_fit_is_given_the_noise_that_was_cut_off():
    clean, image = dark()
    noise = NoiseModel("gaussian", 25 / 255)
    span = span_of(image, noise)
    assert span.clipping == Clipping(0.0, np.inf, noise.sigma)
    given = span.observation(image, 0)
    assert given.dtype == np.float32
    black = clean == 0
    assert abs(given[black].mean()) < 0.1 * noise.sigma < image[black].mean()
    assert given[black].std() == pytest.approx(noise.sigma, rel=0.05)
    assert np.array_equal(given[image > 0], span.to_fit(image)[image > 0])
    assert span.from_fit(np.float32([-0.1, 0.5, 1.1])).tolist() == pytest.approx([0, 0.5, 1.1])
    whole = picture().astype(np.float32)
    span = span_of(whole, noise)
    assert span.clipping is None
    assert np.array_equal(span.observation(whole, 0), span.to_fit(whole))


def test_counted_light_ends_at_black_by_itself():
    clean = picture((40, 40, 1)) * 0.2
    counted = add_noise(clean, NoiseModel("poisson", gain=1 / 20), seed=0).astype(np.float32)
    assert (counted == 0).mean() > 0.01
    assert span_of(counted, NoiseModel("poisson", gain=1 / 20)).clipping is None


def stack_of(channels=()):
    rng = np.random.default_rng(0)
    light = np.linspace(0.2, 0.7, 3).reshape(3, 1, 1, *(1 for _ in channels))
    return (light + rng.normal(0, 0.1, (3, 32, 40, *channels))).astype(np.float32)


@pytest.mark.parametrize("channels", [(), (3,)])
def test_a_stack_keeps_its_shape_and_each_image_its_mean(channels):
    stack = stack_of(channels)
    before = stack.copy()
    result = restore_stack(stack, noise="gaussian:25", clean=stack, **TINY)
    assert np.array_equal(stack, before)
    assert result.image.shape == result.spread.shape == stack.shape
    assert result.scores.psnr > 0
    for noisy, image in zip(stack, result.image, strict=True):
        assert image.mean((0, 1)) == pytest.approx(noisy.mean((0, 1)), rel=1e-3)
    again = restore(stack.reshape(96, 40, *channels), noise="gaussian:25", pages=3, **TINY)
    assert np.array_equal(again.image.reshape(stack.shape), result.image)


def test_the_mask_of_a_stack_is_of_each_image_or_of_all():
    stack, mask = stack_of(), np.zeros((32, 40), bool)
    mask[4:9, 5:20] = True
    one = restore_stack(stack, mask=mask, **TINY).image
    each = restore_stack(stack, mask=np.stack([mask] * 3), **TINY).image
    assert np.array_equal(one, each)
    assert np.array_equal(one[:, ~mask], stack[:, ~mask])
    assert not np.array_equal(one[:, mask], stack[:, mask])


STACKS_REFUSED = {
    "an image": ({"stack": np.zeros((32, 40))}, "a stack is"),
    "no image": ({"stack": np.zeros((0, 32, 40))}, "a stack is"),
    "mask": ({"mask": np.zeros((9, 9), bool)}, "the mask is"),
    "clean": ({"clean": np.zeros((3, 32, 41))}, "the clean stack's shape"),
    "small": ({"stack": np.zeros((3, 31, 40))}, "too small to be restored together"),
    "task": ({"task": "super-resolve"}, "in the tasks denoise and inpaint"),
    "patches": ({"patch_guides": 2}, "leave out patch"),
    "backbone": ({"backbone": "unet"}, "restore them one by one"),
}


@pytest.mark.parametrize(("given", "message"), STACKS_REFUSED.values(), ids=STACKS_REFUSED)
def test_stacks_that_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        restore_stack(**{"stack": stack_of(), "noise": "gaussian:25", **TINY, **given})


def test_rows_that_are_no_pages_are_refused():
    with pytest.raises(InputError, match="100 rows are no 3 pages"):
        restore(np.zeros((100, 40)), pages=3, **TINY)
