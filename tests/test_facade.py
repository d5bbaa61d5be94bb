"""The public API: what it holds, and that nothing is loaded before it is used."""

import importlib.metadata
import subprocess
import sys

import numpy as np
import pytest

import guided_dip

PUBLIC = {
    "PRESETS",
    "Config",
    "GuidedDIPReconstructor",
    "InputError",
    "Result",
    "RunError",
    "__version__",
    "make_config",
    "restore",
    "restore_stack",
}
TINY = {"steps": 2, "noise": "gaussian:25", "backbone_options": {"width": 4, "scales": 2}}


def test_all_is_what_was_promised():
    assert set(guided_dip.__all__) == PUBLIC
    assert set(dir(guided_dip)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_every_name_is_there(name):
    assert getattr(guided_dip, name) is not None


def test_star_import():
    names: dict[str, object] = {}
    exec("from guided_dip import *", names)
    assert set(names) >= PUBLIC


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'restor'"):
        guided_dip.restor  # noqa: B018
    with pytest.raises(ImportError):
        exec("from guided_dip import restor")


def test_names_are_the_rooms_own():
    from guided_dip import config, errors, result

    assert guided_dip.Config is config.Config
    assert guided_dip.make_config is config.make_config
    assert guided_dip.InputError is errors.InputError
    assert guided_dip.Result is result.Result


@pytest.mark.parametrize(
    "first",
    [
        "import guided_dip",
        "import guided_dip.restoration",
    ],
)
def test_restore_is_the_function_whichever_way_the_room_was_imported(first):
    check = f"{first}\nimport guided_dip\nassert guided_dip.restore.__name__ == 'restore'"
    check += "\nfrom guided_dip.restoration import Restoration\nassert callable(guided_dip.restore)"
    subprocess.run([sys.executable, "-c", check], check=True)


def test_restore_from_the_facade():
    noisy = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    result = guided_dip.restore(noisy, **TINY)
    assert result.image.shape == noisy.shape
    assert result.image.dtype == noisy.dtype
    assert isinstance(result, guided_dip.Result)


def test_errors_are_caught_by_the_usual_names():
    with pytest.raises(guided_dip.InputError):
        guided_dip.make_config({"nope": 1})
    assert issubclass(guided_dip.InputError, ValueError)
    assert issubclass(guided_dip.RunError, RuntimeError)


def test_version_is_the_distribution_s():
    assert guided_dip.__version__ == importlib.metadata.version("guided-dip")


def test_a_source_folder_that_was_never_installed_has_a_version_to_tell(monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)
    assert guided_dip.__version__ == "0+unknown"
