"""Ctrl-C and SIGTERM during a run: noted, so that the run can end between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether the run has been asked to end.

    Attributes
    ----------
    signal
        The signal that asked for it; None if none did.
    """

    def __init__(self) -> None:
        self.signal: int | None = None

    def note(self, number: int, frame: object) -> None:
        """Note a signal; a second Ctrl-C does not wait for the step to end."""
        del frame
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = number


@contextmanager
def noted_signals() -> Iterator[Stop]:
    """Note the signals that ask a program to end, instead of ending at once."""
    stop = Stop()
    with heard_by(stop.note):
        yield stop


@contextmanager
def heard_by(note: Callable[[int, object], None]) -> Iterator[None]:
    """Have the signals that ask a program to end go somewhere; outside the main thread, nowhere.

    Parameters
    ----------
    note
        Called with the signal's number, and the frame that it came in.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may set signals
        return
    # What is ignored stays so: a shell does that for what it runs in the background.
    heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, note) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
