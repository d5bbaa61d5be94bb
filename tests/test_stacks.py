"""Stacks: every page restored by itself, and a file of them again."""

import json
import signal

import numpy as np
import pytest
import tifffile
from skimage import data

from guided_dip.cli import run as command
from guided_dip.images import Picture, count_pages, read, write

TINY = ["--steps", "4", "--set", "backbone_options={width: 4, scales: 2}", "--set", "threads=1"]
TINY += ["--noise", "gaussian:20", "--set", "check_noise=false"]
OME = (
    '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
    '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="32" '
    'SizeY="24" SizeZ="3" SizeC="1" SizeT="1" PhysicalSizeX="0.1"><Channel ID="Channel:0:0" '
    'SamplesPerPixel="1"/><TiffData/></Pixels></Image></OME>'
)


def slices(count=3):
    gray = data.chelsea()[..., 1].astype(np.uint16) * 200
    return np.stack([gray[20 + k : 44 + k, 100:132] for k in range(count)])


def save(name, pages, **told):
    tifffile.imwrite(name, pages, photometric="minisblack", metadata=None, **told)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    noisy = slices() + np.random.default_rng(0).normal(0, 5000, (3, 24, 32))
    save("stack.tif", noisy.clip(0, 65535).astype(np.uint16))
    save("clean.tif", slices())
    return tmp_path


def restore(*arguments):
    return command(["restore", *map(str, arguments)])


def pages_of(path):
    with tifffile.TiffFile(path) as file:
        return [page.asarray() for page in file.pages]


def test_every_page_is_restored_as_it_is_by_itself(here, capsys):
    assert restore("stack.tif", "-o", "out.tif", "--clean", "clean.tif", *TINY) == 0
    said = capsys.readouterr()
    assert "out.tif: 3 pages done in" in said.out
    assert "mean PSNR" in said.out
    assert "page 2 of 3" in said.err
    out = pages_of("out.tif")
    assert [page.dtype for page in out] == [np.uint16] * 3
    for number, page in enumerate(out):
        one = f"one-{number}.tif"
        assert restore("stack.tif", "--page", number, "-o", one, *TINY) == 0
        assert np.array_equal(read(one).pixels, page)
    assert sorted(path.name for path in here.iterdir()) == [
        *("clean.tif", "one-0.tif", "one-1.tif", "one-2.tif", "out.tif", "stack.tif"),
    ]


def test_what_is_said_of_a_whole_stack_goes_along(here):
    pages = np.stack(pages_of("stack.tif"))
    save("ome.tif", pages, description=OME)
    save("dpi.tif", pages, resolution=(250.0, 250.0), resolutionunit="centimeter")
    assert restore("ome.tif", "-o", "out.tif", *TINY) == 0
    with tifffile.TiffFile("out.tif") as file:
        assert file.is_ome
        assert 'PhysicalSizeX="0.1"' in file.ome_metadata
        assert file.series[0].shape == (3, 24, 32)
    assert restore("dpi.tif", "-o", "dpi-out.tif", *TINY) == 0
    assert read("dpi-out.tif", page=2).resolution.x == pytest.approx(250)


def test_a_stack_s_runs_are_kept_where_they_are_wanted(here, capsys):
    assert restore("stack.tif", "--run-dir", "runs", "--json", *TINY) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["pages"]) == 3
    assert told["output"] is None
    for page in range(3):
        assert (here / "runs" / f"page-{page:04d}" / "summary.json").is_file()
    assert restore("stack.tif", "--run-dir", "runs", *TINY) == 2
    assert "try --resume runs to go on with it" in capsys.readouterr().err
    assert restore("stack.tif", "--run-dir", "runs", "--overwrite", *TINY) == 0


def test_one_mask_is_for_all_pages(here):
    mask = np.zeros((24, 32), np.uint8)
    mask[5:9, 10:20] = 255
    write("mask.png", Picture(mask))
    settings = [*TINY[:6], "--mask", "mask.png"]
    assert restore("stack.tif", "-o", "out.tif", *settings) == 0
    for before, after in zip(pages_of("stack.tif"), pages_of("out.tif"), strict=True):
        assert np.array_equal(before[mask == 0], after[mask == 0])
        assert not np.array_equal(before[mask > 0], after[mask > 0])


