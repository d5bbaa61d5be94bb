"""Files appear whole or not at all."""

import errno
import os

import pytest

from guided_dip.errors import InputError, RunError
from guided_dip.files import check_place, write_whole
from guided_dip.words import one_line


@pytest.mark.parametrize(("data", "expected"), [(b"\x00\xff", b"\x00\xff"), ("é\n", b"\xc3\xa9\n")])
def test_content_is_written_and_nothing_else(tmp_path, data, expected):
    write_whole(tmp_path / "a", data)
    assert (tmp_path / "a").read_bytes() == expected
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_file_that_was_there_leaves_its_permissions(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    path.chmod(0o640)
    write_whole(path, "new")
    assert path.read_text() == "new"
    assert path.stat().st_mode & 0o777 == 0o640


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "file")
    write_whole(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "file").read_text() == "text"


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), RunError),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ],
)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, step, failure, expected):
    path = tmp_path / "a"
    path.write_bytes(b"old")

    def fail(*_):
        raise failure

    if step == "fsync":
        monkeypatch.setattr(os, "fsync", fail)
    else:
        monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(expected) as caught:
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    if expected is RunError:
        assert "No space left on device" in str(caught.value)
        assert str(path) in str(caught.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(RunError, match="No such file or directory"):
        write_whole(tmp_path / "nowhere" / "a", b"")
    assert list(tmp_path.iterdir()) == []


def test_a_place_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    there = tmp_path / "there"
    there.write_bytes(b"old")
    for path, problem in (
        (tmp_path / "nowhere" / "a", "there is no folder"),
        (tmp_path, "is a folder"),
        (there, "exists already; try another name, or --overwrite"),
    ):
        with pytest.raises(InputError, match=problem):
            check_place(path)
    check_place(there, overwrite=True)
    check_place(tmp_path / "new")
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(InputError, match="is read-only"):
        check_place(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["there"]


def test_a_name_as_long_as_names_can_be(tmp_path):
    write_whole(tmp_path / ("a" * 255), b"x")
    assert len(list(tmp_path.iterdir())) == 1


def test_one_line():
    assert one_line("a\nb\r\nc") == "a b c"
    assert one_line("\udcff.png") == "\\udcff.png"
