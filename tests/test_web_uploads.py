"""Hostile uploads: refused in one line, or harmless; nothing is left, and the server goes on."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from guided_dip.web.http.metrics import children_of
from hostile import BOUNDARY, END, FILES, IMAGE, PICKLED, REQUESTS

HERE = Path(__file__).parent
DEADLINE = 60.0


class Server:
    """A server of jobs that restore nothing, whose every write is watched."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.data = folder / "data"
        self.log = folder / "writes"
        command = [sys.executable, str(HERE / "web_fake_server.py"), str(self.data)]
        self.process = subprocess.Popen(
            [*command, "--watch", str(self.log), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url, self.process.communicate()[1]
        self.http = httpx.Client(base_url=self.url, trust_env=False, timeout=DEADLINE)

    def close(self) -> tuple[int, str]:
        self.http.close()
        self.process.terminate()
        _, said = self.process.communicate(timeout=DEADLINE)
        return self.process.returncode, said

    def connect(self) -> socket.socket:
        place = urlsplit(self.url)
        return socket.create_connection((place.hostname, place.port), timeout=DEADLINE)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("uploads")
    PICKLED.unlink(missing_ok=True)
    server = Server(folder, "--upload", str(2 * 2**20), "--pixels", str(2**20))
    yield server
    children = children_of(server.process.pid)
    assert children, "files are looked at in processes of their own"
    _, said = server.close()
    assert "Traceback" not in said
    assert server.log.read_text() == "", "written outside of the data folder"
    assert {p.name for p in folder.iterdir()} == {"data", "writes"}
    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))
    assert not PICKLED.exists()


def check_harmless(server: Server, answer: httpx.Response) -> None:
    """What every answer has, and what is true after it."""
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "set-cookie" not in answer.headers
    assert str(server.data) not in answer.text
    assert str(HERE.parent) not in answer.text
    if answer.status_code != 201:
        (error,) = answer.json().values()
        assert error
        assert "\n" not in error
        assert "Traceback" not in error
    assert server.http.get("/healthz").json() == {"status": "ok"}
    assert not list((server.data / "arriving").iterdir())


@pytest.mark.parametrize("case", FILES, ids=lambda case: case.name)
def test_hostile_files(server, case):
    answer = server.http.post("/v1/jobs", content=form_of(case), headers=FORM)
    assert answer.status_code in case.right, answer.text
    check_harmless(server, answer)
    if answer.status_code == 201:
        check_taken(server, answer.json()["id"])


FORM = {"content-type": f"multipart/form-data; boundary={BOUNDARY.decode()}"}


def form_of(case) -> bytes:
    """Send names as they are: a client would have made them harmless."""
    escaped = case.file_name.replace("\\", "\\\\").replace('"', '\\"')
    plain = escaped.replace("\r", " ").replace("\n", " ")
    head = b"--" + BOUNDARY + b'\r\nContent-Disposition: form-data; name="image"; filename="'
    return head + plain.encode() + b'"\r\n\r\n' + case.content + b"\r\n" + END


def check_taken(server: Server, id: str) -> None:
    state = server.http.get(f"/v1/jobs/{id}").json()
    for name in (state["name"], state["file_name"]):
        assert name.isprintable()
        assert not set(name) & set("/\\\0\r\n")
        assert name not in ("", ".", "..")
        assert len(name) < 200
    (file,) = (server.data / "jobs" / id).iterdir()
    assert file.name.startswith("image.")
    assert server.http.delete(f"/v1/jobs/{id}").status_code == 204


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.name)
def test_hostile_requests(server, case):
    answer = server.http.post("/v1/jobs", content=case.body, headers=case.headers)
    assert answer.status_code in case.right, answer.text
    check_harmless(server, answer)


def test_a_large_request_is_refused_before_it_comes(server):
    with server.connect() as line:
        line.sendall(head_of("content-length: 99999999999\r\n"))
        assert line.recv(1000).startswith(b"HTTP/1.1 413 ")


def test_a_request_without_end_is_cut_off(server):
    sent, block = 0, b"10000\r\n" + bytes(2**16) + b"\r\n"
    with server.connect() as line:
        line.sendall(head_of("transfer-encoding: chunked\r\n"))
        first = IMAGE[:-2]
        line.sendall(f"{len(first):x}\r\n".encode() + first + b"\r\n")
        try:
            while sent < 2**28:
                line.sendall(block)
                sent += len(block)
        except OSError:
            pass
    assert sent < 2**28
    assert server.http.get("/healthz").is_success
    wait_for(lambda: not list((server.data / "arriving").iterdir()))


def test_a_client_that_goes_leaves_nothing(server):
    with server.connect() as line:
        line.sendall(head_of("content-length: 1000000\r\n") + IMAGE[:-100])
        wait_for(lambda: list((server.data / "arriving").iterdir()))
    wait_for(lambda: not list((server.data / "arriving").iterdir()))


def test_a_huge_head_is_refused(server):
    with server.connect() as line:
        line.sendall(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nx: " + b"a" * 2**20)
        with contextlib.suppress(ConnectionError):
            assert line.recv(1000).startswith(b"HTTP/1.1 4")
    assert server.http.get("/healthz").is_success


def test_two_lengths_are_refused(server):
    with server.connect() as line:
        line.sendall(head_of("content-length: 5\r\ntransfer-encoding: chunked\r\n") + b"0\r\n\r\n")
        assert line.recv(1000).startswith(b"HTTP/1.1 4")


def head_of(more: str) -> bytes:
    head = "POST /v1/jobs HTTP/1.1\r\nhost: 127.0.0.1\r\n"
    return f"{head}content-type: {FORM['content-type']}\r\n{more}\r\n".encode()


def wait_for(condition) -> None:
    until = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


def test_the_counters_know_no_paths(server):
    for name in ("a", "b", "../etc/passwd"):
        server.http.get(f"/v1/{name}")
    text = server.http.get("/metrics").text
    assert 'route="/v1/jobs"' in text
    assert "passwd" not in text
    assert 'route="none"' in text
