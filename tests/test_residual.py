"""What was taken away is held against the noise, and what does not fit is said."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from guided_dip.noise import NoiseModel, add_noise
from guided_dip.residual import ResidualCheck, check_residual, explained_share

SIGMA = 25 / 255
MODEL = NoiseModel("gaussian", SIGMA)


def picture(shape=(96, 96, 3)):
    """Smooth hills with one straight edge, well inside [0, 1]."""
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]]
    hills = 0.5 + 0.12 * np.sin(x / 9) * np.cos(y / 11) + 0.1 * (x > shape[1] / 2)
    return np.broadcast_to(hills[..., None], shape).astype(np.float32)


def white(shape=(96, 96, 3), seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def check(residual, clean=None, noise=MODEL, missing=None):
    clean = picture(residual.shape) if clean is None else clean
    return check_residual((clean + residual).astype(np.float32), clean, noise, missing)


def words(found):
    return " | ".join(found.warnings)


def test_nothing_is_said_of_white_noise_as_strong_as_was_reckoned():
    found = check(SIGMA * white())
    assert found.std == pytest.approx(SIGMA, rel=0.02)
    assert found.ratio == pytest.approx(1, rel=0.02)
    assert found.reading == pytest.approx(1, rel=0.1)
    assert found.correlation == pytest.approx(0, abs=0.03)
    assert found.brightness == pytest.approx(1, rel=0.05)
    assert found.edges == pytest.approx(1, rel=0.05)
    assert found.warnings == ()


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("shape", [(64, 64, 1), (48, 80, 3)])
def test_white_noise_raises_no_alarm(seed, shape):
    assert check(SIGMA * white(shape, seed)).warnings == ()


def test_the_correlation_is_the_one_that_was_put_in():
    noise = white((200, 200, 1))
    smeared = noise[:, :-1] + noise[:, 1:]  # neighbours in a row share one of two parts
    found = check(SIGMA / np.sqrt(2) * smeared)
    assert found.correlation == pytest.approx(0.5, abs=0.02)
    assert "correlated (+0.50)" in words(found)
    opposite = noise[:-1] - noise[1:]
    found = check(SIGMA / np.sqrt(2) * opposite)
    assert found.correlation == pytest.approx(-0.5, abs=0.02)
    assert "correlated (-0.50)" in words(found)


@pytest.mark.parametrize("lag", [(0, 1), (1, 0), (1, 1), (1, -1)])
def test_every_direction_counts(lag):
    noise = white((150, 150, 1))
    smeared = (noise + np.roll(noise, lag, axis=(0, 1)))[2:-2, 2:-2]
    assert check(SIGMA / np.sqrt(2) * smeared).correlation == pytest.approx(0.5, abs=0.03)


def test_too_much_and_too_little():
    found = check(1.3 * SIGMA * white())
    assert found.ratio == pytest.approx(1.3, rel=0.02)
    assert f"{found.ratio:.2f} times gaussian:25 was taken away" in words(found)
    found = check(0.8 * SIGMA * white())
    assert "only 0.8" in words(found)
    assert "try a larger --noise" in words(found)


@pytest.mark.parametrize(("factor", "says"), [(2.0, "gaussian:4"), (0.5, "gaussian:1")])
def test_a_level_that_the_picture_does_not_have(factor, says):
    found = check(factor * SIGMA * white())
    assert found.reading == pytest.approx(factor, rel=0.1)
    assert f"the noise reads as {says}" in words(found)
    read = MODEL.scaled(found.reading)
    assert f"not gaussian:25; try --noise auto, or {read} if auto has found gaussian:25" in words(
        found
    )


def test_noise_that_follows_the_light():
    clean = picture((128, 128, 1))
    strength = np.where(clean > np.median(clean), 1.5, 0.75)
    found = check(0.8 * SIGMA * strength * white(clean.shape), clean)
    assert found.brightness == pytest.approx(2, rel=0.1)
    assert "in bright parts as in dark ones" in words(found)
    found = check(0.8 * SIGMA / strength * white(clean.shape), clean)
    assert found.brightness == pytest.approx(0.5, rel=0.1)
    assert "in dark parts as in bright ones" in words(found)


def test_lost_edges_are_seen():
    clean = picture((128, 128, 3)).copy()
    clean[40:90, 20:60] += 0.25
    clean[10:30, 90:120] -= 0.3
    restored = ndimage.gaussian_filter(clean, 2, axes=(0, 1))
    noisy = (clean + 0.3 * SIGMA * white(clean.shape)).astype(np.float32)
    found = check_residual(noisy, restored, NoiseModel("gaussian", 0.3 * SIGMA))
    assert found.edges > 1.5
    assert "edges are left" in words(found)


def test_missing_pixels_do_not_count():
    missing = np.zeros((96, 96), bool)
    missing[20:50, 30:80] = True
    residual = SIGMA * white()
    residual[missing] = 7.0
    found = check(residual, missing=missing)
    assert found.ratio == pytest.approx(1, rel=0.03)
    assert found.correlation == pytest.approx(0, abs=0.03)
    assert found.reading is None
    assert found.warnings == ()
    residual[missing] = np.nan
    assert check(residual, missing=missing) == found


def test_clipped_noise_raises_no_alarm():
    clean = np.broadcast_to(np.linspace(0, 1, 128, dtype=np.float32), (128, 128))[..., None]
    noisy = np.clip(clean + SIGMA * white(clean.shape), 0, 1)
    found = check_residual(noisy.astype(np.float32), clean, MODEL)
    assert found.ratio == pytest.approx(1, abs=0.05)
    assert found.warnings == ()


def test_too_few_pixels_say_nothing():
    for shape in ((1, 1, 1), (1, 90, 1), (3, 3, 3), (10, 10, 3)):
        assert check(SIGMA * white(shape)) == ResidualCheck()
    everything = np.ones((96, 96), bool)
    assert check(SIGMA * white(), missing=everything) == ResidualCheck()


def test_a_long_row_is_checked_as_far_as_it_goes():
    found = check(SIGMA * white((1, 5000, 1)))
    assert found.ratio == pytest.approx(1, rel=0.05)
    assert found.reading is None


def test_nothing_taken_away():
    found = check(np.zeros((96, 96, 3)))
    assert (found.std, found.ratio) == (0.0, 0.0)
    assert check(np.zeros((96, 96, 3)), noise=None).ratio is None


def test_without_a_model_nothing_is_said_of_the_level():
    for model in (None, NoiseModel("gaussian", 0.0)):
        found = check(SIGMA * white(), noise=model)
        assert (found.ratio, found.reading, found.warnings) == (None, None, ())
        assert found.correlation == pytest.approx(0, abs=0.03)


def test_gray_without_a_channel_axis():
    clean, residual = picture((96, 96, 1)), SIGMA * white((96, 96, 1))
    noisy = (clean + residual).astype(np.float32)
    assert check_residual(noisy[..., 0], clean[..., 0], MODEL) == check(residual)


@pytest.mark.parametrize(
    "turn", [lambda a: a.swapaxes(0, 1), lambda a: a[::-1], lambda a: a[:, ::-1]]
)
def test_turning_the_picture_changes_nothing(turn):
    residual, clean = SIGMA * white((60, 90, 3)), picture((60, 90, 3))
    found, turned = check(residual, clean), check(turn(residual), turn(clean))
    for name in ("std", "ratio", "correlation", "brightness", "edges"):
        assert getattr(turned, name) == pytest.approx(getattr(found, name), rel=1e-3, abs=1e-6)


@settings(max_examples=150)
@given(
    hnp.array_shapes(min_dims=2, max_dims=3, min_side=1, max_side=40),
    st.sampled_from([0.0, 1e-6, 0.1, 1e4]),
    st.sampled_from([0.0, 0.05, 1.0]),
    st.integers(0, 99),
)
def test_every_picture_has_a_check(shape, size, level, seed):
    shape = (*shape[:2], min(shape[2], 4)) if len(shape) == 3 else shape
    rng = np.random.default_rng(seed)
    noisy = (size * rng.standard_normal(shape)).astype(np.float32)
    restored = np.where(rng.random(shape) < 0.5, noisy, np.float32(0.5))
    found = check_residual(noisy, restored, NoiseModel("gaussian", level))
    for name in ("std", "ratio", "reading", "correlation", "brightness", "edges"):
        value = getattr(found, name)
        assert value is None or np.isfinite(value), name
    assert all("\n" not in warning for warning in found.warnings)


@pytest.mark.parametrize("error", [0.0, 0.02, 0.1, 0.5])
def test_the_explained_share_is_the_best_blend(error):
    clean = picture((200, 200, 3))
    noisy = clean + SIGMA * white((200, 200, 3))
    restored = clean + error * white((200, 200, 3), seed=1)
    share = explained_share(noisy.astype(np.float32), restored.astype(np.float32), MODEL)
    assert share == pytest.approx(SIGMA**2 / (SIGMA**2 + error**2), rel=0.02)

    def distance(share):
        return np.mean((noisy + share * (restored - noisy) - clean) ** 2)

    assert distance(share) <= min(distance(0.0), distance(1.0)) + 1e-3 * SIGMA**2


def test_a_residual_of_nothing_and_missing_pixels_leave_the_restoration_whole():
    clean = picture().astype(np.float32)
    assert explained_share(clean, clean, MODEL) == 1
    holes = np.zeros(clean.shape[:2], bool)
    holes[:5] = True
    assert explained_share(np.where(holes[..., None], 9, clean), clean, MODEL, holes) == 1


def test_counted_light_fits_its_own_model_and_no_other():
    model = NoiseModel("poisson", gain=1 / 40)
    clean = np.clip(picture((128, 128, 3)) * np.linspace(0.1, 1.4, 128)[:, None, None], 0.05, 1)
    noisy = add_noise(clean, model, seed=0).astype(np.float32)
    found = check_residual(noisy, clean.astype(np.float32), model)
    assert found.warnings == ()
    assert found.ratio == pytest.approx(1, abs=0.05)
    even = NoiseModel("gaussian", float(np.std(noisy - clean)))
    assert "bright parts" in words(check_residual(noisy, clean.astype(np.float32), even))
    assert explained_share(noisy, clean.astype(np.float32), model) > 0.95
