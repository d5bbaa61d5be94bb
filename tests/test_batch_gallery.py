"""The gallery of a batch: right figures, one mapping for before and after, no name that bites."""

import os
import re
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote_to_bytes

import numpy as np
import pytest
from PIL import Image

from guided_dip.batch import gallery, thumbnails
from guided_dip.batch.entries import Counts, Done, Entry, Stamp
from guided_dip.batch.gallery import write_gallery
from guided_dip.batch.gallery_summary import binned
from guided_dip.batch.gallery_text import spoken
from guided_dip.errors import RunError
from guided_dip.images import Picture, write

ODD = [
    "plain.png",
    "with space.png",
    "a'b\"c.png",
    "<img src=x onerror=alert(1)>.png",
    "</script><script>alert(1)<_script>.png",
    "a#b?c=d&e;%41.png",
    "sub folder/ünï→.png",
    "javascript:alert(1).png",
    "line\nbreak\ttab.png",
    b"latin-\xe9.png".decode(errors="surrogateescape"),
]


@dataclass
class Batch:
    """A batch of pictures on disk, and its manifest."""

    place: Path
    manifest: list[Entry] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    @property
    def folder(self):
        return self.place / "out" / "report"

    def add(self, name, before=None, after=None, *, save=write, **told):
        before = noisy() if before is None else before
        after = np.full_like(before, before.mean()) if after is None else after
        stamps = []
        for top, pixels in (("in", before), ("out", after)):
            path = self.place / top / name
            path.parent.mkdir(parents=True, exist_ok=True)
            save(path, Picture(pixels))
            stamps.append(Stamp(path.stat().st_size, path.stat().st_mtime_ns))
        height, width = after.shape[:2]
        told = {"seconds": 1.0, "width": width, "height": height, "channels": 1} | told
        done = Done("0" * 64, stamps[1], **told)
        number = len(self.manifest) + 1
        self.manifest.append(Entry(number, name, name, stamps[0], "s", "done", done=done))

    def fail(self, name, reason):
        number = len(self.manifest) + 1
        self.manifest.append(Entry(number, name, name, None, "s", "failed", reason, 2))

    def entries(self, state, after, limit):
        self.asked.append(limit)
        return [e for e in self.manifest if e.state == state and e.id > after][:limit]

    def write(self, **changed):
        states = [entry.state for entry in self.manifest]
        told = {
            "root": self.place / "in",
            "outdir": self.place / "out",
            "counts": Counts(3, 1, states.count("done"), states.count("failed")),
            "entries": self.entries,
            "title": "Batch <i>of</i> & June",
            "about": {"settings": 'noise="<auto>"', "sources": "in/"},
            "pace": 1234.5,
        }
        return write_gallery(self.folder, **told | changed)

    def thumbnails(self):
        return {path.name: path for path in (self.folder / "pictures").iterdir()}


@pytest.fixture
def batch(tmp_path):
    return Batch(tmp_path)


def noisy(size=(24, 32), level=120, dtype=np.uint8):
    drawn = np.random.default_rng(0).normal(level, level / 5, size)
    return drawn.clip(0, np.iinfo(dtype).max).astype(dtype)


TAGS = """
    html head meta title style body h1 h2 dl div dt dd section details summary ol ul li a bdi p svg
    rect form input label fieldset output nav span main article button img script table caption
    thead tbody tr th td
"""
ATTRIBUTES = """
    lang charset http-equiv content name class href id aria-labelledby role viewbox x y width height
    preserveaspectratio aria-hidden hidden type placeholder aria-label autocomplete value checked
    aria-live aria-current rel aria-pressed alt src loading decoding scope open
"""


