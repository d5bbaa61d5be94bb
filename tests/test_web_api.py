"""The API on a job manager that restores nothing: routes, problems, who may ask for what."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
import zipfile

import pytest
from fastapi.testclient import TestClient

from guided_dip.web.access.guard import Access, digest
from guided_dip.web.access.headers import COOKIE
from guided_dip.web.access.login import Sessions
from guided_dip.web.http.answers import zipped
from guided_dip.web.http.app import make_app
from guided_dip.web.http.streams import Streams
from guided_dip.web.jobs import UnknownJobError
from guided_dip.web.limits import Limits
from guided_dip.web.uploads.arrival import Spool
from guided_dip.web.uploads.probe import Checker
from web_fakes import FakeJobs, png

ALICE, BOB = "alice-has-this-token", "bob-has-another-token"
AS_ALICE = {"Authorization": f"Bearer {ALICE}"}
AS_BOB = {"Authorization": f"Bearer {BOB}"}
URL = "http://127.0.0.1:7860"


@pytest.fixture(scope="module")
def checker():
    with Checker(Limits(), processes=1) as checker:
        yield checker


@pytest.fixture
def jobs(tmp_path):
    return FakeJobs(tmp_path)


@pytest.fixture
def app(jobs, checker, tmp_path):
    spool = Spool(tmp_path / "arriving", checker)
    return make_app(jobs, access=Access(), spool=spool, healthy=lambda: jobs.is_healthy)


@pytest.fixture
def client(app):
    with TestClient(app, base_url=URL, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def guarded(jobs, checker, tmp_path):
    access = Access(owners=frozenset({digest(ALICE), digest(BOB)}))
    app = make_app(jobs, access=access, spool=Spool(tmp_path / "arriving", checker))
    with TestClient(app, base_url=URL, follow_redirects=False) as client:
        yield client


def submit(client, headers=None, **data):
    files = {"image": ("photo.png", png(), "image/png")}
    answer = client.post("/v1/jobs", files=files, data=data, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def error_of(answer, status: int) -> str:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert list(answer.json()) == ["error"]
    return answer.json()["error"]


class TestNewJobs:
    def test_fields_become_settings(self, client, jobs):
        files = {
            "image": ("a/b/scan.png", png()),
            "mask": ("m.png", png(seed=1)),
            "clean": ("", b""),
            "config": ("c.yaml", b"steps: 7\ncount: 2\n"),
        }
        data = {
            "task": "inpaint",
            "effort": " fast ",
            "noise": "",
            "seed": "5",
            "invert_mask": "on",
            "strength": "0.5",
            "settings": '{"steps": 9}',
        }
        answer = client.post("/v1/jobs", files=files, data=data)
        assert answer.status_code == 201
        state = answer.json()
        assert answer.headers["location"] == f"/v1/jobs/{state['id']}"
        new = jobs.kept[state["id"]].new
        assert set(new.files) == {"image", "mask"}
        assert (new.files["image"].name, new.files["image"].format) == ("scan.png", "PNG")
        asked = new.settings
        assert (asked.task, asked.effort, asked.noise, asked.seed) == ("inpaint", "fast", None, 5)
        assert (asked.invert_mask, asked.strength) == (True, 0.5)
        assert asked.settings == {"steps": 9, "count": 2}

    def test_a_kernel_is_words_or_a_picture(self, client, jobs):
        id = submit(client, kernel="gaussian:2.0")
        assert jobs.kept[id].new.settings.kernel == "gaussian:2.0"
        files = {"image": ("a.png", png()), "kernel": ("k.png", png(seed=2))}
        id = client.post("/v1/jobs", files=files).json()["id"]
        new = jobs.kept[id].new
        assert (new.settings.kernel, set(new.files)) == (None, {"image", "kernel"})

    @pytest.mark.parametrize(
        ("data", "said"),
        [
            ({"efort": "fast"}, "did you mean 'effort'?"),
            ({"scale": "99"}, "scale: input should be less than or equal to 8"),
            ({"seed": "one"}, "seed: input should be a valid integer"),
            ({"joint": "perhaps"}, "joint: "),
            ({"settings": "steps"}, "settings: is no JSON"),
            ({"settings": '{"a": [1, 2]}'}, "'a' is more than one value"),
            ({"settings": '{"a": 1e400}'}, "'a' is too large a number"),
            ({"task": "x" * 201}, "task: string should have at most 200 characters"),
        ],
    )
    def test_what_is_wrong_is_said(self, client, data, said, tmp_path):
        answer = client.post("/v1/jobs", files={"image": ("a.png", png())}, data=data)
        assert said in error_of(answer, 422)
        assert not list((tmp_path / "arriving").iterdir())

    def test_a_full_queue_says_when_to_try_again(self, client, jobs, tmp_path):
        jobs.limits = Limits(waiting=1)
        submit(client)
        answer = client.post("/v1/jobs", files={"image": ("a.png", png())})
        assert "queue is full" in error_of(answer, 429)
        assert answer.headers["retry-after"] == "7"
        assert not list((tmp_path / "arriving").iterdir())
        assert "guided_dip_refused_jobs_total 1.0" in client.get("/metrics").text

    def test_a_bug_tells_no_details(self, client, jobs, tmp_path):
        jobs.broken = True
        answer = client.post("/v1/jobs", files={"image": ("a.png", png())})
        assert error_of(answer, 500) == "the server failed; its log says more"
        assert not list((tmp_path / "arriving").iterdir())


class TestJobs:
    def test_a_job_from_queue_to_result(self, client, jobs):
        id = submit(client)
        at = f"/v1/jobs/{id}"
        assert client.get(at).json()["status"] == "queued"
        assert "no preview" in error_of(client.get(f"{at}/preview"), 404)
        jobs.go_on(id, 10)
        shown = client.get(f"{at}/preview")
        assert shown.headers["content-type"] == "image/png"
        assert shown.headers["cache-control"] == "no-store"
        assert shown.content == png(seed=10)
        assert "no result yet" in error_of(client.get(f"{at}/result"), 404)
        jobs.finish(id)
        result = client.get(f"{at}/result")
        assert result.content == png()
        assert result.headers["content-disposition"].startswith(
            'attachment; filename="photo-restored.png"'
        )
        again = client.get(f"{at}/result", headers={"If-None-Match": result.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        assert client.get(f"{at}/views/result").content == png()
        assert client.get(f"{at}/curve").json()["loss"] == [0.5, 0.25]
        assert [state["id"] for state in client.get("/v1/jobs").json()] == [id]
        assert client.delete(at).status_code == 204
        assert "no such job" in error_of(client.get(at), 404)

    def test_the_run_as_zip(self, client, jobs, tmp_path):
        id = submit(client)
        assert error_of(client.get(f"/v1/jobs/{id}/run.zip"), 404)
        jobs.finish(id)
        (tmp_path / "secret").write_text("secret")
        (jobs.run_folder(id, "") / "link").symlink_to(tmp_path / "secret")
        (jobs.run_folder(id, "") / "folder").symlink_to(tmp_path)
        answer = client.get(f"/v1/jobs/{id}/run.zip")
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            assert archive.testzip() is None
            assert archive.namelist() == [
                "photo-restored-run/config.yaml",
                "photo-restored-run/pictures/spread.tif",
            ]
            assert archive.read("photo-restored-run/config.yaml") == b"steps: 3\n"

    def test_a_zip_is_made_while_it_is_sent(self, tmp_path):
        (tmp_path / "large.tif").write_bytes(bytes(2**22))
        blocks = list(zipped(tmp_path, "run"))
        assert max(map(len, blocks)) < 2**19
        with zipfile.ZipFile(io.BytesIO(b"".join(blocks))) as archive:
            assert archive.getinfo("run/large.tif").file_size == 2**22

    @pytest.mark.parametrize("how", ["stop", "cancel"])
    def test_endings(self, client, jobs, how):
        id = submit(client)
        answer = client.post(f"/v1/jobs/{id}/{how}")
        assert answer.status_code == 202
        assert answer.json()["status"] == {"stop": "stopping", "cancel": "cancelled"}[how]
        jobs.update(id, status="cancelled")
        assert "ended already" in error_of(client.post(f"/v1/jobs/{id}/{how}"), 409)

    @pytest.mark.parametrize("id", ["0" * 32, "x" * 32, "..%2f..%2fetc", "A" * 32, "0" * 31])
    def test_other_ids_lead_nowhere(self, client, id):
        for rest in ("", "/result", "/run.zip", "/views/input", "/events"):
            assert client.get(f"/v1/jobs/{id}{rest}").status_code in (404, 422)

    def test_plan(self, client):
        told = client.post("/v1/plan", json={"count": 20, "steps": 2000}).json()
        steps = [stage["steps"] for stage in told["stages"]]
        assert steps[:3] == [49, 54, 58]
        assert sum(steps) == told["steps"] == 2000
        assert told["stages"][-1]["sigma"] == pytest.approx(9.9, abs=0.1)
        few = {"start": 10, "end": 5, "count": 20}
        assert "do not fit" in error_of(client.post("/v1/plan", json=few), 422)
        assert "count: " in error_of(client.post("/v1/plan", json={"count": 10**9}), 422)
        assert error_of(client.post("/v1/plan", content=bytes(2**21)), 413)

    def test_limits_and_places_that_are_not(self, client):
        assert client.get("/v1/limits").json()["pixels"] == Limits().pixels
        assert error_of(client.get("/v1/nothing"), 404)
        assert error_of(client.put("/v1/jobs"), 405)

    def test_health(self, client, jobs):
        assert client.get("/healthz").json() == {"status": "ok"}
        jobs.is_healthy = False
        assert error_of(client.get("/healthz"), 503)


def events_of(text: str) -> list[dict]:
    return [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: ")]


class TestEvents:
    def test_a_job_is_followed_to_its_end(self, client, jobs):
        id = submit(client)
        going = threading.Thread(target=self.go, args=(jobs, id))
        with client.stream("GET", f"/v1/jobs/{id}/events") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            going.start()
            found = events_of("".join(answer.iter_text()))
        going.join()
        versions = [event["version"] for event in found]
        assert versions == sorted(set(versions))
        assert found[-1]["status"] == "done"

    @staticmethod
    def go(jobs, id):
        for step in range(10, 40, 10):
            jobs.go_on(id, step)
            time.sleep(0.05)
        jobs.finish(id)

    def test_what_is_known_is_not_told_again(self, client, jobs):
        id = submit(client)
        jobs.finish(id)
        (event,) = events_of(client.get(f"/v1/jobs/{id}/events").text)
        known = event["version"]
        assert client.get(f"/v1/jobs/{id}/events?after={known}").status_code == 204
        again = client.get(f"/v1/jobs/{id}/events", headers={"Last-Event-ID": str(known)})
        assert again.status_code == 204
        odd = client.get(f"/v1/jobs/{id}/events", headers={"Last-Event-ID": "x" * 100})
        assert len(events_of(odd.text)) == 1

    def test_a_stream_ends_with_its_job(self, client, jobs):
        id = submit(client)
        threading.Timer(0.3, jobs.remove, (id, "")).start()
        assert len(events_of(client.get(f"/v1/jobs/{id}/events").text)) == 1

    def test_heartbeats_and_an_end_that_frees_all(self, jobs, tmp_path):
        async def follow() -> list[bytes]:
            streams = Streams(jobs, state, most=1, heartbeat=0.01)
            streams.begin()
            told = []
            stream = streams.events(id, "", 0)
            async for event in stream:
                told.append(event)
                if len(told) == 4:
                    with pytest.raises(Exception, match="too many streams"):
                        streams.check_room()
                    streams.close()
            streams.check_room()
            assert not streams._listening
            assert not jobs.heard
            return told

        async def state(id, owner):
            return jobs.state(id, owner)

        id = self.kept(jobs, tmp_path)
        told = asyncio.run(follow())
        assert told[0].startswith(b"retry:")
        assert told[2:] == [b": still there\n\n"] * 2

    @staticmethod
    def kept(jobs, tmp_path) -> str:
        from guided_dip.web.jobs import NewJob, Upload
        from guided_dip.web.models import JobSettings

        (tmp_path / "x").write_bytes(png())
        upload = Upload(tmp_path / "x", "x.png", "PNG", 16, 16, 3)
        return jobs.begin(NewJob({"image": upload}, JobSettings()), "").id


class TestGuard:
    @pytest.mark.parametrize(
        "host", ["evil.example", "127.0.0.1.evil.example", "", "localhost@evil", "[::1", "10.0.0.1"]
    )
    def test_other_names_are_refused(self, client, host):
        assert error_of(client.get("/v1/jobs", headers={"Host": host}), 421)
        assert error_of(client.get("/", headers={"Host": host}), 421)

    @pytest.mark.parametrize("host", ["localhost:7860", "127.0.0.1", "[::1]:7860", "LOCALHOST"])
    def test_our_names(self, client, host):
        assert client.get("/v1/jobs", headers={"Host": host}).status_code == 200

    def test_addresses_where_it_listens_everywhere(self):
        access = Access(any_address=True)
        assert access.allows_host("192.168.1.7:7860")
        assert access.allows_host("[2001:db8::1]:80")
        assert not access.allows_host("192.168.1.7.evil.example")

    @pytest.mark.parametrize(
        "headers",
        [
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1:1234"},
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},
        ],
    )
    def test_other_pages_change_nothing(self, client, headers):
        answer = client.post("/v1/jobs", files={"image": ("a.png", png())}, headers=headers)
        assert "own page" in error_of(answer, 403)
        assert not any(name.startswith("access-control") for name in answer.headers)

    def test_other_pages_read_nothing(self, client):
        cross = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
        assert error_of(client.get("/v1/jobs", headers=cross), 403)
        asked = client.options(
            "/v1/jobs",
            headers={"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"},
        )
        assert not any(name.startswith("access-control") for name in asked.headers)
        linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        assert client.get("/", headers=linked).status_code == 200

    def test_our_page_may(self, client):
        ours = {"Origin": URL, "Sec-Fetch-Site": "same-origin"}
        files = {"image": ("a.png", png())}
        assert client.post("/v1/jobs", files=files, headers=ours).status_code == 201

    @pytest.mark.parametrize(
        "path",
        [
            "/gradio_api/proxy=http://evil.example/",
            "/gradio_api/file=http://evil.example/a.png",
            "/gradio_api/run/predict",
            "/gradio_api/call/restore",
            "/gradio_api/vibe-code",
            "/gradio_api/dev/reload",
            "/gradio_api/openapi.json",
            "/monitoring",
            "/docs",
            "/openapi.json",
        ],
    )
    def test_what_of_gradio_is_not_needed_is_not_there(self, client, path):
        assert error_of(client.get(path), 404) == "there is no such page"

    def test_headers(self, client):
        for path in ("/v1/jobs", "/", "/v1/nothing", "/healthz"):
            headers = client.get(path).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["cache-control"] == "no-store"
            assert headers["cross-origin-resource-policy"] == "same-origin"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert "server" not in headers
        assert "default-src 'none'" in client.get("/v1/jobs").headers["content-security-policy"]


class TestTokens:
    def test_nothing_without_one(self, guarded):
        for path in ("/v1/jobs", "/v1/limits", "/metrics", "/v1/openapi.json", "/"):
            answer = guarded.get(path)
            assert "token" in error_of(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
        for wrong in ("Bearer no", "Bearer ", f"Basic {ALICE}", f"Bearer {ALICE}x", ALICE):
            assert guarded.get("/v1/jobs", headers={"Authorization": wrong}).status_code == 401
        assert guarded.get("/healthz").status_code == 200

    def test_one_users_jobs_are_not_anothers(self, guarded, jobs):
        id = submit(guarded, AS_ALICE)
        jobs.finish(id)
        assert guarded.get(f"/v1/jobs/{id}", headers=AS_ALICE).status_code == 200
        assert guarded.get("/v1/jobs", headers=AS_BOB).json() == []
        for rest in ("", "/result", "/run.zip", "/curve", "/events", "/views/result", "/preview"):
            answer = guarded.get(f"/v1/jobs/{id}{rest}", headers=AS_BOB)
            assert "no such job" in error_of(answer, 404)
        for rest in ("/stop", "/cancel"):
            assert error_of(guarded.post(f"/v1/jobs/{id}{rest}", headers=AS_BOB), 404)
        assert error_of(guarded.delete(f"/v1/jobs/{id}", headers=AS_BOB), 404)
        assert jobs.state(id, digest(ALICE)).status == "done"

    def test_browsers_log_in_and_out(self, guarded, jobs):
        page = {"Accept": "text/html"}
        assert guarded.get("/", headers=page).headers["location"] == "/login"
        form = guarded.get("/login")
        assert '<label for="token">' in form.text
        answer = guarded.post("/login", data={"token": ALICE}, headers={"Origin": URL})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/"))
        assert ALICE not in cookie
        assert "Secure" not in cookie
        assert digest(ALICE) not in cookie
        id = submit(guarded)
        assert jobs.kept[id].owner == digest(ALICE)
        assert guarded.get("/", headers=page).status_code == 200
        kept = guarded.cookies[COOKIE]
        guarded.post("/logout")
        assert guarded.get("/", headers={**page, "Cookie": f"{COOKIE}={kept}"}).status_code == 303
        https = {"X-Forwarded-Proto": "https"}
        answer = guarded.post("/login", data={"token": ALICE}, headers=https)
        assert "Secure" in answer.headers["set-cookie"]

    def test_wrong_tokens_take_time(self, guarded, monkeypatch):
        monkeypatch.setattr("guided_dip.web.access.login.SLOW", 0.2)
        began = time.monotonic()
        answer = guarded.post("/login", data={"token": "wrong"})
        assert answer.status_code == 403
        assert 'role="alert"' in answer.text
        assert "set-cookie" not in answer.headers
        assert time.monotonic() - began > 0.19
        assert guarded.post("/login", content=bytes(10_000)).status_code == 413
        assert guarded.post("/login", content=b"&" * 100).status_code == 403
        cross = guarded.post("/login", data={"token": ALICE}, headers={"Origin": "http://evil"})
        assert error_of(cross, 403)
        assert guarded.put("/login").status_code == 405
        assert guarded.get("/logout", headers=AS_ALICE).status_code == 405

    def test_many_wrong_tokens_are_not_heard(self):
        async def many() -> list[object]:
            sessions = Sessions()
            return await asyncio.gather(
                *(sessions.fail() for _ in range(10)), return_exceptions=True
            )

        refused = [found for found in asyncio.run(many()) if found is not None]
        assert len(refused) == 6
        assert "too many wrong tokens" in str(refused[0])

    def test_sessions_end(self):
        sessions = Sessions(seconds=0.05)
        secret = sessions.begin("alice")
        assert sessions.owner(secret) == "alice"
        assert sessions.owner(secret + "x") is None
        time.sleep(0.06)
        assert sessions.owner(secret) is None
        many = Sessions()
        first = many.begin("alice")
        for _ in range(1000):
            many.begin("bob")
        assert many.owner(first) is None


def test_a_body_that_stalls_is_given_up(jobs, checker, tmp_path, monkeypatch):
    monkeypatch.setattr("guided_dip.web.problems.LINGER_SECONDS", 0.05)
    app = make_app(jobs, access=Access(), spool=Spool(tmp_path / "a", checker), stall=0.2)

    async def stalled() -> list[dict]:
        came = [{"type": "http.request", "body": b"--x\r\n", "more_body": True}]
        said = []

        async def receive():
            if came:
                return came.pop()
            await asyncio.sleep(60)
            raise AssertionError("nobody waits that long")

        async def send(message):
            said.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=x")]
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/v1/jobs",
            "raw_path": b"/v1/jobs",
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 7860),
        }
        await app(scope, receive, send)
        return said

    said = asyncio.run(stalled())
    assert said[0]["status"] == 408
    assert b"nothing came for 0.2 s" in said[1]["body"]
    assert not list((tmp_path / "a").iterdir())


def test_no_job_is_told_from_anothers(jobs):
    with pytest.raises(UnknownJobError):
        jobs.state("0" * 32, "")
