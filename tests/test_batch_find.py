"""The pictures of a batch: which files are found, under which names, and in which shard."""

import hashlib
import logging
import os
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guided_dip.batch import find as finding
from guided_dip.batch.entries import Found, Stamp
from guided_dip.batch.find import absolute, common_root, expand, find, output_suffix, stamp_of
from guided_dip.batch.place import FOLDER, Place, Shard, parse_shard
from guided_dip.errors import InputError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def make(*names):
    """Make files, and the folders that they are in, below the current one."""
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(os.fsencode(name))


def found(*inputs, outdir="out", root=None, **options):
    paths = expand([Path(text) for text in inputs])
    tree = common_root(paths) if root is None else absolute(Path(root))
    return list(find(paths, tree, absolute(Path(outdir)), **options))


def names(*inputs, **options):
    return [each.name for each in found(*inputs, **options)]


# Folders


def test_a_folder_has_its_pictures_and_those_below_in_the_order_of_their_names(here):
    make("in/b.png", "in/a/z.tif", "in/a/b/c.JPG", "in/a.png", "in/c.fits", "in/notes.txt", "in/x")
    make("in/.hidden.png", "in/.folder/a.png", "in/a/.z.png", "in/last.PnG/deep.webp")
    expected = ["a/b/c.JPG", "a/z.tif", "a.png", "b.png", "c.fits", "last.PnG/deep.webp"]
    assert names("in") == expected
    assert names("in", recursive=False) == ["a.png", "b.png", "c.fits"]


def test_an_empty_folder_has_none(here):
    Path("in/deeper").mkdir(parents=True)
    assert found("in") == []


def test_what_is_found_has_the_file_s_stamp(here):
    make("in/a.png")
    os.utime("in/a.png", ns=(0, 1_234_567_890_123_456_789))
    expected = Found("a.png", "a.png", Stamp(len("in/a.png"), 1_234_567_890_123_456_789))
    assert found("in") == [expected]
    assert stamp_of(Path("in/none.png")) is None
    assert stamp_of(Path("in/a.png/below")) is None
    assert stamp_of(Path("x" * 300)) is None
    assert stamp_of(Path("a\0b")) is None


def test_what_batches_write_is_left_alone(here):
    make("in/a.png", "in/out/a.png", "in/other/b.png", "in/plain/c.png")
    make(f"in/other/{FOLDER}/report/thumb.png", f"in/{FOLDER}/x.png", f"in/out/{FOLDER}/y.png")
    assert names("in", outdir="in/out") == ["a.png", "plain/c.png"]
    # What it wrote is restored again if that is what is asked for.
    assert names("in/other") == ["b.png"]


def test_outdir_is_no_source_before_the_batch_has_begun_there(here):
    make("in/a.png", "in/out/b.png")
    assert names("in", outdir="in/out") == ["a.png"]


def test_what_is_named_in_outdir_is_no_source_and_said_to_be_none_once(here, caplog):
    make("in/a.png", "in/out/a.png", "in/out/deep/b.png")
    with caplog.at_level(logging.WARNING):
        given = ["in/a.png", "in/out/a.png", "in/out/deep/b.png"]
        assert names(*given, outdir="in/out", root="in") == ["a.png"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{here}/in/out/a.png: is in OUTDIR, and no source, as all that is there"
    ]


def test_a_second_call_with_a_pattern_finds_nothing_that_the_first_one_wrote(here):
    make("in/a.png", "in/b/c.png")
    patterns = ["in/**/*.png"]
    before = names(*patterns, outdir="in/out", root="in")
    make("in/out/a.png", "in/out/b/c.png", f"in/out/{FOLDER}/report/0.png")
    assert names(*patterns, outdir="in/out", root="in") == before == ["a.png", "b/c.png"]
    assert names("in/*", outdir="in/out", root="in") == ["a.png", "b/c.png"]
    # But where its folder is named, it is meant.
    assert names("in/out/*.png", outdir="again", root="in") == ["out/a.png"]


