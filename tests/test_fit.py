"""The loop: against a plain loop written out, and every option by what it changes."""

import copy
import itertools
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from guided_dip.diffusion import make_schedule
from guided_dip.fit import Fit
from guided_dip.guidance import Plan, Stage, make_plan
from guided_dip.members import Members
from guided_dip.supervision import RecorruptedGuides, clean_guides, observation
from guided_dip.training import FitSettings, learning_rate_at, turn, unturn

SCHEDULE = make_schedule("cosine", lower_clip=1e-4)


def network(seed=0, channels=2):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, channels, 3, padding=1),
    )


Y = torch.rand(1, 2, 6, 6, generator=torch.Generator().manual_seed(1))
Z = torch.randn(1, 2, 6, 6, generator=torch.Generator().manual_seed(2))


def plain(steps=5, settings=None, **options):
    """A fit of plain DIP, one stage."""
    plan = make_plan("observation", SCHEDULE, steps=steps, count=1)
    supervision = observation(Y, (Z,), jitter=0.0, seed=0)
    return Fit(network(), supervision, plan, settings or FitSettings(**options))


def guided(steps=12, count=3, **options):
    plan = make_plan("clean-guides", SCHEDULE, steps=steps, count=count)
    supervision = clean_guides(Y, (Z,), plan, SCHEDULE, convention="unbiased", jitter=0.0, seed=0)
    return Fit(network(), supervision, plan, FitSettings(**options))


def recorrupted(steps=10, **options):
    plan = make_plan("recorrupted-guides", SCHEDULE, steps=steps, count=2, sigma=0.1)
    supervision = RecorruptedGuides(Y, plan, sigma=0.1, seed=0)
    return Fit(network(), supervision, plan, FitSettings(**options))


