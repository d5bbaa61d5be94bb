"""The four rows of the supervision table: what each step is given, and its statistics."""

import math
import threading

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import signal

from guided_dip.diffusion import forward, forward_from_observation, make_schedule
from guided_dip.errors import InputError
from guided_dip.guidance import Patches, make_plan
from guided_dip.hiding import Hiding
from guided_dip.operators import Downsample, Gain, agreeing, enlarged
from guided_dip.seeds import normal
from guided_dip.supervision import (
    Ahead,
    Filter,
    FromZ,
    Measured,
    RecorruptedGuides,
    SmallerGuides,
    clean_guides,
    observation,
    observation_guides,
)

SCHEDULE = make_schedule("cosine", lower_clip=1e-4)
Y = torch.rand(1, 3, 8, 6, generator=torch.Generator().manual_seed(1))
Z = (torch.randn(1, 3, 8, 6, generator=torch.Generator().manual_seed(2)),)


def test_observation_pairs_z_with_the_observation():
    supervision = observation(Y, Z, jitter=0.0, seed=0)
    for step in range(3):
        pair = supervision.pair(0, step)
        assert pair.input is Z[0]
        assert pair.target is Y
    assert not supervision.draws_differ


def test_jitter_is_fresh_at_each_step_and_gone_from_the_final_input():
    supervision = observation(Y, Z, jitter=0.1, seed=0)
    inputs = [supervision.pair(0, step).input - Z[0] for step in range(200)]
    assert not torch.equal(inputs[0], inputs[1])
    assert torch.stack(inputs).std().item() == pytest.approx(0.1, rel=0.02)
    assert supervision.final_input(0, 0) is Z[0]
    again = observation(Y, Z, jitter=0.1, seed=0).pair(0, 7).input
    assert torch.equal(again, supervision.pair(0, 7).input)


def test_clean_guides_are_drawn_once_a_stage():
    plan = make_plan("clean-guides", SCHEDULE, steps=20, count=3)
    supervision = clean_guides(Y, Z, plan, SCHEDULE, convention="offset", jitter=0.0, seed=5)
    first = supervision.pair(0, 0).target
    assert supervision.pair(0, 1).target is first
    second = supervision.pair(1, 2).target
    for stage, guide in enumerate((first, second)):
        eps = normal(Y, 5, "eps", stage)
        expected = forward(Y, eps, plan.stages[stage].t, SCHEDULE, convention="offset")
        assert torch.equal(guide, expected)


def test_observation_guides_continue_from_the_observation():
    plan = make_plan("observation-guides", SCHEDULE, steps=20, count=3, sigma=0.05)
    supervision = observation_guides(
        Y, Z, plan, SCHEDULE, sigma=0.05, convention="unbiased", jitter=0.0, seed=5
    )
    for stage in range(len(plan)):
        expected = forward_from_observation(
            Y, normal(Y, 5, "xi", stage), plan.stages[stage].t, SCHEDULE, sigma=0.05
        )
        assert torch.equal(supervision.pair(stage, stage).target, expected)


def test_guides_of_every_kind_are_told_the_convention_the_jitter_and_the_seed():
    plan = make_plan("observation-guides", SCHEDULE, steps=20, count=3, sigma=0.05)
    told = {"convention": "offset", "jitter": 0.1, "seed": 5}
    clean = clean_guides(Y, Z, plan, SCHEDULE, **told)
    noisy = observation_guides(Y, Z, plan, SCHEDULE, sigma=0.05, **told)
    plain = observation(Y, Z, jitter=0.1, seed=5)
    jittered = Z[0] + 0.1 * normal(Z[0], 5, "jitter", 7)
    for supervision in (clean, noisy, plain):
        assert torch.equal(supervision.pair(1, 7).input, jittered)
    expected = forward_from_observation(
        Y, normal(Y, 5, "xi", 1), plan.stages[1].t, SCHEDULE, sigma=0.05, convention="offset"
    )
    assert torch.equal(noisy.pair(1, 7).target, expected)


