"""The page in a browser: what people do with it, with mouse, finger and keyboard."""

from __future__ import annotations

import io
import os
import re
import shutil
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gradio")
pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")

from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import expect, sync_playwright

from guided_dip.web.limits import Limits
from page_fakes import RunningJobs, small_png, tiff16
from page_server import fill, serving

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    # Of the pandas that Gradio counts its events with.
    pytest.mark.filterwarnings("ignore:.*(no_silent_downcasting|copy keyword is deprecated)"),
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium: try 'apt-get install chromium'"),
]
PATIENCE = 90_000  # ms; CI's machine is small, and busy
expect.set_options(timeout=PATIENCE)
PHONE = {"width": 390, "height": 844}
DESK = {"width": 1280, "height": 900}
TABS = ("Restore", "History", "Plan", "Compare", "Help")
MOST = 2**20  # bytes of an upload
# Where pictures for the documentation go, such as docs/images; none are taken without it.
SCREENSHOTS = os.environ.get("GUIDED_DIP_SCREENSHOTS")


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    jobs = RunningJobs(folder, Limits(upload=MOST, pixels=2**18), pace=0.5)
    with serving(jobs, folder) as it:
        yield it
    jobs.ending.set()


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        it = playwright.chromium.launch(
            executable_path=CHROMIUM,
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        yield it
        it.close()


class Asked:
    """What a browser's context asks for; nothing of it may go elsewhere or fail."""

    def __init__(self, context, url):
        self.foreign, self.broken, self.errors = [], [], []
        own = (url + "/", f"blob:{url}/", "data:")
        context.on("request", lambda r: r.url.startswith(own) or self.foreign.append(r.url))
        context.on(
            "response",
            lambda r: r.status < 400 or self.broken.append((r.status, r.url)),
        )
        context.on("weberror", lambda e: self.errors.append(str(e.error)))


@pytest.fixture
def open_page(browser, served):
    """Open the page, with whatever a context can be given; at the end look at what was asked."""
    opened = []

    def open_(path="/", url=served.url, **given):
        context = browser.new_context(**({"viewport": DESK} | given))
        context.set_default_timeout(PATIENCE)
        asked = Asked(context, url)
        page = context.new_page()
        page.asked = asked
        opened.append((context, asked))
        page.goto(url + path)
        expect(page.locator("#gd-image .gd-drop")).to_be_visible(timeout=PATIENCE)
        expect(page.locator("#gd-view .gd-job")).to_be_visible(timeout=PATIENCE)
        return page

    yield open_
    for context, asked in opened:
        context.close()
        assert asked.foreign == []
        assert asked.errors == []
        assert [url for status, url in asked.broken if not is_usual(status, url)] == []


def is_usual(status, url):
    """Tell whether a request may fail: of an upload, or of an estimate whose job has just ended."""
    return "/page/uploads" in url or (status == 404 and "/views/preview?" in url)


def give(page, path, place="#gd-image"):
    page.locator(f"{place} input[type=file]").set_input_files(path)


def begin(page, path):
    give(page, path)
    expect(page.locator("#gd-image .gd-drop.gd-has")).to_be_attached(timeout=PATIENCE)
    page.locator("#gd-start").click()


def wait_done(page):
    expect(page.locator("#gd-view .gd-job[data-status=done]")).to_be_attached(timeout=PATIENCE)


def job_of(page):
    return page.locator("#gd-view .gd-job").get_attribute("data-job")


def serious(page):
    """Return what axe finds that is serious."""
    found = Axe().run(page).response["violations"]
    return [
        (v["id"], v["nodes"][0]["html"][:200], v["nodes"][0]["failureSummary"])
        for v in found
        if v["impact"] in ("serious", "critical")
    ]


def picture(page, name, **given):
    """Take a picture for the documentation, if some are wanted."""
    if SCREENSHOTS:
        page.wait_for_timeout(700)
        shot = page.screenshot(**given)
        image = Image.open(io.BytesIO(shot)).convert("RGB").quantize(200, dither=Image.Dither.NONE)
        image.save(Path(SCREENSHOTS) / f"web-{name}.png", optimize=True)


def test_upload_preview_done_slider_download(open_page, served, tmp_path):
    small_png(tmp_path / "a <b>.png")
    page = open_page()
    seen = []
    page.on("request", lambda r: "/views/preview" in r.url and seen.append(r.url))
    begin(page, tmp_path / "a <b>.png")
    expect(page.locator("#gd-view progress")).to_be_visible(timeout=PATIENCE)
    expect(page.locator("#gd-view .gd-facts")).to_contain_text("Time left")
    expect(page.locator("#gd-view svg.gd-chart").first).to_be_visible(timeout=PATIENCE)
    wait_done(page)
    assert len(set(seen)) >= 3, "the live preview changes"
    assert page.locator("#gd-view h2").inner_text() == "a <b>.png"
    # The slider shows more of one picture or of the other.
    slider = page.locator(".gd-slider")
    before = slider.locator(".gd-before")
    clip = before.evaluate("e => getComputedStyle(e).clipPath")
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2)
    moved = before.evaluate("e => getComputedStyle(e).clipPath")
    assert moved != clip
    slider.locator("input").focus()
    page.keyboard.press("Home")
    assert slider.evaluate("e => e.style.getPropertyValue('--at')") == "0%"
    for image in page.locator("#gd-view img").all():
        image.scroll_into_view_if_needed()
        assert image.evaluate("e => e.decode().then(() => e.naturalWidth)") == 40
    with page.expect_download() as loading:
        page.get_by_role("link", name=re.compile("Download the restoration")).click()
    state = served.jobs.state(job_of(page), "")
    result = served.jobs.view(state.id, "", "result")
    assert loading.value.suggested_filename == "a _b_-restored.png"  # as browsers have it
    assert Path(loading.value.path()).read_bytes() == result.read_bytes()
    with page.expect_download() as loading:
        page.get_by_role("link", name=re.compile("run folder")).click()
    assert loading.value.suggested_filename.endswith(".zip")


