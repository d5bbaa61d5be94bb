"""The web service under load: many clients at once, against a server of this machine.

    python benchmarks/web_load.py --clients 50 --seconds 120 -o load.json

Each client uploads small pictures, follows some of its jobs by events and asks for others now and
then, fetches results, and removes what it has seen. Beside them the health of the server is asked
for five times a second, of which none may fail, and the memory of the server and of its workers
is written down. All goes to loopback; time and clients are bounded.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from PIL import Image

from guided_dip.web.http.metrics import children_of

EVERY = 0.2  # seconds between two questions about health
MEMORY_EVERY = 1.0
MOST_CLIENTS, MOST_SECONDS = 200, 600.0
STEPS = 3  # of each job: the service is measured, not the fit


@dataclass
class Found:
    """What has been seen, by all threads."""

    answers: Counter[str] = field(default_factory=Counter)
    health: list[float] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    memory: list[tuple[float, int, int]] = field(default_factory=list)
    uploads: list[float] = field(default_factory=list)
    done: int = 0
    without_retry_after: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str, answer: httpx.Response) -> None:
        """Count an answer; a refusal has to say when to try again."""
        with self.lock:
            self.answers[f"{what} {answer.status_code}"] += 1
            if answer.status_code in (429, 503) and "retry-after" not in answer.headers:
                self.without_retry_after += 1

    def fail(self, text: str) -> None:
        """Keep what ought not to have happened."""
        with self.lock:
            self.failed.append(text[:300])


def picture(seed: int) -> bytes:
    """Return a small picture."""
    data = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (24, 24, 3), np.uint8)
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


def be_client(url: str, number: int, until: float, found: Found) -> None:
    """Do what a client does, until the time is over."""
    choice = random.Random(number)
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        while time.monotonic() < until:
            try:
                _one_job(http, choice, until, found)
            except httpx.HTTPError as error:
                found.fail(f"client {number}: {type(error).__name__}: {error}")
                time.sleep(0.5)


def _one_job(http: httpx.Client, choice: random.Random, until: float, found: Found) -> None:
    files = {"image": ("noisy.png", picture(choice.randrange(1000)), "image/png")}
    data = {"effort": "fast", "noise": "gaussian:25", "settings": json.dumps({"steps": STEPS})}
    began = time.monotonic()
    answer = http.post("/v1/jobs", files=files, data=data)
    found.count("upload", answer)
    if answer.status_code != 201:
        wait = float(answer.headers.get("retry-after", 1))
        time.sleep(min(wait, 5.0, max(0.0, until - time.monotonic())) * choice.uniform(0.2, 1))
        return
    with found.lock:
        found.uploads.append(time.monotonic() - began)
    at = answer.headers["location"]
    status = _followed(http, at, until, found) if choice.random() < 0.5 else ""
    while status not in ("done", "failed", "cancelled") and time.monotonic() < until:
        time.sleep(choice.uniform(0.2, 1.0))
        polled = http.get(at)
        found.count("poll", polled)
        status = polled.json().get("status", "gone") if polled.is_success else "gone"
        if status == "gone" or choice.random() < 0.02:
            break
    if status == "done":
        result = http.get(f"{at}/result")
        found.count("result", result)
        with found.lock:
            found.done += result.content.startswith(b"\x89PNG")
    if time.monotonic() < until:
        found.count("remove", http.delete(at))


def _followed(http: httpx.Client, at: str, until: float, found: Found) -> str:
    status = ""
    with http.stream("GET", f"{at}/events") as answer:
        found.count("events", answer)
        if not answer.is_success:
            return status
        for line in answer.iter_lines():
            if line.startswith("data:"):
                status = json.loads(line[5:])["status"]
            if time.monotonic() > until:
                break
    return status


def ask_health(url: str, until: float, found: Found) -> None:
    """Ask for the server's health as often as a watchdog in a hurry."""
    with httpx.Client(base_url=url, timeout=10, trust_env=False) as http:
        while time.monotonic() < until:
            began = time.monotonic()
            try:
                answer = http.get("/healthz")
                found.health.append(time.monotonic() - began)
                if answer.status_code != 200:
                    found.fail(f"health: {answer.status_code} {answer.text}")
            except httpx.HTTPError as error:
                found.fail(f"health: {type(error).__name__}: {error}")
            time.sleep(max(0.0, EVERY - (time.monotonic() - began)))


