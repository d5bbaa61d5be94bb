"""When the loop of a batch is at its end: not before all is done that can be."""

import pytest

from guided_dip.batch.coordinator import Coordinator
from guided_dip.batch.entries import Done, Found, Stamp
from guided_dip.batch.manifest import Manifest
from guided_dip.batch.place import Place
from guided_dip.batch.progress import Requests
from guided_dip.batch.work import Event


class Slow:
    """An executor whose only worker takes its time before it takes more."""

    def __init__(self) -> None:
        self.at, self.rest = [], 0

    def room(self):
        self.rest -= 1
        return int(self.rest < 0 and not self.at)

    def submit(self, items):
        self.at = list(items)

    def wait(self, seconds):
        said, self.at = self.at, []
        self.rest = 3 if said else self.rest
        done = Done("0", Stamp(1, 1), 1.0, 2, 2, 1)
        return [Event("done", item.name, done=done) for item in said]

    def stop(self):
        pass

    def close(self):
        pass


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path / "out")
    place.folder.mkdir(parents=True)
    return place


def ending_of(place, root, outputs):
    with Manifest.create(place.manifest, root) as manifest:
        found = [Found(f"{n}.png", output, Stamp(1, 1)) for n, output in enumerate(outputs)]
        manifest.keep_settings("0", {})
        manifest.enrol(found, "0", content_of=lambda _: "0", output_stamp_of=lambda _: None)
        return Coordinator(manifest, "0", Slow(), place).run(Requests())


def test_a_worker_that_still_ends_its_turn_is_waited_for(place, tmp_path):
    ending = ending_of(place, tmp_path / "in", ["0.png", "1.png", "2.png"])
    assert (ending.counts.done, ending.counts.left) == (3, 0)


def test_pictures_that_cannot_be_begun_keep_no_others_back(place, tmp_path):
    ending = ending_of(place, place.outdir / "in", ["in/0.png", "in/1.png", "other.png"])
    assert (ending.counts.failed, ending.counts.done, ending.counts.left) == (2, 1, 0)