@pytest.mark.parametrize("place", [["--run-dir", "runs"], []], ids=["run folder", "beside"])
def test_a_stack_that_is_cut_goes_on_where_it_was(here, capsys, monkeypatch, place):
    assert restore("stack.tif", "-o", "whole.tif", *TINY) == 0
    from guided_dip.restoration import Restoration

    taken, begun = Restoration.take, []

    def interrupted(self, course, step):
        begun.append(step.index)
        if len(begun) == 6:
            signal.raise_signal(signal.SIGINT)
        return taken(self, course, step)

    with monkeypatch.context() as patched:
        patched.setattr(Restoration, "take", interrupted)
        assert restore("stack.tif", "-o", "out.tif", *place, *TINY) == 130
    error = capsys.readouterr().err
    folder = "runs" if place else "out.run"
    assert (
        f"interrupted at page 2 of 3; to go on: guided-dip restore stack.tif --resume {folder}"
        in (error.splitlines()[-1])
    )
    assert not (here / "out.tif").exists()
    assert restore("clean.tif", "--resume", folder, "-o", "out.tif") == 2
    assert "is of another stack" in capsys.readouterr().err
    assert restore("stack.tif", "--resume", folder, "-o", "out.tif") == 0
    assert (here / "out.tif").read_bytes() == (here / "whole.tif").read_bytes()


REFUSED = {
    "format": (["-o", "out.png"], "PNG has no pages; try .tif"),
    "no place": ([], "there is no place for the result"),
    "itself": (["-o", "stack.tif", "--overwrite"], "is the input"),
    "folder in use": (["-o", "used.tif"], "used.run: exists already; try another place"),
    "short clean stack": (["-o", "out.tif", "--clean", "short.tif"], "there is no page 2"),
    "nothing to resume": (["-o", "out.tif", "--resume", "used.run"], "holds no run"),
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.values(), ids=REFUSED)
def test_refusals(here, capsys, arguments, message):
    (here / "used.run").mkdir()
    (here / "used.run" / "mine.txt").write_text("mine")
    save("short.tif", slices(2))
    settings = [] if "--resume" in arguments else TINY
    assert restore("stack.tif", *arguments, *settings) == 2
    assert message in capsys.readouterr().err
    assert (here / "used.run" / "mine.txt").read_text() == "mine"
    assert not (here / "out.tif").exists()


def test_pages_are_counted(here):
    assert count_pages("stack.tif") == 3
    write("one.png", Picture(np.zeros((3, 4), np.uint8)))
    assert count_pages("one.png") == 1
    (here / "bad.tif").write_bytes(b"II*\0" + b"\1" * 40)
    assert count_pages("bad.tif") == 1


@pytest.fixture
def large(here):
    """Pages of 40 x 48 pixels, large enough for squares of them."""
    gray = data.chelsea()[..., 1].astype(np.uint16) * 200
    clean = np.stack([gray[20 + k : 60 + k, 100:148] for k in range(3)])
    noisy = clean + np.random.default_rng(0).normal(0, 5000, clean.shape)
    save("clean.tif", clean)
    save("stack.tif", noisy.clip(0, 65535).astype(np.uint16), description=OME_LARGE)
    return here


OME_LARGE = OME.replace('SizeX="32"', 'SizeX="48"').replace('SizeY="24"', 'SizeY="40"')


def test_one_network_for_all_pages(large, capsys):
    scored = ["--clean", "clean.tif", "--run-dir", "run"]
    assert restore("stack.tif", "--joint", "-o", "out.tif", *scored, *TINY) == 0
    said = capsys.readouterr()
    assert "3 pages of 48x40 gray uint16" in said.err
    assert "PSNR" in said.out
    assert "page 2 of 3" not in said.err
    given, out = pages_of("stack.tif"), pages_of("out.tif")
    assert [(page.shape, page.dtype) for page in out] == [((40, 48), np.uint16)] * 3
    for before, after in zip(given, out, strict=True):
        assert after.mean() == pytest.approx(before.mean(), rel=1e-3)
        assert not np.array_equal(before, after)
    with tifffile.TiffFile("out.tif") as file:
        assert 'PhysicalSizeX="0.1"' in file.ome_metadata
    summary = json.loads((large / "run" / "summary.json").read_text())
    assert summary["steps"] == 4
    assert (large / "run" / "comparison.png").is_file()
    told = ["--config", "run/config.yaml", "-o", "again.tif"]
    assert restore("stack.tif", *told) == 0
    assert (large / "again.tif").read_bytes() == (large / "out.tif").read_bytes()


