"""Which value is white, from file to file: stacks, regions, runs that go on, batches, FITS."""

import json
import signal

import numpy as np
import pytest
import tifffile

from batch_work import Work, orders
from guided_dip.cli import run as command
from guided_dip.images import Picture, count_pages, from_float, read, white_of_file, write
from guided_dip.metrics import psnr
from guided_dip.plots import redraw
from guided_dip.restoration import Restoration
from guided_dip.runs import load_run
from test_white import counts

TINY = ["--steps", "4", "--set", "backbone_options={width: 4, scales: 2}", "--set", "threads=1"]
TOLD = ["--noise", "gaussian:20", "--set", "check_noise=false"]
NOTE = "white is 4095, as the brightest value is 3811 (--white type: 65535)"


def save(name, pages):
    tifffile.imwrite(name, pages, photometric="minisblack", metadata=None)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A picture of 12 bits, and a stack whose first page alone would have another white."""
    monkeypatch.chdir(tmp_path)
    write("counts.tif", Picture(counts()))
    write("clean.tif", Picture(counts(seed=1)))
    save("stack.tif", np.stack([counts(brightest=high) for high in (700, 3811, 1500)]))
    return tmp_path


def restore(*arguments):
    return command(["restore", *map(str, arguments)])


def restored(*arguments):
    assert restore(*arguments, "-o", "out.tif", "--overwrite", *TINY) == 0
    pages = [read("out.tif", page=page).pixels for page in range(count_pages("out.tif"))]
    return pages[0] if len(pages) == 1 else np.stack(pages)


def interrupted(monkeypatch, step):
    """Have the signal come at a step, of all that are taken."""
    take, taken = Restoration.take, []

    def cut(self, course, at):
        taken.append(at.index)
        if len(taken) == step:
            signal.raise_signal(signal.SIGINT)
        return take(self, course, at)

    monkeypatch.setattr(Restoration, "take", cut)


def test_the_command_says_which_white_it_takes(here, capsys):
    result = restored("counts.tif", *TOLD)
    said = capsys.readouterr()
    assert NOTE in said.out
    assert f"24 gray uint16, noise gaussian:20, {NOTE}; " in said.err
    assert result.dtype == np.uint16
    assert abs(result.mean() - counts().mean()) < 5
    np.testing.assert_array_equal(restored("counts.tif", "--white", "4095", *TOLD), result)
    assert "white is" not in "".join(capsys.readouterr())
    assert (restored("counts.tif", "--white", "type", *TOLD) != result).any()
    assert "white is" not in "".join(capsys.readouterr())


@pytest.mark.parametrize("white", ["0", "-5", "nan", "bright", ""])
def test_what_is_no_white_is_refused_in_a_line(here, capsys, white):
    assert restore("counts.tif", "-o", "out.tif", f"--white={white}") == 2
    error = capsys.readouterr().err
    assert "error: white cannot be " in error
    assert "try auto, type or a number above 0" in error
    assert error.count("\n") == 1
    assert restore("counts.tif", "--resume", "out.run", "--white", "5") == 2
    assert "leave out --white" in capsys.readouterr().err
    assert command(["diffuse", "counts.tif", "-o", "strip.png", f"--white={white}"]) == 2


def test_a_run_folder_is_in_units_of_white(here):
    restored("counts.tif", "--run-dir", "run", "--clean", "clean.tif", *TOLD)
    run = load_run(here / "run")
    assert run.config.white == 4095
    assert NOTE in run.summary.note
    np.testing.assert_allclose(run.restored * 4095, read("out.tif").pixels, atol=1e-3)
    assert run.input.max() == pytest.approx(3811 / 4095, abs=0.01)
    left_out = counts().astype(float) - read("out.tif").pixels
    np.testing.assert_allclose(run.residual * 4095, left_out, atol=1e-3)
    expected = psnr(counts() / 4095, counts(seed=1) / 4095, data_range=1.0)
    assert run.summary.scores_before.psnr == pytest.approx(expected, abs=1e-3)
    redraw(here / "run")


def test_a_run_folder_from_before_has_the_type_s_white(here):
    restored("counts.tif", "--run-dir", "run", "--white", "type", *TOLD)
    config = here / "run" / "config.yaml"
    config.write_text(config.read_text().replace("\nwhite: type\n", "\n"))
    assert "\nwhite:" not in config.read_text()
    expected = read("out.tif").pixels / 65535
    np.testing.assert_allclose(load_run(here / "run").restored, expected, atol=1e-6)


def test_alpha_is_kept_and_does_not_count(here):
    alpha = np.full((24, 32), 65535, np.uint16)
    alpha[:4] = 7
    write("with.png", Picture(counts((24, 32, 3)), alpha=alpha))
    assert restore("with.png", "-o", "out.png", "--run-dir", "run", *TINY, *TOLD) == 0
    np.testing.assert_array_equal(read("out.png").alpha, alpha)
    assert load_run(here / "run").config.white == 4095


def test_a_region_has_the_white_of_the_whole(here):
    result = restored("counts.tif", "--region", "0,0,16,12", "--run-dir", "run", *TOLD)
    assert load_run(here / "run").config.white == 4095
    np.testing.assert_array_equal(result[12:], counts()[12:])
    assert (result[:12, :16] != counts()[:12, :16]).any()


def test_hot_pixels_under_a_mask_do_not_count(here):
    hot = counts()
    hot[3, 4] = 65535
    write("hot.tif", Picture(hot))
    mask = np.zeros(hot.shape, np.uint8)
    mask[3, 4] = 255
    write("mask.png", Picture(mask))
    result = restored("hot.tif", "--mask", "mask.png", "--run-dir", "run")
    assert load_run(here / "run").config.white == 4095
    assert result[3, 4] < 5000
    np.testing.assert_array_equal(result[mask == 0], hot[mask == 0])


def test_pages_agree_whether_restored_together_or_alone(here, capsys):
    pages = restored("stack.tif", *TOLD)
    assert capsys.readouterr().err.count(NOTE) == 3
    for page in range(3):
        np.testing.assert_array_equal(restored("stack.tif", "--page", page, *TOLD), pages[page])
    assert white_of_file("stack.tif") == white_of_file("stack.tif", page=0) == 4095
    large = np.stack([counts((40, 48), brightest=high) for high in (700, 3811)])
    save("large.tif", large)
    restored("large.tif", "--joint", "--run-dir", "run", *TOLD)
    assert load_run(here / "run").config.white == 4095


def test_pages_of_other_types_and_damaged_ones_do_not_count(here):
    with tifffile.TiffWriter("mixed.tif") as file:
        for page in (counts(dtype=np.uint8, brightest=200), counts(brightest=900)):
            file.write(page, photometric="minisblack", metadata=None)
        file.write(np.zeros((24, 32, 4), np.uint8), photometric="separated", metadata=None)
    assert white_of_file("mixed.tif", page=0) == "type"
    assert white_of_file("mixed.tif", page=1) == 1023
    restored("mixed.tif", "--page", 1, "--run-dir", "run", *TOLD)
    assert load_run(here / "run").config.white == 1023


def test_a_dark_page_and_a_part_of_a_fits_file_are_no_hindrance(here):
    save("dark.tif", np.stack([np.zeros((24, 32), np.uint16), counts(brightest=700)]))
    assert white_of_file("dark.tif", page=0) == white_of_file("dark.tif", page=1) == 1023
    assert restored("dark.tif", *TOLD).shape == (2, 24, 32)
    fits = pytest.importorskip("astropy.io.fits")
    parts = [fits.PrimaryHDU(counts(dtype=np.int16)), fits.ImageHDU(counts(dtype=np.int16) // 8)]
    fits.HDUList(parts).writeto("parts.fits")
    assert [white_of_file("parts.fits", page=page) for page in (0, 1)] == [4095, 511]


def test_a_bright_page_makes_white_the_type_s(here):
    save("bright.tif", np.stack([counts(brightest=high) for high in (700, 50000)]))
    assert white_of_file("bright.tif", page=0) == "type"


@pytest.mark.parametrize("file", ["counts.tif", "stack.tif"])
@pytest.mark.parametrize("old", [False, True])
def test_what_is_cut_goes_on_with_the_white_that_it_had(here, capsys, monkeypatch, file, old):
    """A run from before there was a choice goes on with its type's."""
    white = ["--white", "type"] if old else []
    whole = restored(file, *white, *TOLD)
    said = NOTE in capsys.readouterr().out
    with monkeypatch.context() as patched:
        interrupted(patched, 6 if file == "stack.tif" else 2)
        assert restore(file, "-o", "cut.tif", *white, *TOLD, *TINY) == 130
    begun = next(here.glob("cut.run/**/begun.json"))
    about = json.loads(begun.read_text())
    assert about["config"]["white"] == ("type" if old else 4095)
    if old:
        for path in (begun, here / "cut.run" / "stack.json"):
            if path.exists():
                kept = json.loads(path.read_text())
                del kept["config"]["white"], kept["extremes"]
                path.write_text(json.dumps(kept))
    capsys.readouterr()
    assert restore(file, "--resume", "cut.run", "-o", "cut.tif") == 0
    assert (NOTE in capsys.readouterr().out) == said
    there = [read("cut.tif", page=page).pixels for page in range(count_pages("cut.tif"))]
    np.testing.assert_array_equal(np.squeeze(there), whole)


