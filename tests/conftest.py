"""Shared by all tests: one thread each, so that parallel test processes do not fight for cores."""

import pytest
import torch
from hypothesis import settings

settings.register_profile("project", deadline=None)
settings.load_profile("project")


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)