@pytest.mark.parametrize("rebuild", [False, True])
def test_the_loop_is_the_plain_loop(rebuild):
    """Bit for bit what a reader of the report would write down."""
    fit = guided(rebuild_optimizer=rebuild)
    net = network()
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    losses = []
    for index, stage in enumerate(fit.plan):
        if index and rebuild:
            optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
        target = fit.supervision.pair(index, 0).target
        for _ in range(stage.steps):
            loss = F.mse_loss(net(Z), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert [step.loss.item() for step in fit] == losses
    assert all(
        torch.equal(a, b) for a, b in zip(net.parameters(), fit.network.parameters(), strict=True)
    )


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_the_fused_optimiser_is_the_plain_one(optimizer):
    fit = plain(steps=30, optimizer=optimizer, weight_decay=0.01)
    losses = [step.loss.item() for step in fit]
    net = network()
    make = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[optimizer]
    reference = make(net.parameters(), lr=1e-3, fused=False, foreach=False)
    for expected in losses:
        loss = F.mse_loss(net(Z), Y)
        reference.zero_grad()
        loss.backward()
        reference.step()
        assert loss.item() == pytest.approx(expected, rel=1e-4)


def test_persistence_of_the_optimiser_makes_a_difference():
    kept = [step.loss.item() for step in guided()]
    rebuilt = [step.loss.item() for step in guided(rebuild_optimizer=True)]
    boundary = guided().plan.boundaries[1]
    assert kept[: boundary + 1] == rebuilt[: boundary + 1]
    assert kept != rebuilt


def test_steps_are_numbered_and_belong_to_their_stages():
    fit = guided(steps=12)
    steps = list(fit)
    assert [step.index for step in steps] == list(range(12))
    expected = [i for i, stage in enumerate(fit.plan) for _ in range(stage.steps)]
    assert [step.stage for step in steps] == expected


def test_a_stage_of_no_steps_is_skipped():
    plan = Plan("observation", "cosine", (Stage(0), Stage(2), Stage(0)))
    fit = Fit(network(), observation(Y, (Z,), jitter=0.0, seed=0), plan)
    assert [step.stage for step in fit] == [1, 1]


def test_the_loss_falls():
    losses = [step.loss.item() for step in plain(steps=200, learning_rate=1e-2)]
    assert losses[-1] < 0.2 * losses[0]


def test_loss_compares_the_measurement_of_the_output_with_the_target():
    plan = make_plan("observation", SCHEDULE, steps=2, count=1)
    supervision = observation(Y.mean(1, keepdim=True), (Z,), jitter=0.0, seed=0)
    fit = Fit(network(), supervision, plan, operator=lambda x: x.mean(1, keepdim=True))
    for step in fit:
        expected = F.mse_loss(step.output.mean(1, keepdim=True), Y.mean(1, keepdim=True))
        torch.testing.assert_close(step.loss, expected)


def test_output_before_and_after_the_update():
    before = next(iter(plain(measure="before")))
    fit = plain(measure="after")
    after = next(iter(fit))
    assert torch.equal(before.loss, after.loss)
    assert torch.equal(before.output, network().train()(Z))
    assert torch.equal(after.output, fit.network.train()(Z))
    assert not torch.equal(before.output, after.output)


def test_outputs_in_eval_mode():
    fit = plain(measure="after", eval_mode=True)
    step = next(iter(fit))
    assert torch.equal(step.output, fit.network.eval()(Z))
    assert not torch.equal(step.output, fit.network.train()(Z))


@pytest.mark.parametrize("eval_mode", [False, True])
def test_measuring_and_estimating_do_not_touch_the_fit(eval_mode):
    """A second forward pass must not move BatchNorm's running statistics."""
    watched, alone = plain(measure="after", eval_mode=eval_mode), plain()
    for step in watched:
        del step
        watched.estimate()
    list(alone)
    ours, theirs = watched.network.state_dict(), alone.network.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_resetting_batchnorm_forgets_at_each_stage_but_the_first():
    fit = guided(steps=12, reset_batchnorm=True)
    counts = [int(fit.network[1].num_batches_tracked) for _ in fit]
    expected = [k + 1 for stage in fit.plan for k in range(stage.steps)]
    assert counts == expected
    assert [int(f.network[1].num_batches_tracked) for f in [guided()] for _ in f] == [*range(1, 13)]


@pytest.mark.parametrize("total", [10, 37, 400])
def test_one_cycle_is_that_of_pytorch(total):
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total, cycle_momentum=False)
    for step in range(total):
        # PyTorch puts the peak at 0.3 * total - 1 steps; ours, at 0.3 of the way.
        ours = learning_rate_at("one-cycle", 3e-3, _progress(step, total))
        assert ours == pytest.approx(theirs.get_last_lr()[0], rel=1e-6, abs=1e-12)
        optimizer.step()
        theirs.step()


def _progress(step, total):
    """Map a step onto our clock, whose rise ends at 0.3 exactly."""
    peak = 0.3 * total - 1
    if step <= peak:
        return 0.3 * step / peak
    return 0.3 + 0.7 * (step - peak) / (total - 1 - peak)


def test_learning_rates():
    assert learning_rate_at("constant", 1e-3, 0.7) == 1e-3
    assert learning_rate_at("cosine", 1e-3, 0.0) == 1e-3
    assert learning_rate_at("cosine", 1e-3, 0.5) == pytest.approx(5e-4)
    assert learning_rate_at("cosine", 1e-3, 1.0) == pytest.approx(0, abs=1e-12)
    assert learning_rate_at("one-cycle", 1.0, 0.3) == pytest.approx(1.0)
    assert learning_rate_at("one-cycle", 1.0, 1.0) == pytest.approx(1 / 25e4)
    assert learning_rate_at("linear", 1.0, 0.0) == pytest.approx(1 / 25)
    assert learning_rate_at("linear", 1.0, 0.05) == pytest.approx(0.5 * 0.95)
    assert learning_rate_at("linear", 1.0, 0.6) == pytest.approx(0.4)
    assert learning_rate_at("linear", 1.0, 1.0) == 0
    rates = [step.learning_rate for step in plain(steps=5, learning_rate_schedule="cosine")]
    assert rates == [learning_rate_at("cosine", 1e-3, k / 4) for k in range(5)]