def test_the_noise_the_score_and_the_commands_are_told(open_page):
    page = open_page()
    page.locator("#gd-examples button").first.click()
    expect(page.locator("#gd-clean .gd-has")).to_be_attached(timeout=PATIENCE)
    page.locator("#gd-start").click()
    wait_done(page)
    view = page.locator("#gd-view")
    expect(view).to_contain_text("Gaussian noise, sigma 24.8 of 255, estimated")
    expect(view).to_contain_text("20.17 → 29.41 dB")
    expect(view).to_contain_text("oracle")
    expect(view.locator("svg.gd-chart")).to_have_count(2)
    expect(view.locator(".gd-zoom")).to_have_count(3)
    expect(view.get_by_role("region", name="On the command line")).to_contain_text(
        "guided-dip restore astronaut.png"
    )
    image = view.locator(".gd-zoom img").first
    left = image.evaluate("e => e.style.left")
    view.locator(".gd-x").fill("100")
    assert image.evaluate("e => e.style.left") != left
    view.locator(".gd-zoom").first.click(position={"x": 5, "y": 5})
    assert float(view.locator(".gd-x").input_value()) < 100


def test_stop_gives_the_current_estimate(open_page, served, tmp_path):
    small_png(tmp_path / "a.png")
    served.jobs.held.set()
    try:
        page = open_page()
        begin(page, tmp_path / "a.png")
        page.get_by_role("button", name="Stop and keep this").click()
        wait_done(page)
    finally:
        served.jobs.held.clear()
    expect(page.locator("#gd-view .gd-status")).to_contain_text("Stopped")
    expect(page.locator(".gd-slider")).to_be_visible()
    expect(page.locator("#gd-stop")).to_have_count(0)


def test_cancel(open_page, served, tmp_path):
    small_png(tmp_path / "a.png")
    served.jobs.held.set()
    try:
        page = open_page()
        begin(page, tmp_path / "a.png")
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#gd-view .gd-status")).to_contain_text("Cancelled", timeout=PATIENCE)
    finally:
        served.jobs.held.clear()
    assert served.jobs.state(job_of(page), "").status == "cancelled"


