"""Plans against every golden list, and the promises that hold for all of them."""

import itertools
import subprocess
import sys
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from guided_dip.diffusion import make_schedule, timestep_of
from guided_dip.errors import InputError
from guided_dip.guidance import (
    SUPERVISIONS,
    GuideOrder,
    Patches,
    Plan,
    Stage,
    iterations,
    make_plan,
    timesteps,
)

COSINE = make_schedule("cosine", lower_clip=1e-4)
LINEAR = make_schedule("linear", lower_clip=1e-4)

REPORT_TIMES = "500 475 451 427 403 378 354 330 306 282 257 233 209 185 161 136 112 88 64 40"
REPORT_COSINE = "49 54 58 63 68 73 79 84 89 94 100 106 112 118 124 130 137 144 151 167"
REPORT_LINEAR = "25 28 32 36 40 46 52 58 66 74 84 95 107 120 136 154 174 196 220 257"


def numbers(text):
    return tuple(map(int, text.split()))


@pytest.mark.parametrize(("schedule", "golden"), [(COSINE, REPORT_COSINE), (LINEAR, REPORT_LINEAR)])
def test_the_plans_of_the_report(schedule, golden):
    plan = make_plan("clean-guides", schedule, steps=2000, count=20)
    assert tuple(stage.t for stage in plan) == numbers(REPORT_TIMES)
    assert tuple(stage.steps for stage in plan) == numbers(golden)
    assert plan.steps == 2000


def test_the_example_of_the_report():
    assert timesteps(500, 0, 6) == (500, 400, 300, 200, 100, 0)


@pytest.mark.parametrize(
    ("sigma", "times", "strengths"),
    [
        (25, "256 224 193 161 130", [2.000, 1.662, 1.328, 0.960, 0.516]),
        (50, "453 403 354 305 256", [2.001, 1.624, 1.274, 0.920, 0.500]),
    ],
)
def test_recorrupted_plans(sigma, times, strengths):
    plan = make_plan("recorrupted-guides", COSINE, steps=1500, count=5, sigma=sigma / 255)
    assert tuple(stage.t for stage in plan) == numbers(times)
    assert [round(stage.a, 3) for stage in plan] == strengths
    assert plan.steps == 1500
    for stage in plan:
        assert stage.sigma == pytest.approx(sigma / 255 * (1 + stage.a**2) ** 0.5)
    # Less noisy guides get more iterations, by the iteration generator's weights.
    betas = [float(COSINE.beta[stage.t]) for stage in plan]
    assert tuple(stage.steps for stage in plan) == iterations(1500, betas, 400)


@pytest.mark.parametrize("sigma", [0.05, 0.3, 0.5])
def test_recorruption_below_the_schedule_is_geometric(sigma):
    plan = make_plan("recorrupted-guides", COSINE, steps=1000, count=5, sigma=sigma / 255)
    assert [stage.t for stage in plan] == [None] * 5
    assert [stage.steps for stage in plan] == [200] * 5
    assert [stage.a for stage in plan] == pytest.approx([2 * 4 ** (-k / 4) for k in range(5)])


def test_a_constant_strength():
    plan = make_plan(
        "recorrupted-guides", COSINE, steps=7, count=3, sigma=0.1, a_start=0.7, a_end=0.7
    )
    assert [stage.a for stage in plan] == [0.7] * 3
    assert [stage.steps for stage in plan] == [2, 2, 3]


def test_one_recorrupted_guide_is_the_last():
    (stage,) = make_plan("recorrupted-guides", COSINE, steps=7, count=1, sigma=0.1)
    assert (stage.a, stage.steps) == (0.5, 7)


def test_observation_is_one_stage_without_a_timestep():
    assert make_plan("observation", COSINE, steps=9, count=20).stages == (Stage(9),)