def test_an_unreadable_folder_is_noted_and_skipped(here, monkeypatch, caplog):
    make("in/a.png", "in/locked/b.png", "in/z/c.png")
    reads = os.scandir

    def scandir(path):
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied")
        return reads(path)

    monkeypatch.setattr(finding.os, "scandir", scandir)
    with caplog.at_level(logging.WARNING):
        assert names("in") == ["a.png", "z/c.png"]
    assert [record.getMessage() for record in caplog.records] == [
        f"{here}/in/locked: cannot be looked into (Permission denied)"
    ]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs two users")
def test_folders_that_the_user_may_not_enter_are_noted_and_skipped(caplog):
    with tempfile.TemporaryDirectory() as name:  # pytest's own are of one user
        folder = Path(name)
        folder.chmod(0o755)
        for picture in ("a.png", "list-only/b.png", "locked/c.png", "z/d.png"):
            (folder / picture).parent.mkdir(parents=True, exist_ok=True)
            (folder / picture).touch()
        (folder / "list-only").chmod(0o744)
        (folder / "locked").chmod(0o700)
        os.seteuid(65534)  # root may look anywhere
        try:
            with caplog.at_level(logging.WARNING):
                pictures = list(find([folder], folder, folder / "out"))
        finally:
            os.seteuid(0)
    assert [each.name for each in pictures] == ["a.png", "list-only/b.png", "z/d.png"]
    assert pictures[1].stamp is None
    assert [record.getMessage() for record in caplog.records] == [
        f"{folder}/locked: cannot be looked into (Permission denied)"
    ]


# Links


def test_links_to_files_are_files_and_links_to_folders_are_left_alone(here):
    make("in/a.png", "elsewhere/b.png")
    Path("in/link.png").symlink_to(here / "elsewhere/b.png")
    Path("in/folder").symlink_to(here / "elsewhere")
    Path("in/folder.png").symlink_to(here / "elsewhere")
    Path("in/loop").symlink_to(here / "in")
    assert names("in") == ["a.png", "link.png"]
    assert found("in")[1].stamp == stamp_of(Path("elsewhere/b.png"))
    # A link that is named is a folder.
    assert names("in/folder") == ["b.png"]


def test_links_that_lead_nowhere_are_noted(here, caplog):
    make("in/a.png")
    Path("in/gone.png").symlink_to(here / "gone.png")
    Path("in/loop.png").symlink_to("loop.png")
    Path("in/gone.txt").symlink_to("gone.txt")
    with caplog.at_level(logging.WARNING):
        assert names("in") == ["a.png"]
    said = [record.getMessage() for record in caplog.records]
    assert sorted(said) == [
        f"{here}/in/gone.png: cannot be read (leads nowhere)",
        f"{here}/in/loop.png: cannot be read (Too many levels of symbolic links)",
    ]


def test_what_is_no_file_is_no_picture(here):
    make("in/a.png")
    os.mkfifo("in/pipe.png")
    assert names("in") == ["a.png"]


# Names


def test_names_of_any_kind_come_as_they_are(here):
    odd = [b"a b.png", b"line\nbreak.png", b"\xff\xfe.png", "\u00fc\u2603.png".encode(), b"-o.png"]
    Path("in").mkdir()
    for name in odd:
        Path("in", os.fsdecode(name)).touch()
    assert sorted(os.fsencode(each.name) for each in found("in")) == sorted(odd)
    assert all(each.stamp == Stamp(0, each.stamp.changed) for each in found("in"))


def test_a_file_that_is_named_may_have_any_suffix(here):
    make("in/scan", "in/photo.raw")
    assert names("in/scan", "in/photo.raw") == ["scan", "photo.raw"]


def test_a_file_that_is_given_twice_is_found_once(here):
    make("in/a.png", "in/b/c.png")
    assert names("in", "in/a.png", "in/b", "in/../in/b/c.png", "in/*.png") == ["a.png", "b/c.png"]


def test_names_are_below_what_holds_all_inputs(here):
    make("in/a/1.png", "in/b/2.png")
    assert names("in/a") == ["1.png"]
    assert names("in/a", "in/b") == ["a/1.png", "b/2.png"]
    assert names("in/a/1.png") == ["1.png"]
    assert names("in/a/1.png", "in/b") == ["a/1.png", "b/2.png"]
    assert names("in/a", root="in") == ["a/1.png"]