def test_a_reload_and_another_tab_find_the_job(open_page, served, tmp_path):
    small_png(tmp_path / "kept.png")
    page = open_page()
    begin(page, tmp_path / "kept.png")
    expect(page.locator("#gd-view progress")).to_be_visible(timeout=PATIENCE)
    id = job_of(page)
    expect(page).to_have_url(re.compile(f"job={id}"))
    page.reload()
    expect(page.locator(f"#gd-view .gd-job[data-job='{id}']")).to_be_visible(timeout=PATIENCE)
    wait_done(page)
    other = open_page()
    other.get_by_role("tab", name="History").click()
    other.get_by_role("button", name="Open kept.png").first.click()
    expect(other.locator(f"#gd-view .gd-job[data-job='{id}']")).to_be_visible(timeout=PATIENCE)
    other.get_by_role("tab", name="History").click()
    count = other.locator("#gd-history li").count()
    other.get_by_role("button", name="Remove kept.png").first.click()
    expect(other.locator("#gd-history li")).to_have_count(count - 1, timeout=PATIENCE)
    page.reload()
    expect(page.locator("#gd-view")).to_contain_text("not here any more", timeout=PATIENCE)


def test_a_mask_is_drawn(open_page, served, tmp_path):
    small_png(tmp_path / "a.png", side=64)
    page = open_page()
    give(page, tmp_path / "a.png")
    expect(page.locator("#gd-image .gd-has")).to_be_attached(timeout=PATIENCE)
    choose_task(page, "Inpaint")
    canvas = page.locator("#gd-paint canvas")
    expect(canvas).to_be_visible(timeout=PATIENCE)
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    at = [(box["x"] + box["width"] * x, box["y"] + box["height"] / 4) for x in (0.2, 0.8)]
    page.mouse.move(*at[0])
    page.mouse.down()
    page.mouse.move(*at[1], steps=5)
    page.mouse.up()
    expect(page.locator("#gd-paint .gd-told")).to_contain_text("% of the picture")
    canvas.focus()  # the keyboard paints, too
    for _ in range(10):
        page.keyboard.press("Shift+ArrowDown")
    page.keyboard.press("Space")
    page.locator("#gd-start").click()
    expect(page.locator("#gd-view .gd-job[data-job]")).to_be_attached(timeout=PATIENCE)
    kept = served.jobs.kept[job_of(page)]
    assert kept.state.settings.task == "inpaint"
    mask = np.asarray(Image.open(kept.folder / "mask").convert("L"))
    assert mask.shape == (64, 64)
    assert set(np.unique(mask)) == {0, 255}
    assert mask[16, 16:48].min() == 255
    assert mask[40:56].max() == 0
    assert mask[63].max() == 255


def choose_task(page, name):
    field = page.get_by_label("Task", exact=True)
    field.click()
    page.get_by_role("option", name=name).click()


def test_16_bits_of_tiff_are_shown(open_page, served, tmp_path):
    tiff16(tmp_path / "cells.tif")
    page = open_page()
    give(page, tmp_path / "cells.tif")
    told = page.locator("#gd-image .gd-told")
    expect(told).to_contain_text(
        "TIFF, 40 \N{MULTIPLICATION SIGN} 32, 16 bits, grey", timeout=PATIENCE
    )
    shown = page.locator("#gd-image img")
    assert shown.evaluate("e => e.decode().then(() => [e.naturalWidth, e.naturalHeight])") == [
        40,
        32,
    ]
    page.locator("#gd-start").click()
    wait_done(page)
    expect(
        page.get_by_role("link", name="Download the restoration (TIFF, 16 bits)")
    ).to_be_visible()


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("notes.png", b"these are words\n" * 9, "notes.png"),
        ("drawing.svg", b"<svg xmlns='x'><script>1</script></svg>", "drawing.svg"),
        ("empty.png", b"", "is empty"),
        ("large.png", b"\0" * (MOST + 1), "larger than 1 MiB"),
    ],
)  # fmt: skip
def test_a_failing_upload_says_why(open_page, tmp_path, name, data, told):
    (tmp_path / name).write_bytes(data)
    page = open_page()
    give(page, tmp_path / name)
    error = page.locator("#gd-image .gd-error")
    expect(error).not_to_be_empty(timeout=PATIENCE)
    text = error.inner_text()
    assert told in text
    assert len(text.splitlines()) == 1
    assert not re.search(r"Traceback|Error:|/tmp|/page/", text)
    page.locator("#gd-start").click()
    expect(page.locator("#gd-told .gd-error")).to_contain_text("no picture yet", timeout=PATIENCE)