def test_observation_guides_drop_what_is_less_noisy_than_the_observation():
    sigma = 25 / 255
    plan = make_plan("observation-guides", COSINE, steps=2000, count=20, sigma=sigma)
    kept = [t for t in numbers(REPORT_TIMES) if t >= timestep_of(sigma, COSINE)]
    assert [stage.t for stage in plan] == kept
    assert len(kept) == 16
    assert plan.steps == 2000


def test_observation_guides_keep_one_where_all_are_less_noisy():
    plan = make_plan("observation-guides", COSINE, steps=10, count=3, start=60, end=40, sigma=0.2)
    assert [stage.t for stage in plan] == [timestep_of(0.2, COSINE)]


@given(st.integers(0, 999), st.integers(0, 999), st.integers(1, 60))
def test_timesteps_fall_evenly_from_start_to_end(start, end, count):
    assume(start > end)
    assume(count <= start - end + 1)
    times = timesteps(start, end, count)
    assert len(times) == count
    assert times[-1] == end
    assert count == 1 or times[0] == start
    gaps = [a - b for a, b in itertools.pairwise(times)]
    assert all(gap > 0 for gap in gaps)
    assert not gaps or max(gaps) - min(gaps) <= 1


@given(
    st.integers(0, 10_000),
    st.lists(st.floats(1e-4, 0.999), min_size=1, max_size=50),
    st.floats(0, 5000),
)
def test_iterations_sum_to_the_budget(steps, betas, scale):
    shares = iterations(steps, sorted(betas, reverse=True), scale)
    assert sum(shares) == steps
    assert min(shares) >= 0
    # Rounding down never orders a less noisy guide behind a noisier one.
    assert list(shares) == sorted(shares)


@given(st.integers(0, 3000), st.integers(1, 50), st.sampled_from(SUPERVISIONS), st.floats(1e-4, 2))
def test_every_plan_spends_its_budget(steps, count, supervision, sigma):
    plan = make_plan(supervision, COSINE, steps=steps, count=count, sigma=sigma)
    assert plan.steps == steps
    assert plan.boundaries[0] == 0
    assert len(plan.boundaries) == len(plan)
    strengths = [stage.a for stage in plan if stage.a is not None]
    assert strengths == sorted(strengths, reverse=True)
    assert all(a >= 0.5 - 1e-9 for a in strengths)


def test_guides_that_are_equally_noisy_share_the_budget_evenly():
    plan = make_plan("clean-guides", COSINE, steps=2003, count=20, start=40, end=40)
    assert [stage.t for stage in plan] == [40] * 20
    assert [stage.steps for stage in plan] == [100] * 19 + [103]


def ordered(order, *, seed=0, restarts=1, supervision="clean-guides"):
    options = {"steps": 999, "count": 12, "sigma": 0.05, "restarts": restarts}
    return make_plan(supervision, COSINE, order=order, seed=seed, **options)


@given(st.sampled_from(get_args(GuideOrder)), st.integers(0, 99), st.sampled_from(SUPERVISIONS))
def test_another_order_has_the_same_guides_with_the_same_steps(order, seed, supervision):
    usual = ordered("most-noisy-first", supervision=supervision)
    plan = ordered(order, seed=seed, supervision=supervision)
    assert sorted(plan, key=repr) == sorted(usual, key=repr)
    if order == "least-noisy-first":
        assert plan.stages == usual.stages[::-1]
    if order == "shuffled-least-noisy-last":
        assert plan.stages[-1] == usual.stages[-1]


@pytest.mark.parametrize("order", ["shuffled", "shuffled-least-noisy-last"])
def test_each_seed_and_restart_is_shuffled_in_its_own_way(order):
    plans = [ordered(order, seed=seed).stages for seed in range(6)]
    assert len(set(plans)) == 6
    assert ordered("most-noisy-first").stages not in plans
    assert ordered(order, seed=3).stages == plans[3]
    twice = ordered(order, restarts=2)
    parts = [[stage.t for stage in twice.stages[:12]], [stage.t for stage in twice.stages[12:]]]
    assert parts[0] != parts[1]
    assert sorted(parts[0]) == sorted(parts[1])