class Seen(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.ids, self.open, self.text = [], [], [], []
        self.pressed = 0
        self.feed(path.read_text(encoding="utf-8"))
        assert not self.open

    def handle_starttag(self, tag, attributes):
        assert tag in TAGS.split(), tag
        for name, value in attributes:
            assert name in ATTRIBUTES.split(), (tag, name)
            if name in ("href", "src"):
                self.links.append(value)
            if name == "id":
                self.ids.append(value)
        self.pressed += "view" in dict(attributes).get("class", "").split()
        if tag not in ("meta", "input", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)

    @property
    def words(self):
        return " ".join(" ".join(self.text).split())


def check_pages(folder):
    """Every page is well-formed, has no tag of a name's making, and links only what is there."""
    pages = {path.name: Seen(path) for path in folder.glob("*.html")}
    for name, page in pages.items():
        assert len(page.ids) == len(set(page.ids))
        for link in page.links:
            path, _, part = link.partition("#")
            assert not re.match(r"[a-z]+:|/", path), link
            target = os.fsencode(folder) + b"/" + unquote_to_bytes(path or name)
            assert os.path.isfile(target), link  # noqa: PTH113
            if part:
                assert part in pages[path or name].ids
    for path in folder.glob("*.html"):
        source = path.read_text(encoding="utf-8")
        assert "//" not in source
        assert "url(" not in source
        assert "@import" not in source
    return pages


def small(path):
    return np.asarray(Image.open(path)).astype(int)


def pair(batch, view="detail"):
    names = sorted(n for n in batch.thumbnails() if f"-{view}-" in n)
    after, before = (batch.folder / "pictures" / n for n in names)
    return small(before), small(after)


def test_odd_names_and_notes_are_shown_and_linked_and_do_nothing(batch):
    for name in ODD:
        batch.add(name, note="<script>alert(1)</script> \"'> & more", noise="<b>5</b>/255")
    index = batch.write()
    assert index == batch.folder / "index.html"
    page = check_pages(batch.folder)["index.html"]
    assert page.open.count("script") == 0
    assert index.read_text().count("<script>") == 1
    assert "<img src=x onerror=alert(1)>.png" in page.words
    assert "\\udce9" in page.words
    assert "noise: <b>5</b>/255" in page.words
    full = [link for link in page.links if "pictures/" not in link and link[0] != "#"]
    assert len(full) == 2 * len(ODD)
    assert page.pressed == 2 * len(ODD)


def test_figures_are_those_of_the_batch(batch):
    seconds = [*range(10, 110, 10), 3000]
    for k, taken in enumerate(seconds):
        batch.add(f"{k}.png", seconds=float(taken))
    batch.fail("bad.png", "no <b>picture</b>")
    words = check_pages_of(batch)["index.html"].words
    median, late = np.percentile(seconds, (50, 90))
    told = f"done 11 failed 1 left 4 images an hour 1,234 median time {spoken(median)} 90th"
    assert told in words
    assert f"90th percentile {spoken(late)} computing time {spoken(sum(seconds))}" in words
    assert (
        "10.png 50 min 9.png 1 min 40 s 8.png 1 min 30 s 7.png 1 min 20 s 6.png 1 min 10 s" in words
    )
    assert 'settings noise="<auto>" sources in/' in words


def check_pages_of(batch):
    batch.write()
    return check_pages(batch.folder)


@pytest.mark.parametrize(
    "seconds", [[3.0], [2.0, 2.0], [0.004, 0.007], [*range(1, 60), 4000], list(range(5000))]
)
def test_every_time_is_in_a_bar(seconds):
    edges, numbers, over = binned(np.array(seconds, np.float64))
    assert sum(numbers) == len(seconds)
    assert len(edges) == len(numbers) + 1 <= 26
    assert edges[0] <= min(seconds)
    assert over == (4000 in seconds and len(seconds) < 100)
    assert over or edges[-1] > max(seconds)


def test_failed_ones_have_a_table_of_reasons_until_there_are_none(batch):
    batch.add("good.png")
    batch.fail("gone.png", "gone.png: <no> such file")
    batch.fail(ODD[3], "not a picture & more")
    words = check_pages_of(batch)["failed.html"].words
    assert "2 pictures could not be restored." in words
    assert "gone.png gone.png: <no> such file 2" in words
    assert f"{ODD[3]} not a picture & more 2" in words
    batch.manifest = batch.manifest[:1]
    assert set(check_pages_of(batch)) == {"index.html"}


def test_sixty_to_a_page(batch, monkeypatch):
    monkeypatch.setattr(thumbnails, "write_whole", lambda path, data: path.write_bytes(data))
    pixels, heard = noisy((4, 4)), []
    for k in range(61):
        batch.add(f"{k:02}.png", pixels, seconds=float(k), note="odd" if k == 60 else "")
    batch.write(on_progress=lambda done, total: heard.append((done, total)))
    pages = check_pages(batch.folder)
    assert set(pages) == {"index.html", "page-2.html"}
    assert pages["index.html"].pressed == 120
    assert pages["page-2.html"].pressed == 2
    assert "page-2.html#p61" in pages["index.html"].links  # the slowest, and one with a warning
    assert "1 picture with warnings 60.png : odd" in pages["index.html"].words
    assert heard == [(k, 61) for k in range(1, 62)]
    assert max(batch.asked) <= 60
    batch.manifest = batch.manifest[:60]
    assert set(check_pages_of(batch)) == {"index.html"}


def test_what_a_running_batch_adds_meanwhile_is_left_to_the_next(batch):
    for k in range(3):
        batch.add(f"{k}.png")
    all_three, batch.manifest = batch.manifest, batch.manifest[::2]
    asked = []

    def entries(state, after, limit):
        asked.append(state)
        if len(asked) > 2:
            batch.manifest = all_three
        return batch.entries(state, after, limit)

    batch.write(entries=entries)
    assert check_pages(batch.folder)["index.html"].ids[-2:] == ["p1", "p3"]


def test_a_batch_of_which_nothing_is_done_has_a_page(batch):
    page = check_pages_of(batch)["index.html"]
    assert "done 0 failed 0 left 4" in page.words
    assert "No picture is done yet." in page.words
    batch.write(pace=None)
    assert "an hour" not in check_pages(batch.folder)["index.html"].words


def test_eight_bits_are_shown_as_they_are(batch):
    pixels = noisy(level=20)
    batch.add("dark.png", pixels, pixels // 2)
    assert "stretched" not in check_pages_of(batch)["index.html"].words
    before, after = pair(batch)
    np.testing.assert_array_equal(before, pixels)
    np.testing.assert_array_equal(after, pixels // 2)


@pytest.mark.parametrize("kind", ["dark", "float"])
def test_before_and_after_are_stretched_alike(batch, kind):
    pixels = noisy((60, 80), 900, np.uint16)
    if kind == "float":
        pixels = pixels.astype(np.float32)
    after = (pixels * 0.5 + 450).astype(pixels.dtype)
    batch.add("dark.tif", pixels, after)
    assert "stretched for display" in check_pages_of(batch)["index.html"].words
    low, high = np.percentile(pixels, (0.1, 99.9))
    for shown, file in zip(pair(batch), (pixels, after), strict=True):
        wanted = np.clip((file - low) / (high - low), 0, 1) * 255
        assert np.abs(shown - wanted).max() < 0.6
    assert pair(batch)[1].std() < 0.6 * pair(batch)[0].std()  # not each by its own range


def test_sixteen_bits_that_use_their_range_are_not_stretched(batch):
    batch.add("bright.tif", noisy(level=30000, dtype=np.uint16))
    assert "stretched" not in check_pages_of(batch)["index.html"].words


@pytest.mark.parametrize("value", [np.nan, 0.25])
def test_floats_without_a_range_are_shown(batch, value):
    pixels = np.full((8, 8), value, np.float32)
    pixels[0, 0] = 0.25
    batch.add("flat.tif", pixels, np.full((8, 8), 0.25, np.float32))
    check_pages_of(batch)
    assert pair(batch)[0][0, 0] == 64
    assert pair(batch)[0][4, 4] == (64 if value == 0.25 else 0)


def test_a_large_picture_has_a_detail_of_the_files_own_pixels_and_the_whole(batch):
    pixels = noisy((400, 500, 3))
    batch.add("large.png", pixels)
    check_pages_of(batch)
    np.testing.assert_array_equal(pair(batch)[0], pixels[120:280, 170:330])
    assert pair(batch, "whole")[0].shape == (256, 320, 3)


def test_an_enlarged_picture_shows_the_same_area_before_and_after(batch):
    pixels = noisy((150, 200))
    batch.add("small.png", pixels, np.kron(pixels, np.ones((2, 2), np.uint8)))
    assert "before is enlarged to the same area" in check_pages_of(batch)["index.html"].words
    before, after = pair(batch)
    np.testing.assert_array_equal(before, after)
    before, after = pair(batch, "whole")
    assert before.shape == after.shape == (240, 320)


def test_the_first_page_of_a_stack_is_shown(batch):
    import tifffile

    pages = np.stack([noisy(), noisy() // 2])
    batch.add(
        "stack.tif",
        pages,
        pages,
        save=lambda path, picture: tifffile.imwrite(
            path, picture.pixels, photometric="minisblack", metadata=None
        ),
        pages=2,
    )
    assert "the first of 2 pages" in check_pages_of(batch)["index.html"].words
    np.testing.assert_array_equal(pair(batch)[0], pages[0])


def test_thumbnails_are_kept_made_anew_and_deleted(batch):
    for k in range(3):
        batch.add(f"{k}.png")
    batch.write()
    (batch.folder / "pictures" / "mine.png").write_bytes(b"not ours")
    old = {name: path.stat().st_mtime_ns for name, path in batch.thumbnails().items()}
    write(batch.place / "out" / "0.png", Picture(noisy(level=60)), overwrite=True)
    stamp = (batch.place / "out" / "0.png").stat()
    done = replace(batch.manifest[0].done, stamp=Stamp(stamp.st_size, stamp.st_mtime_ns))
    batch.manifest = [replace(batch.manifest[0], done=done), batch.manifest[1]]
    check_pages_of(batch)
    new = {name: path.stat().st_mtime_ns for name, path in batch.thumbnails().items()}
    assert len(old) == 7
    assert len(new) == 5  # two of 0, made anew; two of 1, kept; one that is not a thumbnail
    kept = old.keys() & new.keys()
    assert len(kept) == 3
    assert all(old[name] == new[name] for name in kept)


def test_what_is_gone_or_cannot_be_read_is_said(batch):
    for name in ("gone.png", "damaged.png", "lost.png", "kept.png", "changed.png"):
        batch.add(name)
    batch.write()
    for path in batch.thumbnails().values():
        path.unlink()
    (batch.place / "in" / "gone.png").unlink()
    (batch.place / "in" / "damaged.png").write_bytes(b"\x89PNG\r\n\x1a\n<b>")
    (batch.place / "out" / "lost.png").unlink()
    write(batch.place / "in" / "changed.png", Picture(noisy(level=60)), overwrite=True)
    page = check_pages_of(batch)["index.html"]
    assert page.pressed == 4
    assert "gone.png source is gone 32" in page.words
    assert "cannot be shown:" in page.words
    assert "lost.png restoration is gone" in page.words
    assert page.words.count("source has changed since it was restored") == 2
    (batch.place / "in" / "kept.png").unlink()
    page = check_pages_of(batch)["index.html"]
    assert page.pressed == 4  # its thumbnails are of the files that were
    assert page.words.count("source is gone") == 2


def test_an_interrupted_gallery_leaves_the_old_one(batch):
    batch.add("a.png")
    batch.write(title="old")
    batch.add("b.png")
    before = {path: path.read_bytes() for path in batch.folder.glob("*") if path.is_file()}

    def interrupted(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        batch.write(title="new", on_progress=interrupted)
    assert {path: path.read_bytes() for path in batch.folder.glob("*") if path.is_file()} == before
    assert {path.name for path in batch.folder.iterdir()} == {"index.html", "pictures"}


def test_a_place_that_will_not_do_is_one_line(batch):
    (batch.place / "out").mkdir()
    batch.folder.write_text("a file")
    with pytest.raises(RunError, match="no gallery can be written"):
        batch.write()


def test_a_full_disk_ends_the_gallery(batch, monkeypatch):
    def full(path, data):
        raise RunError("no space left")

    batch.add("a.png")
    monkeypatch.setattr(thumbnails, "write_whole", full)
    with pytest.raises(RunError, match="no space"):
        batch.write()
    assert not (batch.folder / "index.html").exists()


def test_pages_left_by_a_killed_gallery_go_away_in_time(batch):
    stale = [batch.folder / f"{gallery.STAGE}{name}" for name in ("old", "new")]
    for path in stale:
        path.mkdir(parents=True)
    os.utime(stale[0], (0, 0))
    batch.write()
    assert [path.exists() for path in stale] == [False, True]