@pytest.mark.parametrize("shared", [False, True])
def test_guides_have_noise_of_their_own_or_share_one_draw(shared):
    plan = make_plan("clean-guides", SCHEDULE, steps=20, count=3)
    guides = clean_guides(
        Y, Z, plan, SCHEDULE, convention="unbiased", jitter=0.0, seed=5, shared_noise=shared
    )
    levels = [float(SCHEDULE.sigma[stage.t]) for stage in plan]
    noises = [(guides.pair(k, k).target - Y) / levels[k] for k in range(3)]
    assert torch.allclose(noises[0], noises[2], atol=1e-5) is shared
    assert torch.allclose(noises[0], normal(Y, 5, "eps", 0), atol=1e-5)

    sigma = 0.05
    plan = make_plan("observation-guides", SCHEDULE, steps=20, count=3, sigma=sigma)
    guides = observation_guides(
        Y,
        Z,
        plan,
        SCHEDULE,
        sigma=sigma,
        convention="unbiased",
        jitter=0.0,
        seed=5,
        shared_noise=shared,
    )
    levels = [math.sqrt(float(SCHEDULE.sigma[stage.t]) ** 2 - sigma**2) for stage in plan]
    noises = [(guides.pair(k, k).target - Y) / levels[k] for k in range(len(plan))]
    assert torch.allclose(noises[0], noises[-1], atol=1e-4) is shared
    assert torch.allclose(noises[0], normal(Y, 5, "xi", 0), atol=1e-4)


def test_sixteen_times_larger_is_measured_in_eights():
    guides = SmallerGuides(SMALL[..., :2, :2], Downsample(16), SMALLER_PLAN, seed=0)
    large = torch.rand(1, 2, 16, 16, generator=torch.Generator().manual_seed(5))
    agreed = agreeing(large, SMALL[..., :2, :2], Downsample(8))
    assert torch.equal(guides.again(large, 3), enlarged(agreed, 2))


def test_a_window_of_z_is_cut_out():
    supervision = observation(Y, Z, jitter=0.0, seed=0)
    window = (slice(2, 6), slice(1, 4))
    assert torch.equal(supervision.final_input(0, 0, window), Z[0][..., 2:6, 1:4])
    plain = FromZ(Z, lambda stage: Y + stage)
    assert plain.pair(0, 0).input is Z[0]
    assert torch.equal(plain.pair(2, 0).target, Y + 2)


def test_z_may_be_redrawn_each_stage():
    zs = (*Z, Z[0] + 1)
    supervision = observation(Y, zs, jitter=0.0, seed=0)
    assert supervision.pair(0, 0).input is zs[0]
    assert supervision.pair(1, 1).input is zs[1]


@pytest.mark.parametrize("a", [2.0, 1.0, 0.5])
def test_recorrupted_noise_of_input_and_target_is_uncorrelated(a):
    """Given the clean image: variances sigma^2 (1 + a^2) and sigma^2 (1 + 1/a^2), covariance 0."""
    sigma, x = 0.1, torch.full((1, 1, 200, 200), 0.5)
    plan = make_plan(
        "recorrupted-guides", SCHEDULE, steps=5, count=5, sigma=sigma, a_start=a, a_end=a
    )
    products, inputs, targets = [], [], []
    for draw in range(5):
        y = x + sigma * torch.randn(x.shape, generator=torch.Generator().manual_seed(draw))
        pair = RecorruptedGuides(y, plan, sigma=sigma, seed=draw).pair(0, 3)
        inputs.append(pair.input - x)
        targets.append(pair.target - x)
        products.append(inputs[-1] * targets[-1])
    n = 5 * x.numel()
    variance_in, variance_out = sigma**2 * (1 + a**2), sigma**2 * (1 + 1 / a**2)
    assert torch.stack(inputs).var().item() == pytest.approx(variance_in, rel=0.03)
    assert torch.stack(targets).var().item() == pytest.approx(variance_out, rel=0.03)
    tolerance = 5 * math.sqrt(variance_in * variance_out / n)
    assert abs(torch.stack(products).mean().item()) < tolerance


def test_recorruption_is_fresh_at_each_step_and_repeats_by_seed():
    plan = make_plan("recorrupted-guides", SCHEDULE, steps=10, count=2, sigma=0.1)
    supervision = RecorruptedGuides(Y, plan, sigma=0.1, seed=0)
    one, two = supervision.pair(0, 0), supervision.pair(0, 1)
    assert not torch.equal(one.input, two.input)
    assert torch.equal(one.input, RecorruptedGuides(Y, plan, sigma=0.1, seed=0).pair(0, 0).input)
    assert not torch.equal(
        one.input, RecorruptedGuides(Y, plan, sigma=0.1, seed=1).pair(0, 0).input
    )
    a = plan.stages[0].a
    torch.testing.assert_close((one.input - Y) / a, (Y - one.target) * a, rtol=1e-3, atol=1e-5)
    assert supervision.draws_differ
    assert not torch.equal(supervision.final_input(1, 0), supervision.final_input(1, 1))