def test_shuffling_is_fair():
    firsts = [ordered("shuffled", seed=seed).stages[0].t for seed in range(600)]
    counts = [firsts.count(t) for t in set(firsts)]
    assert len(counts) == 12
    assert min(counts) > 25
    assert max(counts) < 80  # 50 expected, standard deviation 6.8


def test_a_small_budget_keeps_stages_of_no_steps():
    plan = make_plan("clean-guides", COSINE, steps=5, count=20)
    assert len(plan) == 20
    assert [stage.steps for stage in plan] == [0] * 19 + [5]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"count": 0}, "at least 1 guide"),
        ({"count": -3}, "at least 1 guide"),
        ({"start": 10}, r"start \(10\) must be at least end \(40\)"),
        ({"steps": -1}, "cannot be negative"),
        ({"start": 1000}, "timestep 1000 is outside the schedule"),
        ({"end": -1}, "timesteps start at 0"),
        ({"scale": -1.0}, "scale"),
        ({"scale": float("nan")}, "scale"),
        ({"start": 50, "count": 12}, "at most 11"),
        ({"supervision": "clean"}, "did you mean 'clean-guides'"),
        ({"supervision": "observation-guides"}, "need the noise level"),
        ({"supervision": "recorrupted-guides"}, "need the noise level"),
        ({"supervision": "recorrupted-guides", "sigma": 0.0}, "nothing to recorrupt"),
        ({"supervision": "recorrupted-guides", "sigma": -0.1}, "a noise level is"),
        ({"supervision": "recorrupted-guides", "sigma": 0.1, "a_end": 0.0}, "stays above 0"),
        ({"supervision": "recorrupted-guides", "sigma": 0.1, "a_end": 3.0}, "strong to weak"),
        ({"supervision": "recorrupted-guides", "sigma": 0.1, "count": 0}, "no guide|at least 1"),
        ({"supervision": "recorrupted-guides", "sigma": 1e6}, "above the cosine schedule"),
        ({"supervision": "observation", "steps": -2}, "cannot be negative"),
    ],
)
def test_impossible_plans(settings, message):
    given = {"supervision": "clean-guides", "steps": 100, "count": 5} | settings
    supervision = given.pop("supervision")
    with pytest.raises(InputError, match=message):
        make_plan(supervision, COSINE, **given)


def test_a_plan_is_immutable_and_plain():
    plan = make_plan("clean-guides", LINEAR, steps=10, count=2)
    assert hash(plan) == hash(make_plan("clean-guides", LINEAR, steps=10, count=2))
    with pytest.raises(AttributeError):
        plan.stages = ()
    assert plan.as_dict()["stages"][0]["t"] == 500
    assert plan.as_dict()["steps"] == 10
    assert isinstance(plan, Plan)


def test_planning_needs_no_torch():
    code = "import guided_dip.guidance, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@given(st.integers(0, 300), st.integers(1, 7), st.sampled_from(SUPERVISIONS))
def test_restarts_share_the_steps_and_have_the_same_guides(steps, restarts, supervision):
    options = {"count": 4, "sigma": 0.1}
    plan = make_plan(supervision, COSINE, steps=steps, restarts=restarts, **options)
    assert plan.steps == steps
    assert plan.ends[-1] == steps
    assert len(plan.ends) == plan.restarts == restarts
    n = plan.per_restart
    parts = [plan.stages[k * n : (k + 1) * n] for k in range(restarts)]
    shares = [sum(stage.steps for stage in part) for part in parts]
    assert max(shares) - min(shares) <= 1
    for part, share in zip(parts, shares, strict=True):
        assert part == make_plan(supervision, COSINE, steps=share, **options).stages


def test_a_plan_is_carried_out_at_least_once():
    with pytest.raises(InputError, match="restarts is 0"):
        make_plan("observation", COSINE, steps=5, count=1, restarts=0)