def test_what_is_not_below_the_root_is_refused(here):
    make("in/a.png", "other/b.png")
    with pytest.raises(InputError, match=r"b\.png: is not in .*in, whose tree .*out mirrors; try"):
        names("in/a.png", "other/b.png", root="in")


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("a.png", "a.tif"),
        ("deep/a.b.jpeg", "deep/a.b.tif"),
        ("scan", "scan.tif"),
        ("a.TIF", "a.tif"),
    ],
)
def test_restorations_have_the_suffix_that_is_wanted(here, name, output):
    make(f"in/{name}")
    assert [each.output for each in found(f"in/{name}", root="in", suffix=".tif")] == [output]
    assert [each.output for each in found(f"in/{name}", root="in")] == [name]


@pytest.mark.parametrize(
    ("text", "suffix"),
    [("same", None), ("png", ".png"), (".TIF", ".tif"), ("jpeg", ".jpeg"), ("fits", ".fits")],
)
def test_formats_are_suffixes(text, suffix):
    assert output_suffix(text) == suffix


@pytest.mark.parametrize(
    ("text", "hint"),
    [("pgn", "did you mean 'png'?"), ("tfi", "did you mean 'tif'?"), ("", "one of: same, png")],
)
def test_other_formats_are_refused_with_a_hint(text, hint):
    with pytest.raises(InputError) as refused:
        output_suffix(text)
    assert f"--format {text}: is none" in str(refused.value)
    assert hint in str(refused.value)
    assert "\n" not in str(refused.value)


# Patterns


def test_patterns_match_what_a_shell_would(here):
    make("in/a1.png", "in/a2.png", "in/b1.png", "in/deep/a3.png", "in/deep/er/a4.png")
    make("in/.a5.png", "in/.h/a6.png")
    assert names("in/a*.png") == ["a1.png", "a2.png"]
    assert names("in/a[2-9].png") == ["a2.png"]
    assert names("in/**/a?.png") == ["a1.png", "a2.png", "deep/a3.png", "deep/er/a4.png"]
    assert names(f"{here}/in/*/a*.png") == ["a3.png"]
    assert names("in/deep/../b*.png") == ["b1.png"]
    assert names("in/*/../b*.png") == ["b1.png"]
    assert names("in/d*") == ["a3.png", "er/a4.png"]  # a folder that matches is looked into
    assert names("in/.a*.png") == [".a5.png"]
    assert names("in/.h/*.png") == ["a6.png"]


def test_patterns_below_a_hidden_folder_match_what_is_not_hidden(here):
    make(".data/in/a.png", ".data/in/.b.png", ".data/in/.c/d.png")
    assert names(".data/in/**/*.png") == ["a.png"]
    assert names(f"{here}/.data/in/*.png") == ["a.png"]


def test_a_name_with_signs_of_a_pattern_is_a_name_if_it_is_there(here):
    make("in/a[1].png", "in/a1.png", "in[2]/b.png", "in2/c.png")
    assert names("in/a[1].png") == ["a[1].png"]
    assert names("in[2]/*.png") == ["b.png"]


def test_recursive_patterns_follow_no_loops(here):
    make("in/a.png")
    Path("in/loop").symlink_to(here / "in")
    assert names("in/**/*.png", root="in") == ["a.png"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("in/none.png", "no such file or folder; try checking the name"),
        ("in/n*.png", "nothing matches; try a folder, or checking the pattern"),
        ("in/a**b/*.png", "is no pattern"),
        ("x" * 300, "no such file or folder"),
        ("a\0b", "no such file or folder"),
    ],
)
def test_what_is_not_there_is_an_error(here, text, reason):
    make("in/a.png")
    with pytest.raises(InputError, match=reason):
        expand([Path(text)])


def test_inputs_are_absolute_without_dots_and_each_once(here):
    make("in/a.png")
    assert expand([Path("in"), Path("./in/../in"), here / "in"]) == [str(here / "in")]


# How much memory it takes


def test_matches_of_a_pattern_take_little_memory_and_come_in_the_order_of_paths(here):
    count = 2000
    for name in ("a", "a-b", "a b"):
        Path("in", name).mkdir(parents=True)
        for number in range(count):
            Path("in", name, f"{number:06}.png").touch()
    pattern = Path("in/*/*.png")
    tracemalloc.start()
    try:
        found = expand([pattern])
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert list(map(Path, found)) == sorted(map(absolute, Path().glob(str(pattern))))
    assert held < 3 * count * (len(found[0]) + 80)  # paths take three times as much