def test_adamw_decays_weights():
    decayed = plain(optimizer="adamw", weight_decay=0.5, learning_rate=0.1)
    kept = plain(optimizer="adam", weight_decay=0.5, learning_rate=0.1)
    list(decayed), list(kept)
    assert decayed.network[0].weight.norm() < kept.network[0].weight.norm()


def test_clipping_bounds_the_gradient():
    fit = plain(steps=1, clip_gradients=1e-3)
    list(fit)
    norm = torch.cat([p.grad.flatten() for p in fit.network.parameters()]).norm()
    assert norm.item() == pytest.approx(1e-3, rel=1e-3)


def test_turns_are_the_eight_symmetries_of_the_square():
    image = torch.arange(12.0).reshape(1, 1, 3, 4)
    turned = [turn(image, k) for k in range(8)]
    assert all(torch.equal(unturn(t, k), image) for k, t in enumerate(turned))
    for a, b in itertools.combinations(turned, 2):
        assert a.shape != b.shape or not torch.equal(a, b)


def test_flips_and_turns_are_undone_before_the_target():
    """An identity network with turns has the loss of one without."""
    plan = make_plan("observation", SCHEDULE, steps=16, count=1)
    z = Y + 0.1
    for flips_and_turns in (False, True):
        net = nn.Conv2d(2, 2, 1)
        with torch.no_grad():
            net.weight.copy_(torch.eye(2)[..., None, None])
            net.bias.zero_()
        fit = Fit(
            net,
            observation(Y, (z,), jitter=0.0, seed=0),
            plan,
            FitSettings(flips_and_turns=flips_and_turns, learning_rate=1e-12),
        )
        for step in fit:
            assert step.loss.item() == pytest.approx(0.01, rel=1e-4)
            torch.testing.assert_close(step.output, z)