def test_pictures_of_a_batch_each_have_their_own(tmp_path):
    work = Work(tmp_path)
    for name, brightest in (("a.png", 3811), ("b.png", 900), ("c.png", 60000)):
        write(tmp_path / "in" / name, Picture(counts(brightest=brightest)))
    tiny = orders()
    ends = work.carry_out("a.png", "b.png", "c.png", with_=tiny)
    notes = {name: end.done.note for name, end in ends.items()}
    assert NOTE in notes["a.png"]
    assert "white is 1023" in notes["b.png"]
    assert "white is" not in notes["c.png"]
    assert tiny.content() == orders(settings={"white": "auto"}).content()
    assert "white" not in tiny.content()["settings"]
    told = orders(settings={"white": 4095})
    assert told.content()["settings"]["white"] == 4095
    end = work.carry_out(work.item("b.png", ours=True), with_=told)["b.png"]
    assert "white is" not in end.done.note


def test_counts_in_a_fits_file_are_restored_in_units_of_a_white_that_is_stated(here, capsys):
    pytest.importorskip("astropy")
    from astropy.io import fits

    values = counts().astype(np.float32)
    fits.PrimaryHDU(values).writeto("counts.fits")
    assert restore("counts.fits", "-o", "out.fits", "--white", "4095", *TINY, *TOLD) == 0
    result = read("out.fits").pixels
    np.testing.assert_array_equal(np.rint(result), restored("counts.tif", *TOLD))


def test_a_dim_gain_has_a_white_of_its_own(here):
    gain = np.linspace(0.4, 1, 24 * 32).reshape(24, 32)
    write("bright.tif", Picture((counts() * gain).astype(np.uint16)))
    write("gain-16.tif", Picture(from_float(gain, np.uint16)))
    write("gain-12.tif", Picture(from_float(gain, np.uint16, 4095)))
    told = ["--noise", "gaussian:20"]
    full, dim = (restored("bright.tif", "--gain", f"gain-{k}.tif", *told) for k in (16, 12))
    assert np.abs(full.astype(int) - dim).max() < 60
    assert (full != counts()).any()