# Patches


@settings(max_examples=50)
@given(
    st.integers(0, 3000),
    st.integers(1, 7),
    st.integers(0, 8),
    st.integers(1, 64),
    st.sampled_from([1 / 255, 25 / 255]),
    st.integers(1, 3),
)
def test_the_first_guides_are_fitted_to_squares(steps, count, guides, side, sigma, restarts):
    patches = Patches(side, guides, 64 * 64)
    options = {"steps": steps, "count": count, "sigma": sigma, "restarts": restarts}
    plan = make_plan("recorrupted-guides", COSINE, **options, patches=patches)
    whole = make_plan("recorrupted-guides", COSINE, **options)
    assert plan.steps == steps
    few = min(guides, count)
    for k, (stage, plain) in enumerate(zip(plan, whole, strict=True)):
        assert (stage.t, stage.sigma, stage.a) == (plain.t, plain.sigma, plain.a)
        on_square = k % count < few
        assert stage.patch == (side if on_square else None)
        assert stage.work == (side**2 / 64**2 if on_square else 1.0)
        assert (plain.patch, plain.work) == (None, 1.0)


def test_the_work_is_shared_as_steps_would_be():
    options = {"count": 5, "sigma": 25 / 255}
    whole = make_plan("recorrupted-guides", COSINE, steps=4000, **options)
    patches = Patches(128, 2, 256 * 256)
    plan = make_plan("recorrupted-guides", COSINE, steps=9000, **options, patches=patches)
    work = plan.work_done(plan.steps)
    for stage, plain in zip(plan, whole, strict=True):
        assert stage.steps * stage.work / work == pytest.approx(plain.steps / 4000, abs=2e-3)


@given(st.lists(st.tuples(st.integers(0, 20), st.sampled_from([0.1, 0.25, 1.0])), max_size=5))
def test_work_and_steps_are_inverse(parts):
    plan = Plan("observation", "cosine", tuple(Stage(n, work=w) for n, w in parts))
    costs = [w for n, w in parts for _ in range(n)]
    for steps in range(len(costs) + 1):
        assert plan.work_done(steps) == pytest.approx(sum(costs[:steps]))
        assert plan.steps_for(plan.work_done(steps)) == steps
    assert plan.steps_for(sum(costs) + 1) == len(costs)
    assert plan.work_done(len(costs) + 9) == pytest.approx(sum(costs))


# Hiding


def hidden(count=5, hide=(0.9, 0.1), schedule=LINEAR, **more):
    options = {"steps": 1000, "count": count, "hide": hide} | more
    return make_plan("recorrupted-guides", schedule, **options)


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.integers(1, 12))
def test_what_is_hidden_falls_evenly_to_where_the_schedule_hides_as_much(one, other, count):
    """By absorbing diffusion: 1 - alpha_bar is the part of the pixels that can be seen no more."""
    most, least = max(one, other), min(one, other)
    plan = hidden(count, (most, least))
    parts = [stage.hidden for stage in plan]
    step = (least - most) / (count - 1) if count > 1 else 0
    assert parts == pytest.approx([most + step * k for k in range(count)])
    for stage in plan:
        gone = 1 - LINEAR.alpha_bar[: stage.t + 1]
        assert gone[-1] >= stage.hidden
        assert stage.t == 0 or gone[-2] < stage.hidden
        assert (stage.sigma, stage.a, stage.patch, stage.work) == (None, None, None, 1.0)
    betas = [float(LINEAR.beta[stage.t]) for stage in plan]
    assert tuple(stage.steps for stage in plan) == iterations(1000, betas, 250)


def test_hiding_is_shared_by_the_scale_that_is_asked_for():
    even = hidden(4, scale=0.0)
    assert [stage.steps for stage in even] == [250] * 4
    few = hidden(4, scale=1000.0)
    betas = [float(LINEAR.beta[stage.t]) for stage in few]
    assert tuple(stage.steps for stage in few) == iterations(1000, betas, 1000.0)
    noisy = hidden(4, sigma=0.1, scale=1000.0, schedule=COSINE)
    betas = [float(COSINE.beta[stage.t]) for stage in noisy]
    assert tuple(stage.steps for stage in noisy) == iterations(1000, betas, 1000.0)


