"""The plugin for napari without napari: pictures of a layer, and the process that restores them."""

import io
import json
import os
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from guided_dip import restore
from guided_dip.napari import beside, process, samples
from guided_dip.napari.beside import Restorer
from guided_dip.napari.planes import Planes, as_layer, extremes_in, restorable, white_of

TINY = {"noise": "gaussian:25", "device": "cpu", "threads": 1, "backbone_options": {"width": 4}}
LONG = TINY | {"steps": 1_000_000}


def noisy(*shape):
    return np.random.default_rng(0).normal(120, 25, shape).clip(0, 255).astype(np.uint8)


@pytest.fixture(autouse=True)
def _same_sources(monkeypatch):
    """The process takes the sources that are tested, whichever are installed."""
    monkeypatch.setenv("PYTHONPATH", str(Path(process.__file__).parents[2]))


class Recorder:
    """Hears what is said in place of a viewer."""

    def __init__(self):
        self.heard, self.stop = [], threading.Event()

    def say(self, what, **more):
        self.heard.append((what, more))
        if what == "estimate":
            self.stop.set()


def request(folder, image, **settings):
    np.save(folder / "image.npy", image)
    names = {"folder": str(folder), "image": "image.npy", "result": "result.npy"}
    return names | {"effort": "fast", "settings": TINY | settings}


@pytest.mark.parametrize(
    ("picture", "white"),
    [
        (np.full((2, 2), 0.9), 1),
        (np.full((2, 2), 0.1), 0.11),
        (np.full((2, 2), 3000.0), 3300),
        (np.zeros((2, 2)), 1),
        (np.array([[np.nan, 0.5]]), 1),
        (np.array([[np.inf, np.nan]]), 1),
    ],
)
def test_white_of_floats_is_where_it_is_looked_for(picture, white):
    assert white_of(picture) == pytest.approx(white)


@pytest.mark.parametrize(
    "dtype", ["uint8", "uint16", "int16", "int32", "int64", "uint64", "float16", "float64", "bool"]
)
def test_layers_of_every_type_are_restored_in_it(dtype):
    picture = (np.arange(256).reshape(16, 16) / 8).astype(dtype)
    settings = TINY | {"noise": "gaussian:0"}  # so that nothing is done
    (*_, done) = Restorer(Planes(picture), [()], "fast", settings).events()
    assert done.picture.dtype == picture.dtype
    np.testing.assert_array_equal(done.picture, picture)


def test_wide_integers_become_what_is_restored():
    assert restorable(np.array([5], np.int64)).dtype == np.int32
    assert restorable(np.array([2**40])).dtype == np.float64
    assert as_layer(np.array([2.7], np.float32), np.int64).tolist() == [3]


def test_pictures_of_a_layer_have_the_white_of_all_of_them():
    array = np.stack([np.full((4, 4), value, np.uint16) for value in (0, 300, 900, 60)])
    planes = Planes(array)
    assert extremes_in(planes, planes.indices())[1:] == (0, 900)
    assert extremes_in(planes, [(1,)])[1:] == (300, 300)
    assert extremes_in(Planes(array.astype(float)), planes.indices()) is None
    array[1] = 65535
    assert extremes_in(planes, planes.indices()).are_bright


def test_the_one_that_is_shown_is_restored_as_the_command_line_would(tmp_path):
    stack = np.random.default_rng(0).normal([[[60.0]], [[600.0]]], 20, (2, 16, 24))
    stack = stack.clip(0).astype(np.uint16)
    (*_, done) = Restorer(Planes(stack), [(0,)], "fast", TINY | {"steps": 3}).events()
    expected = restore(stack[0], effort="fast", steps=3, white=1023, **TINY).image
    np.testing.assert_array_equal(done.picture, expected)
    assert "white is 1023" in done.more["note"]
    told = TINY | {"steps": 3, "white": "type"}
    (*_, done) = Restorer(Planes(stack), [(0,)], "fast", told).events()
    assert "white is" not in done.more["note"]


