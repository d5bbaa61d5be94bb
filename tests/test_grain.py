"""Correlated noise: read off where the grain is known, told from texture and white noise."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from guided_dip.config import make_config
from guided_dip.diffusion import make_schedule
from guided_dip.errors import InputError
from guided_dip.grain import estimate_noise_and_grain, find_grain, read_grain
from guided_dip.guidance import make_plan
from guided_dip.noise import estimate_sigma
from guided_dip.residual import check_residual
from guided_dip.restoration import prepare, restore
from guided_dip.supervision import Filter, RecorruptedGuides

SIGMA = 12 / 255


def scene(shape=(160, 192, 3)):
    """Smooth ground with edges and blobs, in [0.1, 0.9]."""
    y, x = np.mgrid[: shape[0], : shape[1]] / shape[0]
    gray = 0.3 + 0.3 * x + 0.2 * ((x - 0.6) ** 2 + (y - 0.5) ** 2 < 0.06) - 0.15 * (y > 0.8)
    return np.repeat(gray[..., None], shape[2], axis=2)


def smeared(shape, sigma=SIGMA, blur=0.8, seed=0, channels=0.6):
    """Noise of standard deviation sigma, smeared over pixels and mixed over channels."""
    white = np.random.default_rng(seed).standard_normal(shape)
    white = np.sqrt(1 - channels) * white + np.sqrt(channels) * white[..., :1]
    noise = ndimage.gaussian_filter(white, (blur, blur, 0), mode="wrap")
    return sigma * noise / noise.std()


def correlation(noise, down, across):
    shifted = np.roll(noise, (-down, -across), (0, 1))
    return float((noise * shifted).mean() / (noise * noise).mean())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("level", [4, 12, 30])
def test_grain_is_read_off(channels, level):
    clean = scene((160, 192, channels))
    noise = smeared(clean.shape, level / 255)
    picture = clean + noise
    grain = find_grain(picture, estimate_sigma(picture, -1))
    assert grain is not None
    assert grain.sigma * 255 == pytest.approx(level, rel=0.12)
    assert grain.correlation == pytest.approx(correlation(noise, 0, 1), abs=0.08)
    assert grain.kernel.shape == (7, 7)
    np.testing.assert_allclose(grain.kernel, grain.kernel[::-1, ::-1], atol=1e-12)
    assert (grain.kernel**2).sum() == pytest.approx(1)
    covariance = grain.mixing @ grain.mixing.T
    assert np.trace(covariance) == pytest.approx(channels, rel=1e-3)
    truth = np.cov(noise.reshape(-1, channels).T) / noise.var()
    np.testing.assert_allclose(covariance, np.atleast_2d(truth), atol=0.15)


def test_strength_over_brightness_is_read_off():
    clean = scene()
    noise = smeared(clean.shape) * np.sqrt(clean / clean.mean())
    grain = find_grain(clean + noise, estimate_sigma(clean + noise, -1))
    assert grain is not None
    share = grain.local_share(clean + noise)
    expected = np.sqrt(clean / clean.mean())
    assert share.shape == clean.shape
    assert np.abs(share / expected - 1).mean() < 0.1
    assert share[clean > 0.7].mean() > 1.2 * share[clean < 0.35].mean()


@pytest.mark.parametrize("level", [0, 2, 10, 25])
def test_white_noise_has_no_grain(level):
    picture = scene() + level / 255 * np.random.default_rng(0).standard_normal((160, 192, 3))
    assert find_grain(picture, estimate_sigma(picture, -1)) is None
    noise, grain = estimate_noise_and_grain(picture)
    assert grain is None
    assert noise.kind == "gaussian" or level == 0
    assert level == 0 or noise.sigma * 255 == pytest.approx(level, rel=0.1)


@pytest.mark.parametrize("level", [0, 10])
def test_texture_is_no_grain(level):
    """Half of the picture is smooth, the other has texture such as grain might be."""
    clean = scene()
    texture = smeared(clean.shape, 15 / 255, seed=3)
    texture[:, :96] = 0
    noise = level / 255 * np.random.default_rng(0).standard_normal(clean.shape)
    picture = clean + texture + noise
    assert find_grain(picture, estimate_sigma(picture, -1)) is None


def test_too_small_or_constant_pictures_have_none():
    small = smeared((63, 200, 1)) + 0.5
    assert read_grain(small) is None
    assert find_grain(small, 0.0) is None
    assert read_grain(np.full((64, 64, 3), 0.5)) is None
    assert read_grain(np.zeros((80, 80, 1))) is None


def test_the_filter_gives_white_noise_the_grain():
    clean = scene()
    noise = smeared(clean.shape)
    grain = read_grain(clean + noise)
    filtered = Filter(torch.from_numpy(grain.kernel), torch.from_numpy(grain.mixing))
    torch.manual_seed(0)
    out = filtered(torch.randn(1, 3, 406, 306, dtype=torch.float64))
    assert out.shape == (1, 3, 400, 300)
    made = out[0].permute(1, 2, 0).numpy()
    assert made.std() == pytest.approx(1, abs=0.05)
    for shift in ((0, 1), (1, 0), (1, 1), (0, 2)):
        assert correlation(made, *shift) == pytest.approx(correlation(noise, *shift), abs=0.1)


def test_recorruption_with_grain_leaves_input_and_target_uncorrelated():
    clean = np.full((96, 96, 3), 0.5)
    schedule = make_schedule("cosine", lower_clip=1e-4)
    plan = make_plan("recorrupted-guides", schedule, steps=60, count=1, sigma=SIGMA, a_end=1.0)
    grain = read_grain(clean + smeared(clean.shape))
    parts = (torch.from_numpy(part).float() for part in (grain.kernel, grain.mixing))
    correlate = Filter(*parts)
    for chosen, bound in ((correlate, 0.1), (None, 0.25)):
        products = []
        for seed in range(20):
            n = smeared(clean.shape, seed=100 + seed)
            y = torch.from_numpy(clean + n).float().permute(2, 0, 1)[None]
            pair = RecorruptedGuides(y, plan, sigma=SIGMA, seed=seed, grain=chosen).pair(0, 0)
            one, other = (part - 0.5 for part in (pair.input, pair.target))
            # Of next neighbours, where white noise has nothing to take from the grain's.
            products.append((one[..., 1:] * other[..., :-1]).mean().item() / SIGMA**2)
        if chosen is None:
            assert np.mean(products) > bound
        else:
            assert abs(np.mean(products)) < bound


OPTIONS = {"backbone_options": {"width": 8, "scales": 2}, "steps": 10, "threads": 1, "patch": 0}


def test_correlated_noise_is_taken_away_and_said():
    clean = scene().astype(np.float32)
    picture = (clean + smeared(clean.shape, 20 / 255)).astype(np.float32)
    options = OPTIONS | {"steps": 100, "backbone_options": {"width": 16, "scales": 2}}
    found = restore(picture, clean=clean, **options)
    white = restore(picture, clean=clean, grain="white", **options)
    assert found.config.grain == "correlated"
    assert found.noise.sigma * 255 == pytest.approx(20, rel=0.12)
    assert "correlated (0." in found.note
    assert found.scores.psnr > found.scores_before.psnr + 4
    assert found.scores.psnr > white.scores.psnr + 3
    assert white.config.grain == "white"
    assert "correlated" not in white.note
    assert not any("independent" in text for text in found.residual.warnings)


def test_the_resolved_config_repeats_the_run():
    picture = (scene() + smeared((160, 192, 3))).astype(np.float32)
    first = restore(picture, **OPTIONS)
    assert first.config.grain == "correlated"
    again = prepare(picture, first.config).run()
    assert again.image.tobytes() == first.image.tobytes()


def test_a_stated_level_is_white_unless_stated_otherwise():
    picture = (scene() + smeared((160, 192, 3))).astype(np.float32)
    stated = prepare(picture, make_config({"noise": "gaussian:9"}))
    assert stated.config.grain == "white"
    both = prepare(picture, make_config({"noise": "gaussian:9", "grain": "correlated"}))
    assert both.span.grain is not None
    assert both.noise.sigma == pytest.approx(9 / 255)


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"noise": "poisson:30"}, "correlated grain goes with gaussian noise"),
        ({"supervision": "observation"}, "for recorrupted guides"),
        ({"nan_as_missing": True}, "without missing pixels"),
        ({"size": 20}, "no grain can be read off"),
    ],
)
def test_where_grain_cannot_be_reckoned_with(settings, problem):
    size = settings.pop("size", 80)
    picture = (scene((size, size, 3)) + smeared((size, size, 3))).astype(np.float32)
    if "nan_as_missing" in settings:
        picture[3, 3] = np.nan
        settings["noise"] = "gaussian:9"
    with pytest.raises(InputError, match=problem):
        prepare(picture, make_config(settings | {"grain": "correlated"}))


def test_what_is_reckoned_with_is_not_held_against_the_residual():
    clean = scene().astype(np.float32)
    picture = (clean + smeared(clean.shape)).astype(np.float32)
    noise, _ = estimate_noise_and_grain(picture)
    held = check_residual(picture, clean, noise)
    told = check_residual(picture, clean, noise, correlated=True)
    assert held.correlation > 0.4
    assert held.warnings
    assert (told.correlation, told.reading, told.brightness) == (None, None, None)
    assert told.warnings == ()