def test_hiding_with_noise_is_recorruption_that_hides():
    options = {"sigma": 0.1, "a_start": 1.5, "a_end": 0.75, "patches": Patches(8, 2, 1024)}
    plan = hidden(3, (0.5, 0.5), COSINE, **options)
    usual = make_plan("recorrupted-guides", COSINE, steps=1000, count=3, **options)
    assert [stage.hidden for stage in plan] == [0.5] * 3
    for stage, other in zip(plan, usual, strict=True):
        assert replace(stage, hidden=None) == other
    assert [stage.patch for stage in plan] == [8, 8, None]


def test_hiding_on_squares_shares_the_work():
    plan = hidden(4, patches=Patches(16, 3, 64 * 64), scale=0.0)
    assert [stage.patch for stage in plan] == [16, 16, 16, None]
    assert [stage.work for stage in plan] == [1 / 16] * 3 + [1.0]
    assert [stage.steps for stage in plan] == [326, 326, 326, 22]


@pytest.mark.parametrize("hide", [(0.0, 0.0), (0.1, 0.2), (1.0, 0.5), (1.5, 0.5), (0.5, -0.1)])
def test_what_cannot_be_hidden_is_refused(hide):
    with pytest.raises(InputError) as raised:
        hidden(hide=hide)
    most, least = hide
    assert str(raised.value) == (
        f"what is hidden goes from much to little, between 0 and 1, not {most:g} to {least:g}"
    )


def test_no_guides_cannot_hide():
    with pytest.raises(InputError, match="no guide"):
        hidden(0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: make_plan("observation-guides", COSINE, steps=9, count=2),
            "observation-guides need the noise level: give it, as in --noise gaussian:25",
        ),
        (
            lambda: make_plan("observation-guides", COSINE, steps=9, count=2, sigma=-1.0),
            "a noise level is a number >= 0, not -1.0",
        ),
        (
            lambda: make_plan("recorrupted-guides", COSINE, steps=9, count=2, sigma=0.0),
            "a noise level of 0 leaves nothing to recorrupt: give a level above 0",
        ),
        (
            lambda: make_plan(
                "recorrupted-guides", COSINE, steps=9, count=2, sigma=0.1, a_start=1, a_end=2
            ),
            "recorruption goes from strong to weak and stays above 0: a_start is 1 and a_end is 2",
        ),
        (
            lambda: make_plan("observation", COSINE, steps=9, count=1, restarts=0),
            "a plan is carried out at least once: restarts is 0",
        ),
        (
            lambda: make_plan("observation", COSINE, steps=-9, count=1),
            "the budget of iterations cannot be negative: steps is -9",
        ),
        (lambda: timesteps(9, 1, 0), "a plan needs at least 1 guide: count is 0"),
        (lambda: timesteps(9, -1, 2), "timesteps start at 0: end is -1"),
        (
            lambda: timesteps(1, 9, 2),
            "guides go from most to least noisy: start (1) must be at least end (9)",
        ),
        (
            lambda: timesteps(9, 1, 10),
            "10 guides do not fit between timesteps 9 and 1: use a count of at most 9",
        ),
        (
            lambda: iterations(-1, [0.1], 0.0),
            "the budget of iterations cannot be negative: steps is -1",
        ),
        (lambda: iterations(1, [0.1], -1.0), "the scale is a number >= 0, not -1.0"),
        (lambda: iterations(1, [], 0.0), "there is no guide to spend iterations on"),
    ],
)
def test_what_is_said_of_an_impossible_plan(call, message):
    with pytest.raises(InputError) as raised:
        call()
    assert str(raised.value) == message
