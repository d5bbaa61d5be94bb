"""Every bad input gives one line that says what is wrong, and changes nothing."""

import pytest

from bad_pictures import CASES
from guided_dip.cli import run
from guided_dip.errors import InputError
from guided_dip.images import read

# The command restores all pages of a TIFF; read() wants one of them named.
REFUSED = [case for case in CASES if case.name != "TIFF stack"]
UNREADABLE = [case for case in CASES if not (case.options or case.readable)]


def contents(folder):
    return {
        path: path.read_bytes() if path.is_file() and not path.is_symlink() else None
        for path in folder.rglob("*")
    }


def test_there_are_many():
    assert len(CASES) >= 60
    assert len({case.name for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", UNREADABLE, ids=lambda case: case.name)
def test_reading_says_what_is_wrong(tmp_path, case):
    path = case.build(tmp_path)
    with pytest.raises(InputError) as error:
        read(path)
    line = str(error.value)
    assert line.startswith(f"{path}: ")
    assert case.expected in line
    assert "\n" not in line


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_the_command_says_what_is_wrong(tmp_path, capfd, case):
    (tmp_path / "input").mkdir()
    path = case.build(tmp_path / "input")
    before = contents(tmp_path)
    words = ["restore", str(path), *case.options, "--steps", "2", "--noise", "gaussian:25"]
    places = ["-o", str(tmp_path / "out.tif"), "--run-dir", str(tmp_path / "run")]
    assert run([*words, *places]) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("guided-dip: error: ")
    assert case.expected in err
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert contents(tmp_path) == before
