"""Pictures of a batch for tests to carry out, and what is said of them."""

import os
import signal

import numpy as np
import tifffile
from PIL import Image

from guided_dip.batch.carry_out import carry_out
from guided_dip.batch.place import Place
from guided_dip.batch.work import Item, Orders
from guided_dip.config import make_config

TINY = {
    "steps": 6,
    "backbone_options": {"width": 4, "scales": 2},
    "noise": "gaussian:20",
    "check_noise": False,
    "threads": 1,
    "device": "cpu",
}


LONG = {"settings": {"steps": 40}}  # checkpoints are of some twenty steps before


def orders(*, settings=(), **options):
    return Orders(make_config(TINY | dict(settings)), **options)


class Work:
    """Pictures, and what is said of them."""

    def __init__(self, folder):
        self.folder = folder
        self.place = Place(folder / "out")
        self.place.outdir.mkdir()
        (folder / "in").mkdir()
        self.events = []
        self.admitted = []
        self.on_event = None

    def picture(self, name, size=(16, 16), seed=0, channels=3):
        path = self.folder / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shape = size if channels == 1 else (*size, channels)
        pixels = np.random.default_rng(seed).integers(0, 255, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        return path

    def stack(self, name, count=3, size=(16, 16)):
        pages = np.random.default_rng(1).integers(0, 65535, (count, *size), dtype=np.uint16)
        tifffile.imwrite(self.folder / "in" / name, pages, photometric="minisblack", metadata=None)

    def item(self, name, **options):
        output = options.pop("output", name)
        return Item(
            name,
            self.folder / "in" / name,
            self.place.output(output),
            self.place.work(name, "settings"),
            self.place.log(name),
            self.place.run(name),
            **options,
        )

    def tell(self, event):
        self.events.append(event)
        if self.on_event:
            self.on_event(event)

    def carry_out(self, *items, with_=None):
        """Carry out pictures, named or as items; return how each has ended."""
        self.events.clear()
        self.admitted.clear()
        items = [self.item(each) if isinstance(each, str) else each for each in items]
        carry_out(items, with_ or orders(), self.tell, self.admitted.append)
        return self.ends()

    def ends(self):
        ends = [event for event in self.events if event.kind not in ("begun", "step")]
        assert len({event.name for event in ends}) == len(ends), "each comes to one end"
        return {event.name: event for event in ends}

    def kinds(self):
        return {name: event.kind for name, event in self.ends().items()}

    def log(self, name):
        return self.place.log(name).read_text(encoding="utf-8")

    def written(self):
        """Return what there is in OUTDIR but for logs."""
        files = (path for path in self.place.outdir.rglob("*") if path.is_file())
        names = (path.relative_to(self.place.outdir).as_posix() for path in files)
        return sorted(name for name in names if "/logs/" not in name)


def files_of(folder):
    return {
        path.relative_to(folder): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


def cut_at(work, name, share):
    """Have SIGTERM come when a picture is at a share of its work."""

    def on_event(event):
        if event.kind == "step" and event.name == name and event.share >= share:
            work.on_event = None
            os.kill(os.getpid(), signal.SIGTERM)

    work.on_event = on_event
