"""The plugin in napari, off the screen: what is seen, and what comes of it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from npe2 import PluginManager, PluginManifest
from qtpy.QtCore import QCoreApplication

from guided_dip import restore
from guided_dip.napari import panel as panels
from guided_dip.napari import samples
from guided_dip.napari.beside import Event, Restorer
from guided_dip.napari.panel import Panel
from guided_dip.napari.planes import Planes

LONG = 60_000  # milliseconds
MORE = "steps: 4, threads: 1, backbone_options: {width: 4}"
SETTINGS = {"noise": "gaussian:25", "device": "cpu", "threads": 1, "backbone_options": {"width": 4}}


def noisy(*shape, seed=0):
    return np.random.default_rng(seed).normal(120, 25, shape).clip(0, 255).astype(np.uint8)


class Fake(Restorer):
    """Says what it is told to, without a process."""

    script = ()

    def events(self):
        yield from self.script


@pytest.fixture
def panel(make_napari_viewer):
    viewer = make_napari_viewer()
    panel = Panel(viewer)
    viewer.window.add_dock_widget(panel, name="Guided-DIP")
    panel.more.value = MORE
    panel.noise.value = "gaussian:25"
    panel.device.value = "cpu"
    return panel


@pytest.fixture
def ran(panel, qtbot):
    """Press the button, and wait for the end."""

    def run():
        panel.begin()
        qtbot.waitUntil(lambda: not panel.running, timeout=LONG)

    return run


def test_the_manifest_is_valid():
    place = Path(panels.__file__).with_name("napari.yaml")
    run = subprocess.run(
        [Path(sys.executable).with_name("npe2"), "validate", place],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    manifest = PluginManifest.from_file(place)
    manifest.validate_imports()
    assert {each.key for each in manifest.contributions.sample_data} == {
        "noisy-astronaut",
        "noisy-coins",
        "few-photons",
    }


def test_a_picture_is_restored_as_the_library_does(panel, ran):
    image = noisy(24, 32)
    kept = image.copy()
    source = panel._viewer.add_image(
        image, name="it", scale=(2, 3), translate=(5, 6), metadata={"a": 1}, colormap="magma"
    )
    ran()
    (layer,) = (each for each in panel._viewer.layers if each is not source)
    floats = image.astype(np.float32) / 255
    expected = restore(floats, effort="balanced", steps=4, **SETTINGS).image
    np.testing.assert_array_equal(layer.data, np.rint(expected * 255).clip(0, 255))
    assert layer.data.dtype == np.uint8
    np.testing.assert_array_equal(source.data, kept)
    assert layer.name == "it (restored)"
    np.testing.assert_array_equal(layer.scale, (2, 3))
    np.testing.assert_array_equal(layer.translate, (5, 6))
    assert layer.colormap.name == "magma"
    assert layer.metadata["a"] == 1
    assert layer.metadata["guided-dip"]["effort"] == "balanced"
    assert source.metadata == {"a": 1}
    assert "restored in" in panel.status.value


def test_each_picture_of_a_stack_is_restored_by_itself(panel, ran):
    source = panel._viewer.add_image(noisy(2, 24, 24, 3), rgb=True)
    ran()
    layer = panel._viewer.layers[-1]
    assert layer.rgb
    assert layer.data.shape == (2, 24, 24, 3)
    assert all((layer.data[page] != source.data[page]).any() for page in range(2))


def test_only_the_picture_that_is_shown(panel, ran):
    source = panel._viewer.add_image(noisy(3, 2, 24, 24), scale=(4, 2, 1, 1))
    panel._viewer.dims.set_point((0, 1), (8, 2))
    panel.only_shown.value = True
    ran()
    layer = panel._viewer.layers[-1]
    assert layer.data.shape == (1, 1, 24, 24)
    np.testing.assert_array_equal(layer.data_to_world((0, 0, 3, 4)), (8, 2, 3, 4))
    assert np.abs(layer.data[0, 0].astype(float) - source.data[2, 1]).mean() < 40
    assert (layer.data[0, 0] != source.data[2, 1]).any()


def test_it_is_seen_to_improve_and_stopped(panel, qtbot):
    panel.more.value = "steps: 1000000, threads: 1, backbone_options: {width: 4}"
    source = panel._viewer.add_image(noisy(24, 24))
    panel.begin()
    qtbot.waitUntil(lambda: len(panel._viewer.layers) == 2, timeout=LONG)
    assert "being restored" in panel._viewer.layers[1].name
    assert not panel.run.enabled
    qtbot.waitUntil(lambda: "left" in panel.status.value, timeout=LONG)
    panel._stop()
    qtbot.waitUntil(lambda: not panel.running, timeout=LONG)
    assert panel._viewer.layers[1].name.endswith("(restored)")
    assert (panel._viewer.layers[1].data != source.data).any()
    assert "of 1000000, as was asked" in panel.status.value
    assert panel.run.enabled


def test_nothing_is_left_of_what_is_cancelled(panel, qtbot):
    panel.more.value = "steps: 1000000, threads: 1, backbone_options: {width: 4}"
    source = panel._viewer.add_image(noisy(24, 24))
    panel.begin()
    qtbot.waitUntil(lambda: len(panel._viewer.layers) == 2, timeout=LONG)
    process = panel._restorer._process
    panel.end()
    qtbot.waitUntil(lambda: not panel.running, timeout=LONG)
    assert list(panel._viewer.layers) == [source]
    assert process.poll() is not None
    assert panel.status.value == "cancelled"


def test_what_goes_wrong_is_told(panel, ran, monkeypatch):
    told = []
    monkeypatch.setattr(panels, "show_error", told.append)
    panel._viewer.add_image(noisy(24, 24))
    panel.noise.value = "gauss:25"
    ran()
    assert "gauss" in panel.status.value
    assert told == [f"Guided-DIP: {panel.status.value}"]
    assert len(panel._viewer.layers) == 1


@pytest.mark.parametrize("more", ["steps", "steps: 4, ]", "a: !!python/name:os.system"])
def test_settings_that_are_none_are_refused(panel, more):
    panel._viewer.add_image(noisy(24, 24))
    panel.more.value = more
    panel.begin()
    assert not panel.running
    assert "try  seed: 1" in panel.status.value


def test_without_a_layer_it_says_so(panel):
    panel.begin()
    assert "no image layer" in panel.status.value


def test_a_failure_keeps_what_was_restored_before(panel, ran, monkeypatch):
    monkeypatch.setattr(panels, "show_error", lambda _: None)
    monkeypatch.setattr(panels, "Restorer", Fake)
    source = panel._viewer.add_image(noisy(2, 24, 24))
    done = Event("done", (0,), np.zeros((24, 24), np.uint8), {"note": "as it was", "noise": ""})
    Fake.script = (done, Event("failed", (1,), more={"message": "no more memory"}))
    ran()
    layer = panel._viewer.layers[-1]
    assert not layer.data[0].any()
    np.testing.assert_array_equal(layer.data[1], source.data[1])
    assert panel.status.value == "1 of 2 pictures restored; 1 of 2: as it was; no more memory"


def test_a_layer_that_the_user_deletes_stays_deleted(panel, ran, monkeypatch):
    monkeypatch.setattr(panels, "Restorer", Fake)
    panel._viewer.add_image(noisy(24, 24))
    picture = np.zeros((24, 24), np.uint8)
    Fake.script = (
        Event("estimate", (), picture),
        Event("done", (), picture, {"note": "", "noise": ""}),
    )
    ran()
    panel._viewer.layers.pop()
    assert len(panel._viewer.layers) == 1


def test_samples_are_opened(make_napari_viewer):
    PluginManager.instance()
    for make in (samples.noisy_astronaut, samples.noisy_coins, samples.few_photons):
        ((array, values, kind),) = make()
        layer = make_napari_viewer().add_image(array, **values)
        assert kind == "image"
        assert layer.name


def test_the_process_goes_with_the_viewer(panel, qtbot):
    panel.more.value = "steps: 1000000, threads: 1"
    panel._viewer.add_image(noisy(24, 24))
    panel.begin()
    restorer = panel._restorer
    qtbot.waitUntil(lambda: restorer._process is not None, timeout=LONG)
    QCoreApplication.instance().aboutToQuit.emit()
    qtbot.waitUntil(lambda: restorer._process.poll() is not None, timeout=LONG)
    qtbot.waitUntil(lambda: not panel.running, timeout=LONG)


def test_planes_are_those_of_the_finest_resolution(make_napari_viewer):
    image = noisy(64, 64)
    layer = make_napari_viewer().add_image([image, image[::2, ::2]], multiscale=True)
    assert isinstance(panels.planes_of(layer), Planes)
    assert panels.planes_of(layer).array.shape == (64, 64)