@pytest.mark.parametrize("sigma", [0.0, -1.0, math.nan])
def test_recorruption_needs_noise(sigma):
    plan = make_plan("recorrupted-guides", SCHEDULE, steps=10, count=2, sigma=0.1)
    with pytest.raises(InputError, match="noise level above 0"):
        RecorruptedGuides(Y, plan, sigma=sigma, seed=0)


def test_recorruption_of_squares():
    patches = Patches(4, 1, Y[0, 0].numel())
    plan = make_plan("recorrupted-guides", SCHEDULE, steps=400, count=2, sigma=0.1, patches=patches)
    supervision = RecorruptedGuides(Y, plan, sigma=0.1, seed=0)
    height, width = Y.shape[-2:]
    corners = set()
    for step in range(300):
        pair = supervision.pair(0, step)
        rows, columns = pair.window
        y = Y[..., rows, columns]
        assert pair.input.shape == pair.target.shape == y.shape == (*Y.shape[:2], 4, 4)
        a = plan.stages[0].a
        torch.testing.assert_close(
            (pair.input - y) / a, (y - pair.target) * a, rtol=1e-3, atol=1e-5
        )
        corners.add((rows.start, columns.start))
    # every place, the borders as well
    assert len(corners) == min(300, (height - 3) * (width - 3)) or len(corners) > 100
    assert {top for top, _ in corners} == set(range(height - 3))
    assert {left for _, left in corners} == set(range(width - 3))
    assert supervision.pair(1, 300).window is None
    assert supervision.pair(1, 300).input.shape == Y.shape
    assert supervision.final_input(0, 0).shape == Y.shape


def test_where_there_are_only_squares_borders_are_seen_half_as_often_as_the_middle():
    y = torch.zeros(1, 1, 40, 40)
    patches = Patches(8, 2, 1600)
    plan = make_plan("recorrupted-guides", SCHEDULE, steps=400, count=2, sigma=0.1, patches=patches)
    supervision = RecorruptedGuides(y, plan, sigma=0.1, seed=0)
    seen = torch.zeros(40, 40)
    for step in range(16000):
        rows, columns = supervision.pair(0, step).window
        assert 0 <= rows.start < rows.stop == rows.start + 8 <= 40
        seen[rows, columns] += 1
    middle = float(seen[10:30, 10:30].mean())
    assert float(seen[0, 10:30].mean()) == pytest.approx(0.625 * middle, rel=0.1)
    assert float(seen[0, 0]) == pytest.approx(0.625**2 * middle, rel=0.2)


@pytest.mark.parametrize("hidden", [False, True])
def test_squares_and_windows_are_of_one_page(hidden):
    """Each page has values of its own, of which nothing else may be seen."""
    pages, height, width = 4, 20, 24
    values = torch.arange(1.0, pages + 1)
    y = values.repeat_interleave(height)[None, None, :, None].expand(1, 1, -1, width).clone()
    known = (torch.rand(y.shape, generator=torch.Generator().manual_seed(0)) > 0.3).float()
    patches = Patches(8, 2, y.numel())
    plan = make_plan(
        *("recorrupted-guides", SCHEDULE),
        **{"steps": 400, "count": 2, "sigma": 1e-3, "patches": patches},
        hide=(0.5, 0.1) if hidden else None,
    )
    hiding = Hiding(known, 0) if hidden else None
    guides = RecorruptedGuides(y, plan, sigma=1e-3, seed=0, pages=pages, hiding=hiding)
    seen = set()
    for step in range(200):
        pair = guides.pair(0, step)
        rows, _ = pair.window
        page = rows.start // height
        assert rows.stop <= (page + 1) * height
        weight = 1 if pair.weight is None else pair.weight
        assert (pair.target - values[page] * weight).abs().max() < 0.1
        seen.add((page, rows.start - page * height))
    assert {page for page, _ in seen} == set(range(pages))
    assert {0, height - 8} <= {top for _, top in seen}
    # One that ends beyond its page is reflected there.
    window = (slice(2 * height - 4, 2 * height + 4), slice(0, width))
    given = guides.final_input(1, 0, window)[:, :1]
    assert given.shape[-2:] == (8, width)
    assert (given - values[1]).abs().max() < 0.1


def test_recorruption_is_as_strong_as_the_noise_at_each_pixel():
    share = torch.linspace(0.3, 1, Y.shape[-1]).expand_as(Y)
    plan = make_plan("recorrupted-guides", SCHEDULE, steps=10, count=2, sigma=0.1)
    even = RecorruptedGuides(Y, plan, sigma=0.1, seed=0)
    uneven = RecorruptedGuides(Y, plan, sigma=0.1, seed=0, share=share)
    for one, other in (
        (even.pair(0, 0).input, uneven.pair(0, 0).input),
        (even.pair(1, 9).target, uneven.pair(1, 9).target),
        (even.final_input(1, 3), uneven.final_input(1, 3)),
    ):
        torch.testing.assert_close((one - Y) * share, other - Y)