def test_settings_that_are_wrong_are_named(open_page, tmp_path):
    small_png(tmp_path / "a.png")
    page = open_page()
    give(page, tmp_path / "a.png")
    expect(page.locator("#gd-image .gd-has")).to_be_attached(timeout=PATIENCE)
    page.get_by_role("button", name="Advanced").click()
    fill(page, "Seed", "minus one")
    page.locator("#gd-start").click()
    told = page.locator("#gd-told .gd-error")
    expect(told).to_contain_text("Seed cannot be 'minus one'", timeout=PATIENCE)


def test_a_preset_sets_the_form(open_page):
    page = open_page()
    page.get_by_label("Preset").click()
    page.get_by_role("option", name="Too small").click()
    expect(page.get_by_label("Task", exact=True)).to_have_value("Super-resolve", timeout=PATIENCE)
    expect(
        page.get_by_role("slider", name="Times as large").or_(
            page.get_by_label("number input for Times as large")
        )
    ).not_to_have_count(0)
    expect(page.locator("#gd-noise-field textarea, #gd-noise-field input")).to_have_value("none")


def test_by_keyboard_alone(open_page, tmp_path):
    small_png(tmp_path / "a.png")
    page = open_page()
    focused = []
    page.locator("body").click(position={"x": 2, "y": 2})
    for _ in range(60):
        page.keyboard.press("Tab")
        focused.append(
            page.evaluate(
                "(() => { const e = document.activeElement;"
                " return [e.closest('[id^=gd-]')?.id || '', e.tagName, e.textContent.trim()]; })()"
            )
        )
        if (
            focused[-1][2] == "Restore"
            and focused[-1][1] == "BUTTON"
            and focused[-1][0] == "gd-start"
        ):
            break
    reached = {place for place, *_ in focused}
    assert {"gd-image", "gd-examples", "gd-preset", "gd-task", "gd-effort", "gd-noise-field",
            "gd-clean", "gd-advanced", "gd-start"} <= reached  # fmt: skip
    page.keyboard.press("Enter")
    expect(page.locator("#gd-told .gd-error")).to_contain_text("no picture yet", timeout=PATIENCE)
    page.locator("#gd-examples button").first.focus()
    page.keyboard.press("Space")
    expect(page.locator("#gd-image .gd-has")).to_be_attached(timeout=PATIENCE)
    page.locator("#gd-start").focus()
    page.keyboard.press("Space")
    wait_done(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE], ids=["desk", "phone"])
