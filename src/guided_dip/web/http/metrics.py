"""What the server does, in numbers, as Prometheus reads them."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from guided_dip.batch.entries import Counts
from guided_dip.memory import MEBI, memory_now
from guided_dip.web.problems import App, Message, Receive, Scope, Send

TYPE = CONTENT_TYPE_PLAIN_0_0_4
_TIMES = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0)  # seconds
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


class Metrics:
    """Counts; a registry of their own, so that two servers of a process have two."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        name = "guided_dip_"
        self._jobs = Gauge(
            name + "jobs", "Jobs by what has become of them.", ["state"], registry=self._registry
        )
        self.requests = Counter(
            name + "requests",
            "Requests by route, method and status.",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self.times = Histogram(
            name + "request_seconds",
            "Time from a request to the end of its answer, streams included.",
            ["route"],
            buckets=_TIMES,
            registry=self._registry,
        )
        self.received = Counter(
            name + "received_bytes", "Of the bodies of requests.", registry=self._registry
        )
        self.refused = Counter(
            name + "refused_jobs", "Jobs that found the queue full.", registry=self._registry
        )
        self.streams = Gauge(name + "streams", "Event streams open.", registry=self._registry)
        self._memory = Gauge(
            name + "memory_bytes", "Resident memory.", ["process"], registry=self._registry
        )
        self._computed = Gauge(
            name + "worker_cpu_seconds",
            "Of the processes that are at work, and of those that have ended.",
            registry=self._registry,
        )

    def text(self, counts: Counts) -> bytes:
        """Return all there is to tell.

        Parameters
        ----------
        counts
            Of the jobs.
        """
        for state, count in vars(counts).items():
            self._jobs.labels(state).set(count)
        self._memory.labels("server").set((memory_now() or 0) * MEBI)
        memory, seconds = _of_children()
        self._memory.labels("workers").set(memory)
        ended = os.times()
        self._computed.set(seconds + ended.children_user + ended.children_system)
        lines: bytes = generate_latest(self._registry)
        # When each counter was made, which tells nothing and is half of all.
        return b"".join(k for k in lines.splitlines(keepends=True) if b"_created" not in k)


class Measured:
    """Counts the requests that go through.

    Parameters
    ----------
    app
        Which answers them.
    metrics
        Where they are counted.
    """

    def __init__(self, app: App, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        from anyio import current_time

        status, began = 499, current_time()  # of one whose client has gone

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except Exception:
            status = 500
            raise
        finally:
            # Never by the path itself: whoever asks could make as many numbers as they like.
            route = str(getattr(scope.get("route"), "path", "") or "none")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(route, method, str(status)).inc()
            self._metrics.times.labels(route).observe(current_time() - began)
            if status == 429 and route == "/v1/jobs":
                self._metrics.refused.inc()


def _of_children() -> tuple[int, float]:
    """Return resident bytes and CPU seconds of this process's children; zeros outside Linux."""
    memory, ticks = 0, 0
    if not hasattr(os, "sysconf"):
        return 0, 0.0
    page, tick = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
    for pid in children_of(os.getpid()):
        with suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
            memory += int(fields[21]) * page
    return memory, ticks / tick


def children_of(pid: int) -> list[int]:
    """Return the processes that a process has started and that still are; none outside Linux."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(word) for word in task.read_text().split()]
    return found