def test_pairs_drawn_ahead_are_the_other_s_each_drawn_once():
    plan = make_plan("recorrupted-guides", SCHEDULE, steps=7, count=3, sigma=0.1)
    other, asked = RecorruptedGuides(Y, plan, sigma=0.1, seed=0), []

    class Counted:
        draws_differ = True
        final_input = staticmethod(other.final_input)

        @staticmethod
        def pair(stage, step):
            asked.append((stage, step))
            return other.pair(stage, step)

    steps = enumerate_steps(plan)
    ahead = Ahead(Counted(), plan)
    for stage, step in steps:
        mine, theirs = ahead.pair(stage, step), other.pair(stage, step)
        assert torch.equal(mine.input, theirs.input)
        assert torch.equal(mine.target, theirs.target)
    assert asked == steps
    stage, step = steps[2]  # a fit that went back
    assert torch.equal(ahead.pair(stage, step).input, other.pair(stage, step).input)
    assert asked[: len(steps) + 1] == [*steps, steps[2]]  # nothing was drawn beyond the last
    assert torch.equal(ahead.final_input(1, 0), other.final_input(1, 0))
    assert ahead.draws_differ


def test_the_next_pair_is_drawn_before_it_is_asked_for():
    plan = make_plan("recorrupted-guides", SCHEDULE, steps=7, count=3, sigma=0.1)
    drawn = threading.Event()

    class Noticed(RecorruptedGuides):
        def pair(self, stage, step):
            if (stage, step) == (0, 1):
                assert threading.current_thread().name.startswith("pairs")
                drawn.set()
            return super().pair(stage, step)

    ahead = Ahead(Noticed(Y, plan, sigma=0.1, seed=0), plan)
    ahead.pair(0, 0)
    assert drawn.wait(30)


def enumerate_steps(plan):
    stages = [index for index, stage in enumerate(plan) for _ in range(stage.steps)]
    return [(stage, step) for step, stage in enumerate(stages)]


def test_what_goes_wrong_ahead_is_told_where_it_is_needed():
    plan = make_plan("recorrupted-guides", SCHEDULE, steps=4, count=2, sigma=0.1)

    class Failing(RecorruptedGuides):
        def pair(self, stage, step):
            if step == 1:
                raise InputError("the second pair cannot be drawn")
            return super().pair(stage, step)

    ahead = Ahead(Failing(Y, plan, sigma=0.1, seed=0), plan)
    ahead.pair(0, 0)
    with pytest.raises(InputError, match="second pair"):
        ahead.pair(0, 1)


def pillow_s(image, size, kernel):
    """Return (1, C, H, W) resized to (height, width) by Pillow."""
    return torch.stack(
        [
            torch.from_numpy(
                np.array(
                    Image.fromarray(channel.numpy()).resize(
                        size[::-1], getattr(Image.Resampling, kernel)
                    )
                )
            )
            for channel in image[0]
        ]
    )[None]


SMALL = torch.rand(1, 2, 12, 16, generator=torch.Generator().manual_seed(3))
SMALLER_PLAN = make_plan(
    "recorrupted-guides", SCHEDULE, steps=20, count=2, sigma=0.1, a_start=2.0, a_end=0.5
)


