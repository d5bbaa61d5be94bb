"""What strangers may ask of the page: no file, no URL, nothing of another user's."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import time

import pytest

pytest.importorskip("gradio")

import httpx

from guided_dip.errors import InputError
from guided_dip.web.access.guard import Access, digest
from guided_dip.web.jobs import Upload
from guided_dip.web.limits import Limits
from guided_dip.web.page import examples, form
from guided_dip.web.page.charts import Axis, curve
from guided_dip.web.page.plan import draw
from guided_dip.web.page.routes import TOLD
from guided_dip.web.page.show import job
from guided_dip.web.page.uploads import EACH, Uploads
from page_fakes import RunningJobs, small_png, tiff16
from page_server import serving
from web_fakes import png

pytestmark = pytest.mark.filterwarnings("ignore:.*(no_silent_downcasting|copy keyword)")
ALICE, BOB = "a" * 20, "b" * 20
TYPE = {"Content-Type": "application/octet-stream"}


REACHED: list[str] = []  # hosts that this process has looked up or connected to


def note_hosts(event, args):
    if event == "socket.getaddrinfo":
        REACHED.append(str(args[0]))
    elif event == "socket.connect" and isinstance(args[1], tuple):
        REACHED.append(str(args[1][0]))


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    sys.addaudithook(note_hosts)
    folder = tmp_path_factory.mktemp("safety")
    jobs = RunningJobs(folder, Limits(upload=2**20, pixels=2**18), pace=0.05)
    with serving(jobs, folder, Access(owners=frozenset({digest(ALICE), digest(BOB)}))) as it:
        it.folder = folder
        yield it
    jobs.ending.set()


@pytest.fixture
def client(served):
    with httpx.Client(base_url=served.url, headers=as_user(ALICE), timeout=60) as it:
        yield it


def as_user(token):
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/gradio_api/file=/etc/passwd"),
        ("GET", "/gradio_api/file/etc/passwd"),
        ("GET", "/file=/etc/passwd"),
        ("GET", "/gradio_api/file=http://127.0.0.1:9/x"),
        ("GET", "/gradio_api/proxy=http://127.0.0.1:9/x"),
        ("POST", "/gradio_api/upload"),
        ("GET", "/gradio_api/upload_progress?upload_id=a"),
        ("POST", "/gradio_api/run/predict"),
        ("POST", "/gradio_api/call/start"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/process_recording"),
        ("GET", "/gradio_api/vibe-code"),
        ("POST", "/gradio_api/vibe-edit"),
        ("POST", "/gradio_api/reset"),
        ("POST", "/gradio_api/stream/abc"),
        ("GET", "/gradio_api/custom_component/a/client/b/c"),
        ("GET", "/gradio_api/deep_link?session_hash=a"),
        ("GET", "/gradio_api/runs"),
        ("GET", "/gradio_api/openapi.json"),
        ("GET", "/monitoring"),
        ("GET", "/?deep_link=abc"),
        ("GET", "/assets/../../../../etc/passwd"),
        ("GET", "/static/%2e%2e/%2e%2e/routes.py"),
        ("GET", "/page/static/..%2froutes.py"),
        ("GET", "/page/examples/..%2f..%2fx.png"),
    ],
)
def test_what_the_page_does_not_need_is_shut(client, method, path):
    answer = client.request(method, path, content=b"{}" if method == "POST" else None)
    assert 400 <= answer.status_code < 500, path
    assert b"root:" not in answer.content


@pytest.mark.parametrize(
    "value",
    [
        {"path": "/etc/passwd", "meta": {"_type": "gradio.FileData"}},
        {"url": "http://127.0.0.1:9/a.png", "path": "a", "meta": {"_type": "gradio.FileData"}},
        {"image": {"path": "/etc/passwd"}},
        [[{"is_stream": True}]],
    ],
)
def test_files_and_urls_are_not_taken(client, value):
    told = {"data": [value], "fn_index": 0, "session_hash": "s"}
    answer = client.post("/gradio_api/queue/join", json=told)
    assert answer.status_code == 422
    assert client.post("/gradio_api/queue/join", content=b"[" * 100_000).status_code == 400
    assert client.post("/gradio_api/queue/join", content=b"\0" * 64).status_code == 400


def test_no_other_site_may_read_or_ask(client):
    for path in ("/", "/config", "/theme.css"):
        answer = client.get(path)
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("access-control")]
    foreign = {"Origin": "http://elsewhere.example"}
    assert client.get("/config", headers=foreign).headers.get("access-control-allow-origin") is None
    asked = foreign | {"Access-Control-Request-Method": "POST"}
    assert client.options("/page/uploads", headers=asked).status_code >= 400
    answer = client.post("/page/uploads", content=png(), headers=TYPE | foreign)
    assert answer.status_code == 403


def test_an_upload_is_its_owners_alone(served, client, tmp_path):
    tiff16(tmp_path / "a.tif")
    data = (tmp_path / "a.tif").read_bytes()
    kept = client.post("/page/uploads?name=../../a.tif", content=data, headers=TYPE)
    assert kept.status_code == 201
    told = kept.json()
    assert (told["name"], told["format"], told["bits"]) == ("a.tif", "TIFF", 16)
    assert client.get("/" + told["view"]).headers["content-type"] == "image/png"
    assert client.get("/" + told["view"], headers=as_user(BOB)).status_code == 404
    assert httpx.get(f"{served.url}/{told['view']}").status_code == 401
    assert httpx.post(f"{served.url}/page/uploads", content=data, headers=TYPE).status_code == 401


def test_uploads_that_are_refused(served, client):
    before = sorted((served.folder / "page").rglob("*"))

    def post(data, kind="application/octet-stream"):
        answer = client.post("/page/uploads?name=x", content=data, headers={"Content-Type": kind})
        assert answer.json()["error"]
        return answer.status_code

    assert post(png(), "image/png") == 415
    assert post(b"") == 422
    assert post(b"\0" * (2**20 + 1)) == 413
    assert post(b"<svg/>") == 415
    assert post(iter([b"\x89PNG", b"\0" * 2**20, b"\0"])) == 413
    assert post(png((1000, 1000))) == 413
    assert sorted((served.folder / "page").rglob("*")) == before


def test_too_much_at_once_is_refused(client):
    told = json.dumps({"data": ["x" * TOLD]}).encode()
    assert client.post("/gradio_api/queue/join", content=told).status_code == 413


def test_the_page_names_no_other_place(client):
    text = client.get("/").text
    assert "fonts.googleapis" not in text
    config = client.get("/config").json()
    assert config["analytics_enabled"] is False
    assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    for name in ("page.js", "page.css"):
        assert "http" not in client.get(f"/page/static/{name}").text


def test_the_server_reaches_for_nothing(client):
    assert client.get("/").status_code == 200
    assert set(REACHED) <= {"127.0.0.1", "localhost", "None"}


class Looked:
    """Takes every file for a small PNG."""

    def __call__(self, path, name):
        if not path.read_bytes():
            raise InputError("it is empty")
        return Upload(path, name, "PNG", 16, 16, 3)


def keep(uploads, owner, data=b"x"):
    with uploads.arriving() as path:
        path.write_bytes(data)
        return uploads.keep(path, "a.png", owner)


def test_uploads_are_kept_for_a_while(tmp_path):
    uploads = Uploads(tmp_path / "u", Looked(), Limits())
    tokens = [keep(uploads, "alice").token for _ in range(EACH + 3)]
    copy = uploads.copy(tokens[-1], "alice")
    assert copy.path.read_bytes() == b"x"
    copy.path.unlink()
    for token, owner in ((tokens[0], "alice"), (tokens[-1], "bob"), ("", "alice")):
        with pytest.raises(InputError, match="drop it again"):
            uploads.copy(token, owner)
    with pytest.raises(InputError, match="empty"):
        keep(uploads, "alice", b"")
    assert len(list((tmp_path / "u").iterdir())) == EACH
    uploads.clear()
    assert not list((tmp_path / "u").iterdir())
    assert oct((tmp_path / "u").stat().st_mode)[-3:] == "700"


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({"task": "denoise", "scale": 4, "kernel": "gaussian:2"}, {"task": "denoise"}),
        ({"task": "super-resolve", "scale": 4.0}, {"task": "super-resolve", "scale": 4}),
        ({"seed": " 7 ", "time_budget": "2.5"}, {"seed": 7, "time_budget": 2.5}),
        ({"effort": "fast", "preset": "report"}, {"preset": "report"}),
        ({"effort": "fast", "preset": ""}, {"effort": "fast"}),  # as an untouched field says it
        ({"effort": "best", "preset": None}, {"effort": "best"}),
        (
            {"lines": "count=8\nschedule = linear\n"},
            {"settings": {"count": 8, "schedule": "linear"}},
        ),
        ({"yaml": "count: 4\nseed: 3"}, {"settings": {"count": 4, "seed": 3}}),
        ({"yaml": "count: 4", "lines": "count=5"}, {"settings": {"count": 5}}),
    ],
)
def test_the_form_gives_settings(fields, found):
    assert form.settings_of(fields).model_dump(exclude_unset=True) == {"settings": {}} | found


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"lines": "count"}, "no '='"),
        ({"lines": "count=[1"}, "is no value"),
        ({"yaml": "- a"}, "no list of names"),
        ({"yaml": "a: [1"}, "no YAML"),
        ({"yaml": "x" * 2**17}, "64 KiB"),
        ({"yaml": BOMB}, "lists in lists|references|no YAML"),
        ({"yaml": "!!python/object/apply:os.system [true]"}, "no YAML"),
        ({"seed": "-1"}, "seed cannot be '-1'"),
        ({"noise": "x" * 999}, "noise cannot be"),
    ],
)
def test_the_form_says_what_is_wrong(fields, told):
    begun = time.monotonic()
    with pytest.raises(InputError, match=told) as caught:
        form.settings_of(fields)
    assert len(str(caught.value)) < 300
    assert "\n" not in str(caught.value)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize(
    "value", ["data:text/html;base64,AA==", "data:image/png;base64,?", {"a": 1}]
)
def test_a_mask_that_is_none(value):
    with pytest.raises(InputError, match="draw it again"):
        form.drawn_mask(value, 1000)
    assert form.drawn_mask(None, 1000) is None
    assert form.drawn_mask("data:image/png;base64,AAAA", 1000) == b"\0\0\0"
    with pytest.raises(InputError):
        form.drawn_mask("data:image/png;base64," + "A" * 9999, 1000)


def test_whatever_a_file_is_called_is_text(tmp_path):
    jobs = RunningJobs(tmp_path, pace=0.0)
    small_png(tmp_path / "a.png")
    name = "<img src=x onerror=alert(1)>\"'${1}`.png"
    settings = form.settings_of({})
    from guided_dip.web.jobs import NewJob

    state = jobs.begin(
        NewJob({"image": Upload(tmp_path / "a.png", name, "PNG", 40, 40, 3)}, settings), ""
    )
    until = time.monotonic() + 30
    while jobs.state(state.id, "").status != "done" and time.monotonic() < until:
        time.sleep(0.02)
    text = job(jobs.state(state.id, ""), jobs.curve(state.id, ""))
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text


def test_charts():
    assert "not yet" in curve([0], [1.0], label="Loss", kind="gd-loss")
    drawn = curve([0, 1, 2], [1.0, float("nan"), 0.01], label="Loss", kind="gd-loss", log=True)
    assert "nan" not in drawn
    assert 'aria-label="Loss: from 1 to 0.01 at step 2"' in drawn
    axis = Axis(0, 10, 0, 100)
    assert [axis.at(value) for value in (-1, 0, 5, 11)] == [0, 0, 50, 100]
    assert axis.ticks() == [0, 5, 10]
    assert len(Axis(0.003, 0.9, 0, 1, log=True).ticks()) >= 2


def test_a_plan_and_why_there_is_none():
    assert draw("cosine", 20, 500, 40, 400, 2000).count("<tr>") == 21
    assert draw("linear", 1, 40, 40, 0, 100).count("<tr>") == 2
    for wrong in ((20, 30, 40), (40, 50, 40), (20, 2000, 40)):
        assert 'role="alert"' in draw("cosine", *wrong, 400, 2000)
    assert 'role="alert"' in draw("cosine", 20, 500, 40, None, 2000)


@pytest.mark.parametrize("example", examples.EXAMPLES, ids=lambda e: e.name)
def test_examples_are_made_the_same_each_time(example):
    from PIL import Image

    made = example.make()
    assert Image.open(io.BytesIO(made.noisy)).size == Image.open(io.BytesIO(made.clean)).size
    assert (made.mask is not None) == example.scratched
    before = hashlib.sha256(made.noisy).digest()
    examples._make.cache_clear()
    assert hashlib.sha256(example.make().noisy).digest() == before