def test_the_pictures_of_an_array_are_its_last_two_axes():
    planes = Planes(np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5))
    assert list(planes.indices()) == [(i, j) for i in range(2) for j in range(3)]
    assert planes.picture((1, 2)).shape == (4, 5)
    planes.put((1, 2), np.zeros((4, 5)))
    assert not planes.array[1, 2].any()
    assert planes.array[1, 1].all()


def test_a_plain_picture_is_its_only_one():
    planes = Planes(np.ones((4, 5)))
    assert list(planes.indices()) == [()]
    planes.put((), np.zeros((4, 5)))
    assert not planes.array.any()


def test_alpha_stays_as_it_is():
    planes = Planes(np.full((2, 4, 5, 4), 7), rgb=True)
    assert planes.before == (2,)
    assert planes.picture((0,)).shape == (4, 5, 3)
    planes.put((0,), np.zeros((4, 5, 3)))
    assert planes.array[0, ..., 3].all()
    assert not planes.array[0, ..., :3].any()
    assert planes.array[1].all()


def test_dim_pictures_of_16_bits_are_restored(tmp_path):
    clean = np.full((32, 32), 300.0)
    clean[8:24, 8:24] = 500
    image = np.random.default_rng(0).normal(clean, 20).astype(np.uint16)
    heard = Recorder()
    process.carry_out(request(tmp_path, image, noise="auto", steps=30), heard)
    result = np.load(tmp_path / "result.npy")
    assert result.dtype == np.uint16
    assert (result != image).mean() > 0.5
    assert heard.heard[0][1]["noise"].startswith("gaussian:")


def test_a_request_is_carried_out_as_the_library_would(tmp_path):
    heard, image = Recorder(), noisy(16, 24, 3)
    process.carry_out(request(tmp_path, image, steps=3), heard)
    expected = restore(image.astype(np.float32) / 255, effort="fast", steps=3, **TINY).image
    np.testing.assert_array_equal(
        np.load(tmp_path / "result.npy"), np.rint(expected * 255).clip(0, 255)
    )
    assert [what for what, _ in heard.heard] == ["begins", "step", "done"]
    assert heard.heard[0][1] == {"steps": 3, "noise": "gaussian:25"}


def test_estimates_are_shown_and_it_stops_when_asked(tmp_path, monkeypatch):
    monkeypatch.setattr(process, "LOOKS", 0.0)
    heard = Recorder()  # asks for the end once it has seen an estimate
    process.carry_out(request(tmp_path, noisy(16, 16), steps=1000), heard)
    says = [what for what, _ in heard.heard]
    assert says[0] == "begins"
    assert says[-2:] == ["estimate", "done"]
    assert "of 1000, as was asked" in heard.heard[-1][1]["note"]
    (shown,) = tmp_path.glob("estimate-*.npy")
    assert np.load(shown).shape == np.load(tmp_path / "result.npy").shape == (16, 16)


def test_looking_changes_nothing(tmp_path, monkeypatch):
    image, results = noisy(16, 16), []
    for looks in (0.0, 1e9):
        monkeypatch.setattr(process, "LOOKS", looks)
        heard = Recorder()
        heard.stop.set = lambda: None
        process.carry_out(request(tmp_path, image, steps=8), heard)
        results.append(np.load(tmp_path / "result.npy"))
    np.testing.assert_array_equal(*results)