def test_a_joint_run_that_is_cut_goes_on(large, capsys, monkeypatch):
    assert restore("stack.tif", "--joint", "-o", "whole.tif", *TINY) == 0
    from guided_dip.restoration import Restoration

    taken = Restoration.take

    def interrupted(self, course, step):
        if step.index == 2:
            signal.raise_signal(signal.SIGINT)
        return taken(self, course, step)

    with monkeypatch.context() as patched:
        patched.setattr(Restoration, "take", interrupted)
        assert restore("stack.tif", "--joint", "-o", "out.tif", *TINY) == 130
    assert "to go on: guided-dip restore stack.tif --resume out.run" in capsys.readouterr().err
    assert restore("stack.tif", "--resume", "out.run", "-o", "out.tif") == 0
    assert (large / "out.tif").read_bytes() == (large / "whole.tif").read_bytes()


def test_a_mask_of_a_page_or_of_all_of_them_in_a_joint_run(large):
    mask = np.zeros((3, 40, 48), np.uint8)
    mask[:, 5:9, 10:20] = 255
    write("mask.png", Picture(mask[0]))
    write("masks.png", Picture(mask.reshape(120, 48)))
    for name in ("mask", "masks"):
        settings = [*TINY[:6], "--joint", "--mask", f"{name}.png", "-o", f"{name}.tif"]
        assert restore("stack.tif", *settings) == 0
    assert (large / "mask.tif").read_bytes() == (large / "masks.tif").read_bytes()
    for before, after in zip(pages_of("stack.tif"), pages_of("mask.tif"), strict=True):
        assert np.array_equal(before[mask[0] == 0], after[mask[0] == 0])
        assert not np.array_equal(before[mask[0] > 0], after[mask[0] > 0])


JOINT_REFUSED = {
    "page": (["--page", "1"], "is for all pages, not for page 1"),
    "region": (["--region", "0,0,9,9"], "omit --joint"),
    "format": (["-o", "out.png"], "PNG has no pages"),
    "clean": (["--clean", "short.tif"], "has 2 pages, not 3"),
    "task": (["--scale", "2"], "in the tasks denoise and inpaint"),
    "supervision": (["--supervision", "observation"], "restore them one by one"),
    "whole": (["--set", "patch=0"], "leave out patch"),
    "tile": (["--set", "tile=0"], "leave out patch"),
    "large": (
        ["--max-pixels", "3000"],
        "48x40 are more than the 3,000 pixels allowed; try --max-pixels 5760",
    ),
}


@pytest.mark.parametrize(("arguments", "message"), JOINT_REFUSED.values(), ids=JOINT_REFUSED)
def test_refusals_of_joint_runs(large, capsys, arguments, message):
    save("short.tif", slices(2))
    output = [] if "-o" in arguments else ["-o", "out.tif"]
    settings = TINY if "supervision" not in arguments[0] else []
    assert restore("stack.tif", "--joint", *output, *settings, *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 1
    assert not (large / "out.tif").exists()


def test_pages_that_differ_or_are_too_few_or_too_small(here, capsys):
    assert restore("stack.tif", "--joint", "-o", "out.tif", *TINY) == 2
    assert "32x24 pixels are too small to be restored together" in capsys.readouterr().err
    with tifffile.TiffWriter("mixed.tif") as file:
        file.write(np.zeros((40, 48), np.uint8), photometric="minisblack")
        file.write(np.zeros((40, 40), np.uint8), photometric="minisblack")
    assert restore("mixed.tif", "--joint", "-o", "out.tif", *TINY) == 2
    assert "its pages differ in size, type or channels (0 and 1)" in capsys.readouterr().err
    write("one.png", Picture(np.zeros((40, 48), np.uint8)))
    assert restore("one.png", "--joint", "-o", "out.tif", *TINY) == 2
    assert "--joint: one.png has one page; leave it out" in capsys.readouterr().err
