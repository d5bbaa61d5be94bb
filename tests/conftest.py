"""Shared by all tests: one thread each, so that parallel test processes do not fight for cores."""

import signal

import pytest
import torch
from hypothesis import settings

settings.register_profile("project", deadline=None)
settings.load_profile("project")
# Where a shell has them run in the background they would be deaf to what some of them send.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _nothing_kept():
    """What importing the tests computed is computed anew: `make mutants` changes code then."""
    from guided_dip.diffusion import make_schedule
    from guided_dip.operators.resample import resampling_matrix

    make_schedule.cache_clear()
    resampling_matrix.cache_clear()
