"""Signals that have to wait, or are not to be heard at all."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def held(number: signal.Signals) -> Iterator[None]:
    """Have a signal wait whose handler may raise, which would cut a message in two."""
    if threading.current_thread() is not threading.main_thread():
        yield  # handlers run in the main thread only
        return
    came = False

    def note(*_: object) -> None:
        nonlocal came
        came = True

    before = signal.signal(number, note)
    try:
        yield
    finally:
        signal.signal(number, before)
        if came:
            signal.raise_signal(number)


@contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Have a process that is started here hear no Ctrl-C from its first moment.

    The terminal sends it to the workers as well, which would each print a traceback. This process
    hears one that comes meanwhile right after.
    """
    if not hasattr(signal, "pthread_sigmask"):  # on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
