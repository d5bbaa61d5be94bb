"""Tests in napari, off the screen: a call of their own, `make test-napari`.

napari's pytest plugins slow every start down and would warn in all tests, so they are loaded only
where they are asked for; without them there is nothing here to collect.
"""

import pytest


def pytest_ignore_collect(config):
    return None if config.pluginmanager.hasplugin("napari") else True


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch, tmp_path):
    """Nothing of the user's napari is read or written."""
    monkeypatch.setenv("NAPARI_CONFIG", str(tmp_path / "settings.yaml"))
