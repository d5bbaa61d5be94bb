"""The server as people start it, and its client: real processes, real jobs."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from guided_dip.cli import run as command
from guided_dip.errors import InputError
from guided_dip.images import Picture, read, write
from guided_dip.web import serve
from guided_dip.web.access.guard import Access, digest
from guided_dip.web.client import Client, ClientError
from guided_dip.web.http.app import make_app
from guided_dip.web.limits import Limits
from guided_dip.web.uploads.arrival import Spool
from guided_dip.web.uploads.probe import Checker
from web_fakes import FakeJobs, png

DEADLINE = 120.0
COMMAND = (sys.executable, "-m", "guided_dip", "web", "--port", "0", "--no-page")
TOKENS = ("alice-has-this-token", "bob-has-another-token")


class Process:
    """``guided-dip web`` in a process of its own."""

    def __init__(self, data: Path, *options: str) -> None:
        self.data = data
        self.process = subprocess.Popen(
            [*COMMAND, "--data", str(data), "--workers", "2", "--quiet", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url, self.process.communicate()[1]

    def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        _, said = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, said

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


def noisy(path: Path, size=(24, 32), dtype=np.uint8) -> Path:
    values = np.random.default_rng(0).normal(0.5, 0.1, (*size, 3)).clip(0, 1)
    write(path, Picture((values * np.iinfo(dtype).max).astype(dtype)))
    return path


def wait_for(condition) -> None:
    until = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_picture_comes_back_as_the_command_line_restores_it(tmp_path):
    image = noisy(tmp_path / "in.tif", dtype=np.uint16)
    asked = {"steps": 40}
    with Process(tmp_path / "data") as server, Client(server.url) as client:
        job = client.submit(image, effort="fast", noise="gaussian:25", seed=3, settings=asked)
        seen = []
        state = job.wait(seen.append, timeout=DEADLINE)
        assert state.status == "done"
        assert state.outcome.format == "TIFF"
        assert seen[-1].status == "done"
        job.result(tmp_path / "web.tif")
        job.run(tmp_path / "run.zip")
        with pytest.raises(InputError, match="exists already"):
            job.result(tmp_path / "web.tif")
        numbers = httpx.get(server.url + "metrics", trust_env=False).text
        assert 'guided_dip_jobs{state="done"} 1.0' in numbers
        code, said = server.end(signal.SIGTERM)
    assert (code, said) == (143, "guided-dip: terminated\n")
    assert read(tmp_path / "web.tif").pixels.dtype == np.uint16
    words = [re.sub(r"^(.*/)?in\.tif$", str(image), word) for word in state.command.split()[1:]]
    output = words.index("-o") + 1
    words[output] = str(tmp_path / "cli.tif")
    assert command([*words, "--quiet"]) == 0
    assert (tmp_path / "cli.tif").read_bytes() == (tmp_path / "web.tif").read_bytes()


def test_jobs_go_on_where_a_server_was_ended(tmp_path):
    image = noisy(tmp_path / "in.png", size=(32, 32))
    data = tmp_path / "data"
    with Process(data) as server, Client(server.url) as client:
        first = client.submit(image, effort="fast", settings={"steps": 120})
        second = client.submit(image, effort="fast", settings={"steps": 125})
        wait_for(lambda: first.refresh().progress.step > 5)
        began = time.monotonic()
        code, said = server.end(signal.SIGINT)
        assert time.monotonic() - began < 60
        assert (code, said) == (130, "guided-dip: interrupted\n")
    with Process(data) as server, Client(server.url) as client:
        assert {job.id for job in client.jobs()} == {first.id, second.id}
        for job in (first, second):
            assert client.job(job.id).wait(timeout=DEADLINE).status == "done"
        another = subprocess.run(
            [*COMMAND, "--data", str(data)],
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        assert another.returncode == 2
        assert str(data) in another.stderr
        assert len(another.stderr.splitlines()) == 1


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            (["--host", "0.0.0.0"], "needs --token"),
            (["--host", "::"], "needs --token"),
            (["--host", "no.such.host.invalid"], "--host no.such.host.invalid: "),
            (["--token", "short"], "at least 16"),
            (["--token", "has spaces in its middle"], "no spaces"),
            (["--max-upload", "much"], "no amount of memory"),
            (["--token-file", "nowhere"], "nowhere: cannot be read"),
            (["--data", "no/where"], "there is no folder"),
        ],
    )
    def test_what_is_refused(self, options, said, tmp_path, monkeypatch, capsys):
        monkeypatch.chdir(tmp_path)
        assert command(["web", "--port", "0", "--no-page", *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line
        assert not list(tmp_path.iterdir())

    def test_a_port_that_is_taken(self, tmp_path, capsys):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            code = command(["web", "--port", port, "--no-page", "--data", str(tmp_path / "d")])
        assert code == 2
        assert f"port {port} of 127.0.0.1 cannot be had" in capsys.readouterr().err

    def test_without_the_extra(self, monkeypatch, capsys):
        monkeypatch.setattr("guided_dip.cli.web.EXTRA", ("fastapi", "no_such_package"))
        assert command(["web"]) == 2
        assert "try pip install 'guided-dip[web]'" in capsys.readouterr().err

    def test_who_may_ask(self, tmp_path):
        options = serve.Options(tmp_path, host="0.0.0.0", tokens=TOKENS, names=("Dip.example",))
        access = serve.access_of(options)
        assert access.owners == set(map(digest, TOKENS))
        assert access.allows_host("dip.example")
        assert access.allows_host("10.1.2.3:7860")
        assert not access.allows_host("evil.example")
        here = serve.access_of(serve.Options(tmp_path))
        assert not here.owners
        assert not here.allows_host("10.1.2.3:7860")

    def test_no_host_is_no_name(self, tmp_path):
        access = serve.access_of(serve.Options(tmp_path, host=""))
        assert access.allows_host("127.0.0.1:7860")
        for header in ("", ".", "[.]", "..", ":80", "[]", "[127.0.0.1]", "localhost..", "a name"):
            assert not access.allows_host(header), header

    @pytest.mark.parametrize("host", ["LocalHost", "127.0.0.1", "::1"])
    def test_a_server_is_asked_for_by_where_it_listens(self, tmp_path, host):
        access = serve.access_of(serve.Options(tmp_path, host=host))
        assert "" not in access.hosts
        assert access.allows_host("localhost:7860")
        assert access.allows_host("[0:0::1]:7860")

    @pytest.mark.parametrize(
        ("given", "asked"),
        [
            ("Dip.example:8080", "dip.example"),
            ("dip.example.", "Dip.Example.:80"),
            ("2001:db8:0::1", "[2001:db8::1]:80"),
            ("[::2]:80", "[::2]"),
        ],
    )
    def test_further_names_may_have_a_port(self, tmp_path, given, asked):
        access = serve.access_of(serve.Options(tmp_path, names=(given,)))
        assert access.allows_host(asked)
        assert not access.allows_host("evil.example")

    @pytest.mark.parametrize(
        "given", ["", "bad host", "https://dip.example/", "*", "a..", "a:b:c", "[dead]"]
    )
    def test_what_is_no_name(self, capsys, tmp_path, given):
        data = tmp_path / "d"
        code = command(["web", "--allow-host", given, "--port", "0", "--data", str(data)])
        assert code == 2
        assert f"--allow-host {given!r}: no name of a machine; try " in capsys.readouterr().err
        assert not data.exists()

    def test_addresses(self):
        with serve.bound("0.0.0.0", 0) as listening:
            assert serve.address_of(listening).startswith("http://127.0.0.1:")

    def test_the_help_loads_nothing_of_it(self):
        code = (
            "import sys; from guided_dip.cli import run; run(['web', '--help']); "
            "print(*{m.split('.')[0] for m in sys.modules}, file=sys.stderr)"
        )
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert "--token-file" in found.stdout
        loaded = set(found.stderr.split())
        assert not loaded & {"fastapi", "uvicorn", "gradio", "numpy", "torch", "httpx", "starlette"}


@contextmanager
def served(jobs: FakeJobs, folder: Path, access: Access | None = None):
    """A server in a thread of this process, of jobs that restore nothing."""
    begun = threading.Event()
    address = []

    def note(url: str) -> None:
        address.append(url)
        begun.set()

    with serve.bound("127.0.0.1", 0) as listening, Checker(jobs.limits, 1) as checker:
        spool = Spool(folder / "arriving", checker)
        app = make_app(jobs, access=access or Access(), spool=spool, heartbeat=0.2)
        server = serve.server_of(app, listening, note)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        try:
            assert begun.wait(DEADLINE)
            yield address[0]
        finally:
            server.should_exit = True
            thread.join(DEADLINE)
            assert not thread.is_alive()


@pytest.fixture
def jobs(tmp_path):
    return FakeJobs(tmp_path)


@pytest.fixture
def picture(tmp_path):
    (tmp_path / "in.png").write_bytes(png())
    return tmp_path / "in.png"


class TestClient:
    def test_two_users(self, jobs, tmp_path, picture):
        access = Access(owners=frozenset(map(digest, TOKENS)))
        with served(jobs, tmp_path, access) as url:
            alice, bob = (Client(url, token) for token in TOKENS)
            job = alice.submit(picture, task="inpaint", mask=picture, invert_mask=True)
            assert [found.id for found in alice.jobs()] == [job.id]
            assert bob.jobs() == []
            with pytest.raises(ClientError, match="no such job") as error:
                bob.job(job.id)
            assert error.value.status == 404
            with Client(url) as nobody, pytest.raises(ClientError, match="a token is needed"):
                nobody.submit(picture)
            assert set(jobs.kept[job.id].new.files) == {"image", "mask"}
            alice.close()
            bob.close()

    def test_a_job_is_waited_for(self, jobs, tmp_path, picture):
        with served(jobs, tmp_path) as url, Client(url) as client:
            job = client.submit(picture, kernel="gaussian:2", settings={"steps": 5})
            steps = []

            def seen(state):
                steps.append(state.progress.step)
                if state.status == "queued":
                    jobs.go_on(job.id, 50)
                elif state.status == "running":
                    jobs.finish(job.id)

            assert job.wait(seen, timeout=DEADLINE).status == "done"
            assert steps[:2] == [0, 50]
            assert job.result(tmp_path / "out.png").read_bytes() == png()
            assert job.preview() == png(seed=50)
            with pytest.raises(ClientError, match="ended already"):
                job.stop()
            job.remove()
            with pytest.raises(ClientError, match="no such job"):
                job.refresh()

    def test_a_failed_job_says_why(self, jobs, tmp_path, picture):
        with served(jobs, tmp_path) as url, Client(url) as client:
            job = client.submit(picture)
            jobs.update(job.id, status="failed", reason="too noisy; try another")
            with pytest.raises(ClientError, match="too noisy"):
                job.wait(timeout=DEADLINE)
            another = client.submit(picture)
            another.cancel()
            with pytest.raises(ClientError, match="the job was cancelled"):
                another.wait(timeout=DEADLINE)
            with pytest.raises(ClientError, match="no result yet"):
                another.result(tmp_path / "out.png")
            assert not (tmp_path / "out.png").exists()
            third = client.submit(picture)
            with pytest.raises(ClientError, match="did not end within"):
                third.wait(lambda _: jobs.go_on(third.id, 1), timeout=0.5)

    def test_a_full_queue_is_tried_again(self, jobs, tmp_path, picture, monkeypatch):
        jobs.limits = Limits(waiting=1)
        with served(jobs, tmp_path) as url, Client(url) as client:
            first = client.submit(picture)
            with pytest.raises(ClientError, match="queue is full") as error:
                client.submit(picture)
            assert (error.value.status, error.value.retry_after) == (429, 7.0)
            monkeypatch.setattr(time, "sleep", lambda _: jobs.update(first.id, status="done"))
            assert client.submit(picture, patience=60).id

    def test_no_server(self, picture):
        client = Client("http://127.0.0.1:9", timeout=1)
        with client, pytest.raises(ClientError, match="is it running"):
            client.submit(picture)

    def test_streams_end_with_the_server(self, jobs, tmp_path, picture):
        with served(jobs, tmp_path) as url:
            client = Client(url)
            job = client.submit(picture)
            jobs.go_on(job.id, 1)
            told = job.events()
            assert next(told).status == "running"
            ended = threading.Thread(target=lambda: list(told))
            ended.start()
        ended.join(DEADLINE)
        client.close()
        assert not ended.is_alive()
        assert not jobs.heard


def test_a_head_that_does_not_come_is_not_waited_for(jobs, tmp_path, monkeypatch):
    monkeypatch.setattr(serve, "HEAD_SECONDS", 0.3)
    with served(jobs, tmp_path) as url:
        place = httpx.URL(url)
        with socket.create_connection((place.host, place.port), timeout=DEADLINE) as line:
            line.sendall(b"GET /healthz HTTP/1.1\r\nHost: local")
            assert line.recv(100) == b""
        with socket.create_connection((place.host, place.port), timeout=DEADLINE) as line:
            assert line.recv(100) == b""
        answer = httpx.get(url + "healthz", trust_env=False)
        assert answer.json() == {"status": "ok"}
        assert "server" not in answer.headers


def test_many_wait_without_holding_up_health(jobs, tmp_path, picture):
    jobs.state = slow(jobs.state)
    with served(jobs, tmp_path) as url, Client(url) as client:
        job = client.submit(picture)
        asking = [threading.Thread(target=job_state, args=(url, job.id)) for _ in range(40)]
        for thread in asking:
            thread.start()
        began = time.monotonic()
        assert httpx.get(url + "healthz", trust_env=False, timeout=DEADLINE).is_success
        assert time.monotonic() - began < 5
        for thread in asking:
            thread.join()


def slow(function):
    def slowly(*args):
        time.sleep(0.2)
        return function(*args)

    return slowly


def job_state(url: str, id: str) -> None:
    httpx.get(f"{url}v1/jobs/{id}", trust_env=False, timeout=DEADLINE)