def test_flips_and_turns_visit_all_eight():
    seen = []

    class Spy(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

        def forward(self, x):
            seen.append(next(k for k in range(8) if torch.equal(turn(Z, k), x)))
            return x * self.scale

    plan = make_plan("observation", SCHEDULE, steps=80, count=1)
    supervision = observation(Y, (Z,), jitter=0.0, seed=0)
    list(Fit(Spy(), supervision, plan, FitSettings(flips_and_turns=True)))
    assert set(seen) == set(range(8))


def test_the_output_average():
    fit = plain(output_average=0.9)
    expected = None
    for step in fit:
        expected = step.output.clone() if expected is None else expected.lerp(step.output, 0.1)
        torch.testing.assert_close(fit.estimate(), expected)


def test_the_weight_average():
    fit = plain(steps=60, weight_average=0.5)
    mean = copy.deepcopy(fit.network).state_dict()
    for step in fit:
        keep = min(0.5, (1 + step.index) / (10 + step.index))
        for key, value in fit.network.state_dict().items():
            if value.is_floating_point():
                mean[key] = mean[key] * keep + value * (1 - keep)
    averaged = network()
    averaged.load_state_dict(mean)
    torch.testing.assert_close(fit.estimate(), averaged.train()(Z))
    assert not torch.allclose(fit.estimate(), fit.network.train()(Z), atol=1e-6)


def test_the_estimate_of_fixed_inputs_is_one_output():
    fit = plain()
    list(fit)
    assert torch.equal(fit.estimate(16), fit.network.train()(Z))


def test_the_estimate_of_recorrupted_guides_averages_draws():
    fit = recorrupted(final_draws=3)
    list(fit)
    stage = len(fit.plan) - 1
    outputs = [fit.network.train()(fit.supervision.final_input(stage, d)) for d in range(3)]
    torch.testing.assert_close(fit.estimate(), torch.stack(outputs).mean(0))
    torch.testing.assert_close(fit.estimate(1), outputs[0])


def test_the_estimate_turns_each_draw():
    fit = recorrupted(final_draws=2, flips_and_turns=True)
    list(fit)
    net, supervision = fit.network.train(), fit.supervision
    outputs = [unturn(net(turn(supervision.final_input(1, k), k)), k) for k in range(2)]
    torch.testing.assert_close(fit.estimate(), torch.stack(outputs).mean(0))


def test_same_seed_same_bytes_other_seed_other_bytes():
    def run(seed):
        fit = recorrupted(flips_and_turns=True, seed=seed)
        list(fit)
        return fit.estimate()

    assert torch.equal(run(0), run(0))
    assert not torch.equal(run(0), run(1))


def test_a_network_without_batchnorm_runs_too():
    plan = make_plan("observation", SCHEDULE, steps=3, count=1)
    torch.manual_seed(0)
    supervision = observation(Y, (Z,), jitter=0.0, seed=0)
    fit = Fit(nn.Conv2d(2, 2, 1), supervision, plan, FitSettings(reset_batchnorm=True))
    assert len(list(fit)) == 3
    assert fit.estimate().shape == Y.shape


def test_settings_are_immutable():
    settings = FitSettings()
    with pytest.raises(AttributeError):
        settings.seed = 3
    assert replace(settings, seed=3).seed == 3


# --- restarts ---------------------------------------------------------------------------------


def restarting(restarts=3, steps=10, **options):
    """A fit of recorrupted guides that begins anew from weights of their own."""
    plan = make_plan(
        "recorrupted-guides", SCHEDULE, steps=steps, count=2, sigma=0.1, restarts=restarts
    )
    return Fit(
        network(),
        RecorruptedGuides(Y, plan, sigma=0.1, seed=0),
        plan,
        FitSettings(learning_rate=1e-2, final_draws=4, **options),
        fresh=lambda restart: network(seed=restart).state_dict(),
    )


def test_the_estimate_is_the_mean_of_the_restarts_that_have_ended():
    fit, own = restarting(), []
    ends = fit.plan.ends
    assert ends == (4, 7, 10)
    for step in fit:
        done = step.index + 1
        if done in ends:
            own.append(fit._own_estimate(None)[0])
        if own:
            expected = torch.stack(own).mean(0)
            assert torch.allclose(fit.estimate(), expected, atol=1e-6)
    assert len(own) == 3


def test_a_restart_begins_with_fresh_weights_optimizer_and_rate():
    fit = restarting(learning_rate_schedule="cosine")
    steps = iter(fit)
    rates = [next(steps).learning_rate for _ in range(4)]
    assert rates == [learning_rate_at("cosine", 1e-2, k / 3) for k in range(4)]
    before = fit.optimizers[0]
    fifth = next(steps)
    assert fifth.learning_rate == rates[0]
    assert fit.optimizers[0] is not before
    expected = network(seed=1)
    pair = fit.supervision.pair(2, 4)
    loss = F.mse_loss(expected(pair.input), pair.target).detach()
    assert float(fifth.loss) == pytest.approx(float(loss), rel=1e-6)


def test_the_first_of_several_restarts_is_the_only_one_of_a_shorter_fit():
    several, single = restarting(restarts=2, steps=8), restarting(restarts=1, steps=4)
    for step, other in zip(several, single, strict=False):
        assert step.loss == other.loss
    assert several.done > 4 > 0


def test_the_spread_is_that_of_all_draws_and_restarts():
    fit = restarting()
    list(fit)
    _, spread = fit.estimate_and_spread()
    _, own = fit._own_estimate(None)
    assert spread.shape == own.shape
    assert spread.mean() > own.mean()  # networks differ more than draws


def test_members_are_a_mean_and_a_deviation():
    torch.manual_seed(0)
    members, outputs = Members(), [torch.randn(1, 2, 3, 3) + 100 for _ in range(5)]
    for output in outputs:
        members.add(output, None)
    mean, spread = members.estimate_and_spread()
    assert torch.allclose(mean, torch.stack(outputs).mean(0))
    assert torch.allclose(spread, torch.stack(outputs).std(0), atol=1e-4)
    single = Members()
    single.add(outputs[0], None)
    assert single.estimate_and_spread()[1] is None


def test_restarts_need_fresh_weights():
    fit = restarting()
    fit.fresh = None
    with pytest.raises(AssertionError, match="fresh weights"):
        list(fit)
