"""Recorrupted guides where noise is not white or pixels are missing, each pair worked out anew."""

import math

import pytest
import torch

from guided_dip.diffusion import make_schedule
from guided_dip.errors import InputError
from guided_dip.filling import filled, shown, wide_part
from guided_dip.guidance import Patches, make_plan
from guided_dip.hiding import Hiding
from guided_dip.seeds import field, normal
from guided_dip.supervision import Filter, RecorruptedGuides

SCHEDULE = make_schedule("cosine")
SIGMA, SEED = 0.1, 6
HEIGHT, WIDTH = 14, 18
WINDOW = (slice(3, 11), slice(4, 16))


def rand(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


Y = rand(1, 3, HEIGHT, WIDTH)
SHARE = torch.linspace(0.3, 1, WIDTH).expand(1, 3, HEIGHT, WIDTH)
GRAIN = Filter(rand(3, 3, seed=1), torch.eye(3) + 0.2)
SCATTERED = (rand(1, 1, HEIGHT, WIDTH, seed=2) > 0.4).float()
HOLES = torch.ones(1, 1, HEIGHT, WIDTH)
HOLES[..., 2:8, 5:12] = 0


def plan(hide=None, sigma=SIGMA, patches=None):
    return make_plan(
        *("recorrupted-guides", SCHEDULE),
        **{"steps": 40, "count": 2, "sigma": sigma or None, "patches": patches, "hide": hide},
    )


def guides(hide=None, sigma=SIGMA, patches=None, **options):
    return RecorruptedGuides(Y, plan(hide, sigma, patches), sigma=sigma, seed=SEED, **options)


def both(measured, kept):
    """What is shown of a measurement, and what of it: nothing is filled in."""
    return torch.cat([measured * kept, kept], 1)


# Noise that is correlated, or as strong as pixels are bright


@pytest.mark.parametrize("share", [None, SHARE])
def test_grain_is_drawn_wider_and_filtered(share):
    supervision = guides(grain=GRAIN, share=share)
    a, step = plan().stages[1].a, 21
    wide = torch.empty(1, 3, HEIGHT + 2, WIDTH + 2)
    for purpose, number in (("eta", step), ("final", 5)):
        eta = SIGMA * GRAIN(normal(wide, SEED, purpose, number))
        eta = eta if share is None else eta * share
        if purpose == "eta":
            pair = supervision.pair(1, step)
            torch.testing.assert_close(pair.input, Y + a * eta)
            torch.testing.assert_close(pair.target, Y - eta / a)
        else:
            torch.testing.assert_close(supervision.final_input(1, number), Y + a * eta)


@pytest.mark.parametrize("grain", [None, GRAIN])
@pytest.mark.parametrize("share", [None, SHARE])
def test_a_window_s_noise_is_the_same_in_every_window(grain, share):
    supervision = guides(grain=grain, share=share)
    a, reach = plan().stages[0].a, 0 if grain is None else 1
    rows, columns = (slice(part.start - reach, part.stop + reach) for part in WINDOW)
    white = field(Y, rows, columns, SEED, "final", 5)
    eta = SIGMA * (white if grain is None else grain(white))
    eta = eta if share is None else eta * share[..., WINDOW[0], WINDOW[1]]
    seen = supervision.final_input(0, 5, WINDOW)
    torch.testing.assert_close(seen, Y[..., WINDOW[0], WINDOW[1]] + a * eta)
    other = supervision.final_input(0, 5, (slice(5, 12), slice(4, 10)))
    torch.testing.assert_close(seen[..., 2:8, :6], other[..., :6, :])


class Chequered(Filter):
    """Grain of an image whose windows have to begin at even rows and columns."""

    multiple = 4

    def __init__(self):
        super().__init__(torch.ones(1, 1), torch.eye(3))
        self.asked = []

    def part(self, window):
        self.asked.append(window)
        return self


def test_windows_begin_where_the_grain_s_pattern_does():
    grain = Chequered()
    supervision = guides(grain=grain, patches=Patches(5, 2, HEIGHT * WIDTH))
    corners = set()
    for step in range(60):
        rows, columns = supervision.pair(0, step).window
        assert grain.asked[-1] == (rows, columns)
        assert (rows.stop - rows.start, columns.stop - columns.start) == (5, 5)
        corners.add((rows.start, columns.start))
    assert {top for top, _ in corners} == {0, 4, 8}
    assert {left for _, left in corners} == {0, 4, 8, 12}
    supervision.final_input(0, 0, WINDOW)
    assert grain.asked[-1] == WINDOW
    supervision.final_input(0, 0)
    assert grain.asked[-1] is None


# Tasks that lift a measurement, or weigh it


def test_measurements_are_lifted_and_outputs_weighed():
    gain = 0.5 + rand(1, 1, HEIGHT, WIDTH, seed=3)
    asked = []

    def lift(measured, window):
        asked.append(window)
        return measured * 2

    options = {"gain": gain, "lift": lift}
    supervision, plain = guides(**options), guides()
    pair, usual = supervision.pair(0, 3), plain.pair(0, 3)
    assert torch.equal(pair.input, usual.input * 2)
    assert torch.equal(pair.target, usual.target)
    assert torch.equal(pair.weight, gain)
    assert usual.weight is None
    assert torch.equal(supervision.final_input(1, 2), plain.final_input(1, 2) * 2)
    given = supervision.final_input(1, 2, WINDOW)
    assert torch.equal(given, plain.final_input(1, 2, WINDOW) * 2)
    assert asked == [None, None, WINDOW]
    patches = Patches(4, 2, HEIGHT * WIDTH)
    square = guides(patches=patches, **options).pair(0, 3)
    rows, columns = square.window
    assert torch.equal(square.weight, gain[..., rows, columns])
    assert asked[-1] == square.window


# Missing pixels


@pytest.mark.parametrize("known", [SCATTERED, HOLES])
@pytest.mark.parametrize("patches", [None, Patches(6, 2, HEIGHT * WIDTH)])
def test_what_is_hidden_is_compared_with_itself(known, patches):
    """Without noise, what is shown is not compared at all."""
    hiding = Hiding(known, SEED)
    supervision = guides((0.5, 0.2), 0.0, patches, hiding=hiding, show=both)
    compared = 0
    for stage, step in ((0, 0), (0, 7), (1, 30)):
        part = plan((0.5, 0.2), 0.0).stages[stage].hidden
        pair = supervision.pair(stage, step)
        y, seen = Y, known
        if patches is not None:
            rows, columns = pair.window
            y, seen = y[..., rows, columns], seen[..., rows, columns]
        kept = hiding.kept(part, step, pair.window)
        hidden = seen - kept
        weight = hidden / max(math.sqrt(float(hidden.mean())), 1e-3)
        torch.testing.assert_close(pair.input, both(y, kept))
        torch.testing.assert_close(pair.weight, weight)
        torch.testing.assert_close(pair.target, y * weight)
        compared += float(hidden.sum())
    assert compared > 0


@pytest.mark.parametrize("known", [SCATTERED, HOLES])
def test_noise_is_compared_where_it_was_measured(known):
    hiding = Hiding(known, SEED)
    supervision = guides((0.5, 0.2), hiding=hiding, show=both)
    for stage, step in ((0, 4), (1, 30)):
        told = plan((0.5, 0.2)).stages[stage]
        eta = SIGMA * normal(Y, SEED, "eta", step)
        kept = hiding.kept(told.hidden, step)
        weight = known / known.mean().sqrt()
        pair = supervision.pair(stage, step)
        torch.testing.assert_close(pair.input, both(Y + told.a * eta, kept))
        torch.testing.assert_close(pair.weight, weight)
        torch.testing.assert_close(pair.target, (Y - kept * eta / told.a) * weight)
    assert supervision.draws_differ
    for window in (None, WINDOW):
        final = supervision.final_input(1, 3, window)
        if window is None:
            y, seen, eta = Y, known, normal(Y, SEED, "final", 3)
        else:
            y, seen = (image[..., window[0], window[1]] for image in (Y, known))
            eta = field(Y, *window, SEED, "final", 3)
        expected = both(y + plan((0.5, 0.2)).stages[1].a * SIGMA * eta, seen)
        torch.testing.assert_close(final, expected)


def test_in_the_end_all_around_a_hole_is_shown():
    supervision = guides((0.5, 0.2), 0.0, hiding=Hiding(HOLES, SEED), show=both)
    assert not supervision.draws_differ
    assert torch.equal(supervision.final_input(1, 0), both(Y, HOLES))
    assert torch.equal(supervision.final_input(1, 9), both(Y, HOLES))


@pytest.mark.parametrize("window", [None, WINDOW])
def test_in_the_end_draws_hide_a_few_scattered_pixels(window):
    hiding = Hiding(SCATTERED, SEED)
    supervision = guides((0.5, 0.2), 0.0, hiding=hiding, show=both)
    assert supervision.draws_differ
    y, known = Y, SCATTERED
    if window is not None:
        y, known = (image[..., window[0], window[1]] for image in (y, known))
    finals = [supervision.final_input(1, draw, window) for draw in (0, 1)]
    for draw, final in enumerate(finals):
        kept = known * hiding.scattered(0.2, draw, window)
        assert torch.equal(final, both(y, kept))
        assert 0 < float((known - kept).sum()) < 0.4 * float(known.sum())
    assert not torch.equal(*finals)


@pytest.mark.parametrize("known", [SCATTERED, HOLES])
def test_the_image_is_filled_in_and_the_mask_shown_beside_it(known):
    hiding = Hiding(known, SEED)
    supervision = guides((0.5, 0.2), 0.0, hiding=hiding)
    kept = hiding.kept(0.5, 2)
    expected = shown(Y, kept, holes=hiding.holes)
    assert torch.equal(supervision.pair(0, 2).input, expected)
    assert expected.shape == (1, 4, HEIGHT, WIDTH)
    # Away from holes, pixels without noise are shown as they are.
    assert torch.equal(expected[:, :3] * kept, Y * kept)


@pytest.mark.parametrize("window", [None, (slice(8, 60), slice(4, 56))])
def test_wide_holes_are_filled_in_beside_a_picture_without_detail(window):
    large, structure = rand(1, 3, 64, 60, seed=4), rand(1, 3, 64, 60, seed=5)
    known = torch.ones(1, 1, 64, 60)
    known[..., 10:56, 8:54] = 0
    hiding = Hiding(known, SEED)
    supervision = RecorruptedGuides(
        large,
        plan((0.5, 0.2), 0.0),
        **{"sigma": 0.0, "seed": SEED, "hiding": hiding, "structure": structure, "show": both},
    )
    y, seen, smooth = large, known, structure
    if window is not None:
        y, seen, smooth = (image[..., window[0], window[1]] for image in (y, seen, smooth))
    wide = wide_part(1 - seen)
    assert 0 < float(wide.sum()) < wide.numel()
    inside = smooth + filled(y - smooth, seen)
    expected = both(y, seen)
    expected[:, :3] = expected[:, :3] * (1 - wide) + inside * wide
    torch.testing.assert_close(supervision.final_input(1, 0, window), expected)


@pytest.mark.parametrize(("sigma", "hides"), [(0.0, False), (-1.0, True), (math.nan, True)])
def test_what_noise_levels_are_refused(sigma, hides):
    hiding = Hiding(SCATTERED, SEED) if hides else None
    with pytest.raises(InputError) as raised:
        RecorruptedGuides(Y, plan(), sigma=sigma, seed=SEED, hiding=hiding)
    assert str(raised.value) == f"recorrupted guides need a noise level above 0, not {sigma!r}"


def test_a_window_beyond_the_image_is_reflected():
    supervision = guides((0.5, 0.2), 0.0, hiding=Hiding(HOLES, SEED), show=both)
    final = supervision.final_input(1, 0, (slice(8, 18), slice(10, 22)))
    assert final.shape == (1, 4, 10, 12)
    assert torch.equal(final[..., :6, :8], both(Y, HOLES)[..., 8:, 10:])
    assert torch.equal(final[..., 6:, :8], final[..., 1:5, :8].flip(-2))  # without its last row
    assert torch.equal(final[..., 8:], final[..., 3:7].flip(-1))