def test_the_measurement_is_the_target_of_what_was_made_smaller_of_it():
    """In five sizes, from the whole to 0.6 of it, in multiples of what it is made smaller by."""
    guides = SmallerGuides(SMALL, Downsample(2, "bicubic"), SMALLER_PLAN, seed=0)
    sizes = set()
    for step in range(100):
        pair = guides.pair(0, step)
        size = tuple(pair.target.shape[-2:])
        sizes.add(size)
        expected = pillow_s(SMALL, size, "LANCZOS")
        torch.testing.assert_close(pair.target, expected, rtol=0, atol=1e-5)
        half = pillow_s(expected, (size[0] // 2, size[1] // 2), "BICUBIC")
        torch.testing.assert_close(pair.input, pillow_s(half, size, "BICUBIC"), rtol=0, atol=1e-5)
        assert pair.apart
        assert pair.window is None
    assert sizes == {(12, 16), (10, 14), (10, 12), (8, 12), (8, 10)}
    assert not guides.draws_differ
    one, other = guides.final_input(0, 0), guides.final_input(1, 5)
    assert torch.equal(one, other)
    torch.testing.assert_close(one, pillow_s(SMALL, (24, 32), "BICUBIC"), rtol=0, atol=1e-5)


def test_which_size_is_shown_follows_from_the_seed_and_the_step():
    def sizes(seed):
        guides = SmallerGuides(SMALL, Downsample(2), SMALLER_PLAN, seed=seed)
        return [guides.pair(0, step).target.shape for step in range(30)]

    assert sizes(1) == sizes(1)
    assert sizes(1) != sizes(2)


def test_a_noisy_measurement_is_recorrupted_before_it_is_made_smaller():
    sigma, seed, step = 0.1, 4, 3
    operator = Downsample(3, "area")
    clean = SmallerGuides(SMALL, operator, SMALLER_PLAN, seed=seed)
    noisy = SmallerGuides(SMALL, operator, SMALLER_PLAN, seed=seed, sigma=sigma)
    assert noisy.draws_differ
    assert [stage.a for stage in SMALLER_PLAN] == pytest.approx([2.0, 0.5], rel=0.02)
    for stage, a in enumerate(stage.a for stage in SMALLER_PLAN):
        target = clean.pair(stage, step).target
        eta = sigma * normal(target, seed, "eta", step)
        pair = noisy.pair(stage, step)
        torch.testing.assert_close(pair.target, target - eta / a)
        torch.testing.assert_close(pair.input, enlarged(operator(target + a * eta), 3))
        given = SMALL + a * sigma * normal(SMALL, seed, "final", 7)
        torch.testing.assert_close(noisy.final_input(stage, 7), enlarged(given, 3))


def test_four_times_larger_is_twice_larger_twice_over_and_measured_as_it_was():
    operator = Downsample(4, "bicubic")
    guides = SmallerGuides(SMALL, operator, SMALLER_PLAN, seed=0)
    assert guides.final_input(0, 0).shape == (1, 2, 24, 32)  # by a factor of 2, at first
    once = torch.rand(1, 2, 24, 32, generator=torch.Generator().manual_seed(5))
    fed = guides.again(once, 1)
    assert fed.shape == (1, 2, 48, 64)
    # What goes in again has been made to agree with the measurement.
    agreed = agreeing(once, SMALL, Downsample(2, "bicubic"))
    assert torch.equal(fed, enlarged(agreed, 2))
    assert (operator(fed) - SMALL).norm() < 0.5 * (operator(enlarged(once, 2)) - SMALL).norm()
    assert guides.again(fed, 2) is None
    assert SmallerGuides(SMALL, Downsample(3), SMALLER_PLAN, seed=0).again(once, 1) is None


def test_a_picture_made_larger_as_a_whole_has_no_windows():
    guides = SmallerGuides(SMALL, Downsample(2), SMALLER_PLAN, seed=0)
    with pytest.raises(AssertionError, match="as a whole"):
        guides.final_input(0, 0, (slice(0, 4), slice(0, 4)))


def test_noise_is_correlated_over_channels_and_then_over_pixels():
    kernel = torch.rand(5, 5, generator=torch.Generator().manual_seed(6))
    mixing = torch.tensor([[1.0, 0.0, 0.5], [0.25, 2.0, 0.0], [0.0, -1.0, 1.0]])
    white = torch.randn(1, 3, 12, 9, generator=torch.Generator().manual_seed(7))
    grain = Filter(kernel, mixing)
    assert (grain.reach, grain.multiple) == (2, 1)
    assert grain.part(None) is grain
    ours = grain(white)
    mixed = np.tensordot(mixing.numpy(), white[0].numpy(), 1)
    for channel, theirs in zip(ours[0], mixed, strict=True):
        expected = signal.correlate2d(theirs, kernel.numpy(), mode="valid")
        np.testing.assert_allclose(channel.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_measured_targets_are_the_others_seen_through_the_operator():
    known = (Y > 0.5).float()
    other = RecorruptedGuides(Y, SMALLER_PLAN, sigma=0.1, seed=0)
    measured = Measured(other, Gain(known))
    pair, theirs = measured.pair(1, 12), other.pair(1, 12)
    assert torch.equal(pair.input, theirs.input)
    assert torch.equal(pair.target, theirs.target * known)
    window = (slice(2, 6), slice(0, 4))
    for given in (None, window):
        assert torch.equal(measured.final_input(1, 3, given), other.final_input(1, 3, given))
    assert measured.draws_differ
    assert measured.again(Y, 1) is None

    class Twice:
        draws_differ = False

        @staticmethod
        def again(output, passes):
            return output * passes

    around = Measured(Twice(), Gain(known))
    assert torch.equal(around.again(Y, 3), Y * 3)
    assert not around.draws_differ
