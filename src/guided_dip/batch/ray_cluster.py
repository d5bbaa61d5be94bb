"""A Ray cluster is connected to, or started here: quietly, soon, and with the signals left ours."""

from __future__ import annotations

import inspect
import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from guided_dip.errors import InputError
from guided_dip.workers import cores

STORE = 100 * 2**20  # bytes of Ray's object store: what is sent are paths and settings
ANSWER = 5.0  # seconds in which a cluster answers
# What a client of gRPC says first, and an empty frame of settings; a server sends its own.
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
SETTINGS = 4


def load_ray() -> Any:
    """Return the module.

    Raises
    ------
    InputError
        If Ray is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # else what it starts may tell its makers of it
    try:
        import ray
    except ImportError:
        raise InputError("--executor ray needs Ray: try pip install 'guided-dip[ray]'") from None
    return ray


def connect(ray: Any, address: str | None, count: int) -> None:
    """Connect to a cluster.

    Parameters
    ----------
    ray
        The module.
    address
        Of the cluster; None for what ``RAY_ADDRESS`` says; ``local`` for one that is started here.
    count
        Cores that are to be used of one that is started here; 0 for those that there are.

    Raises
    ------
    InputError
        If there is no such cluster.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    if not address:  # one that is started here can be reached from other machines
        raise InputError(
            "no Ray cluster is named: try --ray-address auto, or local to start one here "
            "that listens on all networks"
        )
    local = address == "local"
    started = {"num_cpus": count or cores(), "object_store_memory": STORE} if local else {}
    reached = "local" if local else _reached(address)

    with _own_signals(ray):
        try:
            ray.init(
                reached,
                logging_level=logging.CRITICAL,
                log_to_driver=False,
                include_dashboard=False,
                **started,
            )
        except Exception as error:  # of many kinds, as its own services may fail in many ways
            ray.shutdown()
            reason = " ".join(str(error).split()) or type(error).__name__
            what = "Ray cannot be started here" if local else _unusable(address)
            raise InputError(f"{what} ({reason})") from None


def disconnect(ray: Any) -> None:
    """End the processes that `connect` has started, or leave the cluster to others.

    Parameters
    ----------
    ray
        The module.
    """
    waits = "wait_for_processes" in inspect.signature(ray.shutdown).parameters  # newer ones
    ray.shutdown(**({"wait_for_processes": True} if waits else {}))


def _unusable(address: str) -> str:
    return f"--ray-address {address}: cannot be used"


def _reached(address: str) -> str:
    """Return an address where something answers as Ray does: itself, it would try for minutes."""
    try:
        return _probed(address)
    except (InputError, ConnectionError, ValueError) as error:
        raise InputError(f"{_unusable(address)} ({' '.join(str(error).split())})") from None


def _probed(address: str) -> str:
    if address == "auto":
        from ray._private.services import canonicalize_bootstrap_address

        address = canonicalize_bootstrap_address(address)
    host, colon, port = address.rpartition("://")[2].rpartition(":")
    if not colon or not port.isdecimal():
        raise InputError("it is not HOST:PORT, nor auto")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), ANSWER) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("0", "false"):
                connection.sendall(GREETING)
                answer = connection.recv(4)
                if len(answer) < 4 or answer[3] != SETTINGS:
                    raise InputError("what answers there is not Ray")
    except TimeoutError:
        raise InputError(f"no answer in {ANSWER:g} s") from None
    except (OSError, OverflowError) as error:
        raise InputError(getattr(error, "strerror", None) or str(error)) from None
    return address


@contextmanager
def _own_signals(ray: Any) -> Iterator[None]:
    """Keep the handlers of signals, in whose place Ray puts its own, in Python and in C++.

    A signal that came while its own are there would leave behind what is half started. (In a
    thread it would set none in Python; but what it starts ends with the thread that started it.)
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signals, Ray as little
        return
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    utils = ray._private.utils
    theirs = getattr(utils, "set_sigterm_handler", None)
    utils.set_sigterm_handler = lambda _: None
    try:
        yield
    finally:
        utils.set_sigterm_handler = theirs
        for number, handler in before.items():
            if handler is not None:  # else it was not set from Python
                signal.signal(number, handler)