def test_many_pictures_are_found_one_by_one_in_little_memory(here):
    Path("in").mkdir()
    for number in range(4000):
        Path("in", f"{number:06}.png").touch()
    folder = here / "in"
    sum(1 for _ in find([folder], folder, here / "out"))  # Python's table of names has grown
    peaks = []
    for _ in range(3):  # whatever else runs in this process takes memory now and then
        tracemalloc.start()
        try:
            count = sum(1 for _ in find([folder], folder, here / "out"))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert count == 4000
    # A name is 60 bytes. The folder's entries, that have paths as well, would be 3 times as many.
    assert min(peaks) < 4000 * 100 + 50_000
    pictures = find([folder], folder, here / "out")
    assert next(pictures).name == "000000.png"


# Shards


@given(st.lists(st.text(min_size=1), unique=True), st.integers(1, 40))
def test_shards_part_any_pictures(outputs, count):
    shards = [Shard(number, count) for number in range(1, count + 1)]
    for output in outputs:
        if not _is_a_name(output):
            continue
        assert sum(shard.has(output) for shard in shards) == 1


def _is_a_name(text):
    try:
        return bool(os.fsencode(text))
    except UnicodeEncodeError:
        return False


def test_shards_are_about_as_large_and_always_the_same():
    outputs = [f"frames/{number:05}.png" for number in range(4000)]
    sizes = [sum(Shard(number, 4).has(output) for output in outputs) for number in (1, 2, 3, 4)]
    assert sum(sizes) == 4000
    assert all(900 < size < 1100 for size in sizes)
    # Machines of several versions may be at work.
    digest = int.from_bytes(hashlib.sha256(b"a.png").digest()[:8], "big")
    assert [Shard(number, 3).has("a.png") for number in (1, 2, 3)] == [
        digest % 3 == rest for rest in range(3)
    ]
    assert any(Shard(number, 2).has(os.fsdecode(b"\xff.png")) for number in (1, 2))


def test_pictures_with_one_output_are_in_one_shard(here):
    make(*(f"in/{number}.{suffix}" for number in range(20) for suffix in ("png", "tif", "jpg")))
    shards = [Shard(number, 5) for number in range(1, 6)]
    places = {}
    for each in found("in", suffix=".png"):
        where = [shard for shard in shards if shard.has(each.output)]
        places.setdefault(each.output, set()).update(where)
    assert len(places) == 20
    assert all(len(where) == 1 for where in places.values())


@pytest.mark.parametrize(("text", "shard"), [("1/1", Shard(1, 1)), ("07/10", Shard(7, 10))])
def test_shards_are_read(text, shard):
    assert parse_shard(text) == shard


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "1",
        "1/",
        "/2",
        "0/2",
        "3/2",
        "-1/2",
        "1/2/3",
        "a/b",
        "1.0/2",
        "\u00b2/\u00b3",
        "\u0661/\u0662",
    ],
)
def test_other_shards_are_refused(text):
    with pytest.raises(InputError, match="is no part of a whole; try 1/4"):
        parse_shard(text)


# Places


def test_each_picture_has_places_of_its_own(tmp_path):
    place = Place(tmp_path)
    pictures = ["a.png", "a.tif", "b/a.png", "b/a.png.png", os.fsdecode(b"\xff.png")]
    for where in (place.log, place.run, lambda name: place.work(name, "one")):
        assert len({where(name) for name in pictures}) == len(pictures)
        assert all(where(name).is_relative_to(tmp_path / FOLDER) for name in pictures)
    assert place.work("a.png", "one") != place.work("a.png", "two")
    assert place.work("a.png", "one") == Place(tmp_path, Shard(1, 2)).work("a.png", "one")


def test_the_suffixes_are_those_of_the_formats():
    """They stand in `find` as well, since the formats load numpy and every decoder."""
    from guided_dip.batch.find import SUFFIXES, WRITTEN
    from guided_dip.images.formats import FORMATS

    assert tuple(suffix for holds in FORMATS.values() for suffix in holds.suffixes) == SUFFIXES
    assert tuple(holds.suffixes[0] for holds in FORMATS.values()) == WRITTEN
