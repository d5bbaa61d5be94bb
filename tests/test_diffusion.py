"""The forward process against closed forms, DESIGN's golden values and diffusers."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from guided_dip.diffusion import (
    CONVENTIONS,
    SCHEDULES,
    Schedule,
    coefficients,
    cosine_betas,
    forward,
    forward_from_observation,
    linear_betas,
    make_schedule,
    sigmoid_betas,
    timestep_of,
)
from guided_dip.errors import InputError

schedules = st.sampled_from(
    [make_schedule(name, lower_clip=clip) for name in SCHEDULES for clip in (0.0, 1e-4)]
)
times = st.integers(0, 999)


def test_linear_betas_run_from_first_to_last():
    beta = linear_betas()
    assert (beta[0], beta[-1], len(beta)) == (1e-4, 0.02, 1000)
    np.testing.assert_allclose(np.diff(beta), (0.02 - 1e-4) / 999, rtol=1e-9)


def test_sigmoid_betas_rise_along_a_sigmoid_between_the_linear_ends():
    beta = make_schedule("sigmoid").beta
    share = (beta - 1e-4) / (0.02 - 1e-4)
    np.testing.assert_allclose(np.log(share / (1 - share)), np.linspace(-6, 6, 1000), atol=1e-9)
    assert beta[499] + beta[500] == pytest.approx(0.0201)  # symmetric about its middle
    assert len(sigmoid_betas(7)) == 7


def test_cosine_alpha_bar_is_the_squared_cosine():
    alpha_bar = make_schedule("cosine").alpha_bar
    t = np.arange(1, 999) / 1000  # the last beta is clipped
    f = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2 / np.cos(0.008 / 1.008 * np.pi / 2) ** 2
    np.testing.assert_allclose(alpha_bar[:998], f, rtol=1e-9)
    assert cosine_betas()[-1] == 0.999


def test_lower_clip_of_the_report():
    textbook, report = make_schedule("cosine"), make_schedule("cosine", lower_clip=1e-4)
    assert (textbook.beta != report.beta).sum() == 13
    assert round(float(textbook.alpha_bar[40]), 5) == 0.99434
    assert round(float(report.alpha_bar[40]), 5) == 0.99395
    assert report.beta.min() == 1e-4


def test_golden_noise_levels():
    cosine, linear = make_schedule("cosine", lower_clip=1e-4), make_schedule("linear")
    assert round(float(cosine.sigma[40]) * 255, 1) == 9.9
    assert round(float(linear.sigma[40]) * 255, 1) == 18.3
    assert round(float(linear.sigma[0]) * 255, 1) == 1.3


@pytest.mark.parametrize(
    ("name", "theirs"),
    [("linear", "linear"), ("cosine", "squaredcos_cap_v2"), ("sigmoid", "sigmoid")],
)
def test_against_diffusers(name, theirs):
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler(num_train_timesteps=1000, beta_schedule=theirs)
    ours = make_schedule(name)
    np.testing.assert_allclose(ours.beta, scheduler.betas.numpy(), rtol=1e-4)
    np.testing.assert_allclose(
        ours.alpha_bar, scheduler.alphas_cumprod.numpy(), rtol=1e-3, atol=1e-7
    )
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.rand(1, 3, 8, 8, generator=generator)
    eps = torch.randn(1, 3, 8, 8, generator=generator)
    for t in (0, 40, 500, 999):
        theirs_x_t = (scheduler.add_noise(2 * x_0 - 1, eps, torch.tensor([t])) + 1) / 2
        ours_x_t = forward(x_0, eps, t, ours, convention="centred")
        torch.testing.assert_close(ours_x_t, theirs_x_t, rtol=1e-4, atol=1e-5)


@given(schedules, times)
def test_offset_is_the_code_of_the_report(schedule, t):
    rng = np.random.default_rng(t)
    x_0, eps = rng.random((4, 4)), rng.standard_normal((4, 4))
    root, rest = math.sqrt(schedule.alpha_bar[t]), math.sqrt(1 - schedule.alpha_bar[t])
    expected = root * x_0 + rest * (0.5 * eps + 0.5)
    np.testing.assert_allclose(forward(x_0, eps, t, schedule, convention="offset"), expected)


@given(schedules, times)
def test_centred_is_the_textbook_in_minus_one_to_one(schedule, t):
    rng = np.random.default_rng(t)
    x_0, eps = rng.random((4, 4)), rng.standard_normal((4, 4))
    alpha_bar = schedule.alpha_bar[t]
    x_t = math.sqrt(alpha_bar) * (2 * x_0 - 1) + math.sqrt(1 - alpha_bar) * eps
    result = forward(x_0, eps, t, schedule, convention="centred")
    np.testing.assert_allclose(result, (x_t + 1) / 2, atol=1e-12)
    # Its loss of contrast, as DESIGN states it.
    bias = forward(x_0, 0 * eps, t, schedule, convention="centred") - x_0
    np.testing.assert_allclose(bias, (1 - math.sqrt(alpha_bar)) * (0.5 - x_0), atol=1e-12)


@given(schedules, times)
def test_unbiased_is_the_image_plus_noise_of_sigma_t(schedule, t):
    rng = np.random.default_rng(t)
    x_0, eps = rng.random((4, 4)), rng.standard_normal((4, 4))
    alpha_bar = schedule.alpha_bar[t]
    sigma_t = 0.5 * math.sqrt((1 - alpha_bar) / alpha_bar)
    result = forward(x_0, eps, t, schedule, convention="unbiased")
    np.testing.assert_allclose(result, x_0 + sigma_t * eps, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(("name", "excess"), [("cosine", 0.038), ("linear", 0.067)])
def test_the_offset_brightens_the_expected_guide(name, excess):
    schedule = make_schedule(name, lower_clip=1e-4)
    c = coefficients(schedule, 40, "offset")
    brightness = 0.4  # about the mean of a photograph
    assert c.signal * brightness + c.shift - brightness == pytest.approx(excess, abs=1e-3)


@given(schedules)
def test_noise_grows_along_every_schedule(schedule):
    assert (np.diff(schedule.sigma) > 0).all()
    assert (np.diff(schedule.alpha_bar) < 0).all()
    assert not schedule.beta.flags.writeable


def test_a_schedule_of_ones_own_is_kept_in_doubles_and_cannot_be_changed():
    given_betas = np.array([0.25, 0.5], np.float32)
    schedule = Schedule.from_betas("mine", given_betas)
    assert schedule.name == "mine"
    assert schedule.beta.tolist() == [0.25, 0.5]
    assert schedule.alpha_bar.tolist() == [0.75, 0.375]
    np.testing.assert_allclose(schedule.sigma, [math.sqrt(1 / 3) / 2, math.sqrt(5 / 3) / 2])
    for array in (schedule.beta, schedule.alpha_bar, schedule.sigma):
        assert array.dtype == np.float64
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.1
    given_betas[0] = 0.9  # the caller's own
    assert schedule.beta[0] == 0.25


@pytest.mark.parametrize("betas", [[0.0, 0.5], [0.5, 1.0], [[0.1, 0.2]], [], [-0.1], [math.nan]])
def test_what_is_no_list_of_betas_is_refused(betas):
    with pytest.raises(InputError) as raised:
        Schedule.from_betas("mine", betas)
    message = "a beta schedule is a list of numbers between 0 and 1 (exclusive)"
    assert str(raised.value) == message


@given(schedules, st.floats(0, 10))
def test_timestep_of_is_the_first_as_noisy(schedule, sigma):
    t = timestep_of(sigma, schedule)
    assert schedule.sigma[t] >= sigma
    assert t == 0 or schedule.sigma[t - 1] < sigma


@given(schedules, times)
def test_timestep_of_inverts_sigma(schedule, t):
    assert timestep_of(float(schedule.sigma[t]), schedule) == t


@pytest.mark.parametrize("sigma", [-1.0, math.nan, math.inf, 1e9])
def test_timestep_of_refuses(sigma):
    with pytest.raises(InputError, match="noise level"):
        timestep_of(sigma, make_schedule("cosine"))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_continuation_has_the_law_of_the_forward_process(convention):
    schedule, t, sigma = make_schedule("cosine"), 300, 25 / 255
    rng = np.random.default_rng(0)
    x_0 = np.full(200_000, 0.3)
    y = x_0 + sigma * rng.standard_normal(x_0.shape)
    x_t = forward_from_observation(
        y, rng.standard_normal(x_0.shape), t, schedule, sigma=sigma, convention=convention
    )
    c = coefficients(schedule, t, convention)
    assert x_t.mean() == pytest.approx(c.signal * 0.3 + c.shift, abs=5 * c.noise / math.sqrt(2e5))
    assert x_t.std() == pytest.approx(c.noise, rel=0.01)


def test_continuation_at_the_observation_itself_adds_nothing():
    schedule = make_schedule("cosine")
    y, xi = np.random.default_rng(0).random((2, 3, 3))
    sigma = float(schedule.sigma[100])
    np.testing.assert_allclose(forward_from_observation(y, xi, 100, schedule, sigma=sigma), y)


def test_continuation_refuses_a_guide_less_noisy_than_the_observation():
    schedule = make_schedule("cosine")
    with pytest.raises(InputError) as raised:
        forward_from_observation(np.zeros(1), np.zeros(1), 10, schedule, sigma=25 / 255)
    level = f"{schedule.sigma[10] * 255:.1f}/255"
    assert str(raised.value) == (
        f"timestep 10 (sigma {level}) is less noisy than the observation (sigma 25.0/255); "
        "start from timestep 116 or later"
    )


def test_arrays_and_tensors_agree():
    schedule = make_schedule("linear")
    x_0, eps = np.random.default_rng(0).random((2, 3, 5))
    ours = forward(torch.from_numpy(x_0), torch.from_numpy(eps), 77, schedule)
    np.testing.assert_array_equal(ours.numpy(), forward(x_0, eps, 77, schedule))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_schedule("cosin"), "did you mean 'cosine'"),
        (lambda: make_schedule("linear", timesteps=0), "at least 1 timestep"),
        (lambda: make_schedule("linear", lower_clip=1.0), "lower clip"),
        (lambda: Schedule.from_betas("own", np.array([0.1, 1.0])), "between 0 and 1"),
        (lambda: Schedule.from_betas("own", np.array([])), "between 0 and 1"),
        (lambda: coefficients(make_schedule("linear"), 1000), "outside the schedule"),
        (lambda: coefficients(make_schedule("linear"), -1), "outside the schedule"),
        (lambda: coefficients(make_schedule("linear"), 0, "center"), "did you mean 'centred'"),
    ],
)
def test_errors(call, message):
    with pytest.raises(InputError, match=message):
        call()