def test_everyone_can_use_it(open_page, served, size, scheme):
    phone = size is PHONE
    page = open_page(viewport=size, color_scheme=scheme, has_touch=phone, is_mobile=phone)
    page.locator("#gd-examples button").nth(3).click()
    expect(page.locator("#gd-mask .gd-has")).to_be_attached(timeout=PATIENCE)
    page.get_by_role("button", name="Advanced").click()
    assert serious(page) == []
    page.locator("#gd-start").click()
    expect(page.locator(".gd-preview")).to_be_visible(timeout=PATIENCE)
    assert serious(page) == []
    wait_done(page)
    for tab in TABS:
        page.get_by_role("tab", name=tab).click()
        expect(page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
        page.wait_for_timeout(150)
        assert serious(page) == [], tab
        wide = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
        assert wide[0] <= wide[1], f"{tab} scrolls sideways"


def test_the_plan_is_drawn_at_once(open_page):
    page = open_page()
    page.get_by_role("tab", name="Plan").click()
    plan = page.locator("#gd-plan")
    expect(plan.locator("tbody tr")).to_have_count(20, timeout=PATIENCE)
    # The golden values of the report's schedule.
    assert plan.locator("tbody tr").first.inner_text().split() == ["1", "500", "129.53", "49", "0"]
    page.get_by_label("number input for Count").fill("5")
    page.keyboard.press("Tab")
    expect(plan.locator("tbody tr")).to_have_count(5, timeout=PATIENCE)
    page.get_by_label("number input for Start").fill("30")
    page.keyboard.press("Tab")
    expect(plan.locator(".gd-error")).to_contain_text("must be at least", timeout=PATIENCE)


def test_methods_side_by_side(open_page, served):
    page = open_page()
    page.get_by_role("tab", name="Compare").click()
    page.locator("#gd-compare-examples button").first.click()
    expect(page.locator("#gd-compare-image .gd-has")).to_be_attached(timeout=PATIENCE)
    page.locator("#gd-compare-start").click()
    view = page.locator("#gd-compare")
    expect(view).to_contain_text("3 of 3 methods have ended", timeout=PATIENCE)
    expect(view.locator("figure")).to_have_count(4)
    expect(view).to_contain_text("29.41 dB")
    for image in view.locator("img").all():
        image.scroll_into_view_if_needed()
        assert image.evaluate("e => e.decode().then(() => e.naturalWidth)") == 192


def test_a_run_of_another_is_not_shown(open_page, served, tmp_path):
    page = open_page("/?job=" + "0" * 32)
    expect(page.locator("#gd-view")).to_contain_text("not here any more", timeout=PATIENCE)


def test_a_watch_ends_with_its_page(open_page, served, tmp_path):
    small_png(tmp_path / "a.png")
    served.jobs.held.set()
    try:
        page = open_page()
        begin(page, tmp_path / "a.png")
        expect(page.get_by_role("button", name="Cancel")).to_be_visible(timeout=PATIENCE)
        assert len(served.jobs.heard) == 2  # the API's streams, and the page
        id = job_of(page)
        page.context.close()
        served.jobs.cancel(id, "")
        until = time.monotonic() + 30
        while len(served.jobs.heard) > 1 and time.monotonic() < until:
            time.sleep(0.1)
    finally:
        served.jobs.held.clear()
    assert len(served.jobs.heard) == 1


@pytest.mark.skipif(
    not SCREENSHOTS, reason="for the documentation, if GUIDED_DIP_SCREENSHOTS is set"
)
def test_screenshots(browser, tmp_path):
    """Take the documentation's pictures, of restorations by the real job manager."""
    from guided_dip.web.queue.manager import JobManager

    with JobManager(tmp_path / "data", workers=2) as jobs, serving(jobs, tmp_path) as it:
        page = browser.new_page(viewport={"width": 1280, "height": 1000}, color_scheme="light")
        page.set_default_timeout(600_000)
        page.goto(it.url)
        page.locator("#gd-examples button").first.click()
        expect(page.locator("#gd-clean .gd-has")).to_be_attached(timeout=PATIENCE)
        page.get_by_label("Fast", exact=True).check()
        page.locator("#gd-start").click()
        page.wait_for_function("document.querySelector('.gd-bar-done')?.value > 0.45")
        page.evaluate("scrollTo(0, 0)")
        picture(page, "running")
        page.wait_for_selector("#gd-view [data-status=done]")
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(1000)
        picture(page, "done", clip={"x": 0, "y": 0, "width": 1280, "height": 1720}, full_page=True)
        page.get_by_role("tab", name="Plan").click()
        page.wait_for_timeout(1000)
        picture(page, "plan")
        page.get_by_role("tab", name="Compare").click()
        page.locator("#gd-compare-examples button").nth(2).click()
        expect(page.locator("#gd-compare-image .gd-has")).to_be_attached(timeout=PATIENCE)
        page.get_by_label("Time budget for each, in seconds").fill("60")
        page.locator("#gd-compare-start").click()
        page.wait_for_selector("#gd-compare :text('3 of 3 methods')")
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(1000)
        picture(page, "compare")
        phone = browser.new_context(
            viewport=PHONE, color_scheme="dark", is_mobile=True, has_touch=True
        ).new_page()
        phone.goto(page.url)
        phone.wait_for_selector("#gd-view [data-status=done] .gd-slider")
        phone.locator("#gd-view").scroll_into_view_if_needed()
        phone.evaluate("document.querySelector('#gd-view').scrollIntoView()")
        picture(phone, "phone")
