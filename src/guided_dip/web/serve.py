"""The server: one process that answers, with its address, its folder and its end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from guided_dip.errors import InputError, quoted
from guided_dip.jobs.stop import heard_by
from guided_dip.web.access.guard import LEAST_TOKEN, LOOPBACK, Access, digest, host_named, owner_of
from guided_dip.web.http.app import Page, make_app
from guided_dip.web.jobs import Jobs
from guided_dip.web.limits import Limits
from guided_dip.web.uploads.arrival import FOLDER, Spool
from guided_dip.web.uploads.probe import Checker

CONNECTIONS = 512
PAGE_FOLDER = "page"  # in the data folder
HEAD_SECONDS = 20.0  # for the head of a request
HEAD_BYTES = 16 * 2**10
IDLE = 20.0  # seconds that a connection is kept between two requests
LEAVING = 5  # seconds for answers that are being sent when the server is asked to end
_TOKEN = re.compile(r"[\x21-\x7e]+")
_NAME = re.compile(r"[0-9a-z_.-]+|[0-9a-f:.]+(%[0-9a-z_.-]+)?")


@dataclass(frozen=True)
class Options:
    """How a server is to be.

    Attributes
    ----------
    data
        The folder that all it keeps is in; it is made, but not the one it is in.
    host, port
        Where it listens; 0 for a port that is free.
    tokens
        Of its users; none if nobody needs one.
    names
        Further names by which it may be asked for, such as that of a reverse proxy.
    limits
        What anyone may ask for.
    workers
        Jobs that run at a time; None for one a GPU or core.
    memory
        Bytes of all of them; None for half of the machine's.
    page
        Whether there is a page, or the API alone.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 7860
    tokens: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    workers: int | None = None
    memory: int | None = None
    page: bool = True


class Manager(Jobs, Protocol):
    """Jobs of a server, until it is left."""

    @property
    def is_healthy(self) -> bool:
        """Whether jobs are being worked at."""

    def __enter__(self) -> Self:
        """Begin to work at jobs."""

    def __exit__(self, *_: object) -> None:
        """End that; what is not done is gone on with the next time."""


def serve(
    options: Options,
    begun: Callable[[str], None],
    manager: Callable[[Options], Manager] | None = None,
) -> None:
    """Answer until a signal says otherwise, which is raised again at the end.

    Parameters
    ----------
    options
        How to.
    begun
        Called with the address, once there is an answer.
    manager
        Makes what does the work; None for the one that does.

    Raises
    ------
    InputError
        If the options go together badly, the port is taken, or another server has the folder.
    """
    access = access_of(options)
    with (
        bound(options.host, options.port) as listening,
        (manager or _manager)(options) as jobs,
        Checker(options.limits) as checker,
    ):
        app = make_app(
            jobs,
            access=access,
            spool=Spool(options.data / FOLDER, checker),
            page=_page(jobs, checker, options.data) if options.page else None,
            healthy=lambda: jobs.is_healthy,
        )
        server_of(app, listening, begun).run([listening])


def _manager(options: Options) -> Manager:
    from guided_dip.web.queue.manager import JobManager

    return JobManager(
        options.data, options.limits, workers=options.workers, memory=options.memory, warm=True
    )


def server_of(
    app: FastAPI, listening: socket.socket, begun: Callable[[str], None]
) -> uvicorn.Server:
    """Return what has an application answer on a socket: its ``run`` ends with a signal.

    Parameters
    ----------
    app
        Made by `make_app`.
    listening
        The socket.
    begun
        Called with the address, once there is an answer.
    """
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        backlog=256,
        timeout_keep_alive=int(IDLE),
        timeout_graceful_shutdown=LEAVING,
        h11_max_incomplete_event_size=HEAD_BYTES,
    )
    return _Server(config, lambda: begun(address_of(listening)), app.state.streams.close)


def access_of(options: Options) -> Access:
    """Return who may ask a server.

    Parameters
    ----------
    options
        How it is to be.

    Raises
    ------
    InputError
        If it would listen elsewhere than on loopback with no token, a token is too short, or what
        is given as a further name of the machine is no name.
    """
    for token in options.tokens:
        if len(token) < LEAST_TOKEN or not _TOKEN.fullmatch(token):
            raise InputError(
                f"a token has at least {LEAST_TOKEN} letters and digits, no spaces; try "
                "python -c 'import secrets; print(secrets.token_urlsafe())'"
            )
    _, place = _resolved(options.host, options.port)
    address = ipaddress.ip_address(str(place[0]).partition("%")[0])
    if not address.is_loopback and not options.tokens:
        raise InputError(
            f"--host {options.host} is open to other machines, and needs --token or --token-file"
        )
    names = {host_named(options.host), str(address), *map(_name_of, options.names)} - {""}
    return Access(
        owners=frozenset(map(digest, options.tokens)),
        hosts=LOOPBACK | names,
        any_address=address.is_unspecified,
    )


def bound(host: str, port: int) -> socket.socket:
    """Return a socket that nobody else listens on.

    Raises
    ------
    InputError
        If there is no such host, or the port is taken or not allowed.
    """
    family, place = _resolved(host, port)
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if hasattr(socket, "SO_REUSEPORT"):  # not on Windows, where the next would share the port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind(place)
        listening.listen(256)
    except OSError as error:
        listening.close()
        raise InputError(
            f"port {port} of {host} cannot be had ({error.strerror}); try --port 0, or another"
        ) from None
    return listening


def address_of(listening: socket.socket) -> str:
    """Return the URL of a socket, as a browser on this machine takes it."""
    host, port = listening.getsockname()[:2]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = "127.0.0.1" if listening.family == socket.AF_INET else "::1"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def _name_of(given: str) -> str:
    """Return a name by which the server may be asked for, its port left off."""
    name = host_named(given)
    if not _NAME.fullmatch(name):
        raise InputError(f"--allow-host {quoted(given)}: no name of a machine; try dip.example.org")
    return name


def _resolved(host: str, port: int) -> tuple[socket.AddressFamily, Any]:
    try:
        found = socket.getaddrinfo(host or "127.0.0.1", port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "no such name"
        raise InputError(f"--host {host}: {reason}; try 127.0.0.1") from None
    family, _, _, _, place = found[0]
    return family, place


def _page(jobs: Jobs, checker: Checker, data: Path) -> Page:
    """Return what mounts the page."""

    def mounted(app: FastAPI) -> None:
        from guided_dip.web.page.mounting import mount

        mount(app, jobs, checker.look, owner_of, data / PAGE_FOLDER)

    return mounted


class _Server(uvicorn.Server):
    """Says where it is, and ends its streams before it waits for them."""

    def __init__(
        self, config: uvicorn.Config, begun: Callable[[], None], leaving: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._begun = begun
        self._leaving = leaving

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # What a shell has told a program in the background to ignore stays ignored.
        with heard_by(lambda number, _: self.handle_exit(number, None)):
            yield
        for number in reversed(self._captured_signals):
            signal.raise_signal(number)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._begun()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._leaving()
        await super().shutdown(sockets)


class _Protocol(H11Protocol):
    """Gives the head of a request, which uvicorn waits for without end, so many seconds."""

    _head: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        if self.conn.their_state is not h11.IDLE:
            self._unwatch()
        elif self._head is None:
            self._head = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _unwatch(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _too_slow(self) -> None:
        self._head = None
        if self.conn.their_state is h11.IDLE:
            with contextlib.suppress(OSError):
                self.transport.close()
