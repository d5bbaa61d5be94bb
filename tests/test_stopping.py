"""The early-stopping rules against their definitions, computed the slow way."""

import pytest
import torch

from guided_dip.stopping import MovingVariance, WindowedVariance, make_stopping


def outputs(count, seed=0):
    """A run that settles and then drifts off into noise: scale of change falls, then rises."""
    generator = torch.Generator().manual_seed(seed)
    scale = [1 / (1 + k) + 0.01 * max(0, k - count // 2) for k in range(count)]
    return [0.5 + s * torch.randn(1, 1, 4, 4, generator=generator) for s in scale]


def windowed(xs, window):
    found = {}
    for k in range(window - 1, len(xs)):
        stack = torch.stack(xs[k - window + 1 : k + 1]).double()
        found[k] = (stack - stack.mean(0)).square().sum().item() / window
    return found


def moving(xs, alpha):
    mean, variance, found = torch.zeros_like(xs[0]).double(), 0.0, {}
    for k, x in enumerate(xs):
        distance = (x.double() - mean).square().sum().item()
        mean = (1 - alpha) * mean + alpha * x
        variance = (1 - alpha) * variance + alpha * (1 - alpha) * distance
        found[k] = variance
    return found


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (WindowedVariance(window=10), windowed(outputs(60), 10)),
        (MovingVariance(alpha=0.1), moving(outputs(60), 0.1)),
    ],
)
def test_variances_and_their_minimum(rule, expected):
    xs = outputs(60)
    for k, x in enumerate(xs):
        assert rule.update(x) is False
        if k in expected:
            seen = {i: v for i, v in expected.items() if i <= k}
            assert rule.smallest == pytest.approx(min(seen.values()), rel=1e-4)
    best = min(expected, key=expected.get)
    assert rule.best_step == best
    assert torch.equal(rule.best, xs[best])


def test_no_result_before_the_window_is_full():
    rule = WindowedVariance(window=10)
    for x in outputs(9):
        rule.update(x)
    assert rule.best is None
    assert rule.best_step is None


@pytest.mark.parametrize("rule", [WindowedVariance(5, patience=7), MovingVariance(patience=7)])
def test_patience(rule):
    xs = outputs(200)
    stopped = next(k for k, x in enumerate(xs) if rule.update(x))
    assert stopped == rule.best_step + 7


def test_the_remembered_output_is_a_copy():
    rule = MovingVariance()
    x = torch.ones(1, 1, 2, 2)
    rule.update(x)
    x.zero_()
    assert rule.best.sum() == 4


def test_rounding_does_not_pile_up_over_a_long_run():
    rule = WindowedVariance(window=10)
    generator = torch.Generator().manual_seed(0)
    xs = [0.5 + 1e-3 * torch.randn(1, 1, 4, 4, generator=generator) for _ in range(3000)]
    for x in xs:
        last = rule.variance(x)
    assert last == pytest.approx(windowed(xs[-10:], 10)[9], rel=1e-3)


def test_names():
    assert make_stopping("none") is None
    wmv, emv = make_stopping("es-wmv"), make_stopping("es-emv")
    assert isinstance(wmv, WindowedVariance)
    assert (wmv.window, wmv.patience) == (100, 1000)
    assert isinstance(emv, MovingVariance)
    assert (emv.alpha, emv.patience) == (0.1, 1000)
