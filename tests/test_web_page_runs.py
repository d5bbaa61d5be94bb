"""The page with the real job manager: what it gives is what the command line gives."""

from __future__ import annotations

import os
import shlex
import time
from contextlib import chdir, suppress
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("playwright")

import tifffile
from PIL import Image
from playwright.sync_api import expect

from guided_dip.cli import run
from guided_dip.web.limits import Limits
from guided_dip.web.queue import asking
from guided_dip.web.queue.manager import JobManager
from page_fakes import small_png, tiff16
from page_server import fill, serving
from test_web_page import (
    PATIENCE,
    begin,
    browser,
    choose_task,
    give,
    job_of,
    open_page,
    pytestmark,
    wait_done,
)

__all__ = ["browser", "open_page", "pytestmark"]  # fixtures of the other module


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setattr(asking, "PREVIEW_EVERY", 0.1)
    patch.setattr(asking, "TOLD_EVERY", 0.1)
    folder = tmp_path_factory.mktemp("runs")
    manager = JobManager(folder / "data", Limits(), workers=1, figures=False)
    with manager as jobs, serving(jobs, folder) as it:
        yield it
    patch.undo()


def advanced(page, lines):
    page.get_by_role("button", name="Advanced").click()
    fill(page, "Further settings", lines)


def downloaded(page):
    with page.expect_download() as loading:
        page.locator("#gd-view a.gd-first").click()
    return Path(loading.value.path()).read_bytes()


def by_command_line(page, served, place, *paths):
    """Carry out the command that the page shows, and return the bytes it writes."""
    state = served.jobs.state(job_of(page), "")
    shown = page.get_by_role("region", name="On the command line").inner_text()
    words = shlex.split(shown)
    assert words[:2] == ["guided-dip", "restore"]
    with chdir(place):
        assert run([*words[1:], "--quiet"]) == 0
        return Path(words[words.index("-o") + 1]).read_bytes(), state


def test_the_download_is_the_command_lines(open_page, served, tmp_path):
    small_png(tmp_path / "picture.png", side=24)
    page = open_page()
    seen = []
    page.on("request", lambda r: "/views/preview" in r.url and seen.append(r.url))
    advanced(page, "steps=400\ncount=3\nrestarts=1")
    page.get_by_label("Fast", exact=True).check()
    begin(page, tmp_path / "picture.png")
    wait_done(page)
    assert len(set(seen)) >= 3, "the live preview changes"
    data = downloaded(page)
    expected, _ = by_command_line(page, served, tmp_path)
    assert data == expected
    expect(page.locator("#gd-view .gd-noise")).to_contain_text("Noise:")
    for image in page.locator("#gd-view img").all():
        image.scroll_into_view_if_needed()
        assert image.evaluate("e => e.decode().then(() => e.naturalWidth)") == 24


def test_16_bits_of_tiff_come_back(open_page, served, tmp_path):
    tiff16(tmp_path / "cells.tif")
    page = open_page()
    advanced(page, "steps=20\ncount=2\nrestarts=1")
    page.get_by_label("Fast", exact=True).check()
    begin(page, tmp_path / "cells.tif")
    wait_done(page)
    data = downloaded(page)
    (tmp_path / "back.tif").write_bytes(data)
    back = tifffile.imread(tmp_path / "back.tif")
    assert back.dtype == np.uint16
    assert back.shape == (32, 40)
    assert len(np.unique(back)) > 256
    assert data == by_command_line(page, served, tmp_path)[0]


def test_what_is_drawn_over_is_filled_in(open_page, served, tmp_path):
    rows, columns = np.mgrid[:32, :32]
    pixels = np.stack([rows * 6, columns * 6, 0 * rows + 90], axis=2).astype(np.uint8)
    spoiled = pixels.copy()
    spoiled[14:18, 6:26] = 255
    Image.fromarray(spoiled).save(tmp_path / "spoiled.png")
    page = open_page()
    advanced(page, "steps=40\ncount=2")
    page.get_by_label("Fast", exact=True).check()
    page.get_by_role("button", name="Advanced").click()
    give(page, tmp_path / "spoiled.png")
    expect(page.locator("#gd-image .gd-has")).to_be_attached(timeout=PATIENCE)
    choose_task(page, "Inpaint")
    # Pixels that are there are taken for right, as on the command line.
    noise = page.locator("#gd-noise-field").locator("input, textarea")
    expect(noise).to_have_value("none", timeout=PATIENCE)
    canvas = page.locator("#gd-paint canvas")
    canvas.scroll_into_view_if_needed()
    page.locator("#gd-paint .gd-size").fill("12")
    box = canvas.bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.15, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.85, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    page.locator("#gd-start").click()
    wait_done(page)
    (tmp_path / "filled.png").write_bytes(downloaded(page))
    filled = np.asarray(Image.open(tmp_path / "filled.png")).astype(float)
    error = np.abs(filled - pixels)[14:18, 6:26].mean()
    assert error < 0.4 * np.abs(spoiled.astype(float) - pixels)[14:18, 6:26].mean()
    assert np.abs(filled - pixels)[:6].max() <= 1  # nothing else is touched


def test_stop_keeps_what_there_is(open_page, served, tmp_path):
    small_png(tmp_path / "long.png", side=32)
    page = open_page()
    advanced(page, "steps=50000\nrestarts=1")
    page.get_by_label("Fast", exact=True).check()
    begin(page, tmp_path / "long.png")
    expect(page.locator(".gd-preview")).to_be_visible(timeout=PATIENCE)
    page.get_by_role("button", name="Stop and keep this").click()
    wait_done(page)
    expect(page.locator("#gd-view .gd-status")).to_contain_text("Stopped")
    assert downloaded(page)


def test_cancel_ends_the_process_within_two_seconds(open_page, served, tmp_path):
    small_png(tmp_path / "long.png", side=32)
    page = open_page()
    advanced(page, "steps=50000\nrestarts=1")
    page.get_by_label("Fast", exact=True).check()
    begin(page, tmp_path / "long.png")
    expect(page.locator(".gd-preview")).to_be_visible(timeout=PATIENCE)
    executor = served.jobs._engine._coordinator.executor
    [pid] = [worker.pid for worker, left in executor._left.items() if left]
    begun = time.monotonic()
    page.get_by_role("button", name="Cancel").click()
    while not is_gone(pid) and time.monotonic() - begun < 20:
        time.sleep(0.02)
    assert time.monotonic() - begun < 2
    expect(page.locator("#gd-view .gd-status")).to_contain_text("Cancelled", timeout=PATIENCE)


def is_gone(pid):
    with suppress(OSError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    return True


def test_settings_that_do_not_go_together_are_told(open_page, tmp_path):
    small_png(tmp_path / "a.png")
    page = open_page()
    advanced(page, "shedule=cosine")
    begin(page, tmp_path / "a.png")
    expect(page.locator("#gd-told .gd-error")).to_contain_text("schedule", timeout=PATIENCE)
