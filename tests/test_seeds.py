"""Seeds: stable across versions and machines, independent across purposes."""

import torch

from guided_dip.seeds import derive, generator, normal


def test_the_digest_is_stable():
    """Golden values, by `printf 0/z/0 | b2sum -l 64`: a change would change every result."""
    assert derive(0, "z", 0) == 8954822093092083618
    assert derive(0, "eta", 12) == 5960992396076357756


def test_seed_purpose_and_keys_all_count():
    draws = {derive(*args) for args in [
        (0, "z"), (1, "z"), (0, "eta"), (0, "z", 0), (0, "z", 1), (0, "z", 0, 1), (0, "z", 1, 0),
    ]}  # fmt: skip
    assert len(draws) == 7
    assert all(0 <= seed < 2**63 for seed in draws)


def test_keys_do_not_run_together():
    assert derive(1, "z", 11) != derive(11, "z", 1)
    assert derive(0, "z", 1, 12) != derive(0, "z", 11, 2)


def test_draws_do_not_depend_on_what_was_drawn_before():
    like = torch.zeros(2, 3)
    first = normal(like, 0, "eta", 5)
    normal(like, 0, "eta", 4)
    torch.rand(7)
    assert torch.equal(normal(like, 0, "eta", 5), first)
    expected = torch.randn(2, 3, generator=generator(0, "eta", 5))
    assert torch.equal(first, expected)


def test_draws_take_the_shape_and_dtype():
    noise = normal(torch.zeros(4, 5, dtype=torch.float64), 0, "eta")
    assert (noise.shape, noise.dtype) == ((4, 5), torch.float64)
    big = normal(torch.zeros(100_000), 3, "eta")
    assert abs(big.mean()) < 0.02
    assert abs(big.std() - 1) < 0.02