def test_the_line_to_the_viewer(monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(process.Talk, "gone", lambda _: ended.set())
    lines = [{"image": "a"}, {"stop": True}, {"image": "b"}]
    said = io.StringIO()
    talk = process.Talk(io.StringIO("".join(json.dumps(line) + "\n" for line in lines)), said)
    assert talk.next() == {"image": "a"}
    assert talk.next() == {"image": "b"}
    assert talk.next() is None
    assert talk.stop.is_set()
    assert ended.wait(30)
    talk.say("step", step=1)
    assert json.loads(said.getvalue()) == {"says": "step", "step": 1}


def test_what_goes_wrong_is_said_and_the_next_one_is_done(tmp_path):
    good = request(tmp_path, noisy(16, 16), steps=1)
    queue = [good | {"settings": {"nois": "auto"}}, good, None]
    heard = Recorder()
    heard.next = lambda: queue.pop(0)
    process.serve(heard)
    says = [what for what, _ in heard.heard]
    assert says == ["failed", "begins", "step", "done"]
    assert "did you mean 'noise'" in heard.heard[0][1]["message"]


def test_a_stack_is_restored_in_a_process_of_its_own():
    planes = Planes(noisy(2, 16, 16))
    restorer = Restorer(planes, list(planes.indices()), "fast", TINY | {"steps": 2})
    events = list(restorer.events())
    done = [event for event in events if event.says == "done"]
    assert [event.index for event in done] == [(0,), (1,)]
    assert all(event.picture.dtype == np.uint8 for event in done)
    assert restorer._process.poll() is not None


def test_failures_come_last_and_are_one_line():
    restorer = Restorer(Planes(noisy(16, 16)), [()], "fast", TINY | {"steps": -1})
    *_, last = restorer.events()
    assert last.says == "failed"
    assert "steps" in last.more["message"]
    assert "\n" not in last.more["message"]


def test_what_is_cancelled_ends_without_a_result():
    restorer = Restorer(Planes(noisy(16, 16)), [()], "fast", LONG)
    says = []
    for event in restorer.events():
        says.append(event.says)
        restorer.cancel()
    assert says == ["begins"]
    assert restorer._process.poll() is not None


def test_what_is_stopped_leaves_an_estimate_and_begins_nothing_more():
    planes = Planes(noisy(3, 16, 16))
    restorer = Restorer(planes, list(planes.indices()), "fast", LONG)
    events = []
    for event in restorer.events():
        events.append(event)
        if event.says == "step":
            restorer.stop()
    assert events[-1].says == "done"
    assert {event.index for event in events} == {(0,)}


def test_a_killed_process_is_told():
    restorer = Restorer(Planes(noisy(16, 16)), [()], "fast", LONG)
    events = []
    for event in restorer.events():
        events.append(event)
        if event.says == "begins":
            restorer._process.kill()
    assert events[-1].says == "failed"
    assert "ended with code" in events[-1].more["message"]
    assert "memory" in events[-1].more["message"]


def test_the_last_words_of_a_process_are_told(monkeypatch):
    monkeypatch.setattr(beside, "MODULE", "guided_dip.napari.nothing")
    restorer = Restorer(Planes(noisy(16, 16)), [()], "fast", TINY)
    (event,) = restorer.events()
    assert "No module named" in event.more["message"]


def test_nothing_begins_that_was_cancelled_before():
    restorer = Restorer(Planes(noisy(16, 16)), [()], "fast", TINY)
    restorer.cancel()
    assert list(restorer.events()) == []
    assert restorer._process is None


def test_what_libraries_print_is_not_taken_for_an_answer(monkeypatch, capfd):
    def chatty(talk):
        os.write(1, b"hello from a library\n")
        talk.say("done")

    monkeypatch.setattr(process, "serve", chatty)
    monkeypatch.setattr(process.Talk, "_listen", lambda *_: None)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    saved = os.dup(1)
    try:
        process.main()
    finally:
        os.dup2(saved, 1)
        os.close(saved)
    out, err = capfd.readouterr()
    assert json.loads(out) == {"says": "done"}
    assert "hello from a library" in err


def test_samples_are_noisy_pictures():
    for make, shape in (
        (samples.noisy_astronaut, (128, 128, 3)),
        (samples.noisy_coins, (128, 128)),
        (samples.few_photons, (3, 128, 128)),
    ):
        ((array, values, kind),) = make()
        assert (array.shape, kind) == (shape, "image")
        assert values["name"]
        np.testing.assert_array_equal(array, make()[0][0])