def watch_memory(pid: int, until: float, found: Found) -> None:
    """Write down the memory of the server, and of its workers together, in MiB."""
    began = time.monotonic()
    while time.monotonic() < until:
        workers = sum(resident(child) for child in children_of(pid))
        found.memory.append((time.monotonic() - began, resident(pid), workers))
        time.sleep(MEMORY_EVERY)


def resident(pid: int) -> int:
    """Return the resident memory of a process, in MiB; 0 if it is no more."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE") // 2**20


def load(url: str, pid: int, clients: int, seconds: float) -> Found:
    """Put a server under load.

    Parameters
    ----------
    url, pid
        Of the server.
    clients
        How many at once.
    seconds
        For how long.
    """
    found, until = Found(), time.monotonic() + seconds
    threads = [
        threading.Thread(target=be_client, args=(url, number, until, found))
        for number in range(clients)
    ]
    threads.append(threading.Thread(target=ask_health, args=(url, until, found)))
    threads.append(threading.Thread(target=watch_memory, args=(pid, until, found)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def summary(found: Found, clients: int, seconds: float) -> dict[str, Any]:
    """Return what was seen, in numbers."""
    health = sorted(found.health) or [0.0]
    server = [row[1] for row in found.memory] or [0]
    workers = [row[2] for row in found.memory] or [0]
    tenth = max(1, len(server) // 10)
    return {
        "clients": clients,
        "seconds": seconds,
        "answers": dict(sorted(found.answers.items())),
        "results": found.done,
        "refusals_without_retry_after": found.without_retry_after,
        "failed": found.failed[:20],
        "health": {
            "asked": len(found.health),
            "median_ms": round(1000 * health[len(health) // 2], 1),
            "99th_ms": round(1000 * health[int(len(health) * 0.99)], 1),
            "worst_ms": round(1000 * health[-1], 1),
        },
        "upload_ms": {
            "median": round(1000 * float(np.median(found.uploads or [0])), 1),
            "worst": round(1000 * max(found.uploads, default=0), 1),
        },
        "memory_mib": {
            "server": {"start": server[0], "peak": max(server), "end": max(server[-tenth:])},
            "workers": {"start": workers[0], "peak": max(workers), "end": max(workers[-tenth:])},
        },
    }


def start(data: Path, *options: str) -> tuple[subprocess.Popen[str], str]:
    """Start a server on a free port; return its process and address."""
    server = subprocess.Popen(
        [sys.executable, "-m", "guided_dip", "web", "--data", str(data), "--port", "0", *options],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert server.stdout is not None
    url = server.stdout.readline().strip()
    if not url:
        server.wait()
        raise SystemExit(server.returncode)
    return server, url


def main() -> None:
    """Start a server, put it under load, and tell what was seen."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--max-queue", type=int, default=24)
    parser.add_argument("--page", action="store_true", help="with the page mounted")
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args()
    clients, seconds = min(asked.clients, MOST_CLIENTS), min(asked.seconds, MOST_SECONDS)
    options = ["--max-queue", str(asked.max_queue), "--quiet"]
    options += [] if asked.page else ["--no-page"]
    with tempfile.TemporaryDirectory() as folder:
        server, url = start(Path(folder) / "data", *options)
        try:
            told = summary(load(url, server.pid, clients, seconds), clients, seconds)
        finally:
            server.terminate()
            server.wait()
    text = json.dumps(told, indent=2)
    print(text)
    if asked.output is not None:
        asked.output.write_text(text + "\n")
    raise SystemExit(bool(told["failed"] or told["refusals_without_retry_after"]))


if __name__ == "__main__":
    main()
