"""What a worker's process does: items, one after another, until its pool's process has gone."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from typing import Any, NoReturn

from guided_dip.workers.link import IDLE, Letter, Work
from guided_dip.workers.signals import held


def carry_out(work: Work, connection: Connection[Any, Any]) -> None:
    """Be a worker's process; it never returns.

    Parameters
    ----------
    work
        What is done with each item.
    connection
        To the pool's process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_follow_parent, daemon=True).start()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    link = _Pipe(connection)
    signal.signal(signal.SIGTERM, _quit)
    while True:
        work(link.receive(question=0), link)
        signal.signal(signal.SIGTERM, _quit)  # it may have set a handler of its own
        link.send(IDLE)


def _follow_parent() -> None:
    """End when the parent does: it may be killed while this process has long nothing to say."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "a worker has been started by another process"
    wait([parent.sentinel])
    os._exit(1)


def _quit(*_: object) -> NoReturn:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # once is enough: it would cut off the clean-up
    raise SystemExit(1)


class _Pipe:
    """A link to the pool's process."""

    def __init__(self, connection: Connection[Any, Any]) -> None:
        self._connection = connection
        self._questions = 0

    def tell(self, message: Any) -> None:
        self.send(ForkingPickler.dumps(Letter(message)))

    def ask(self, message: Any) -> Any:
        self._questions += 1
        self.send(ForkingPickler.dumps(Letter(message, self._questions)))
        return self.receive(self._questions)

    def send(self, data: bytes | memoryview) -> None:
        with _in_one_piece():
            self._connection.send_bytes(data)

    def receive(self, question: int) -> Any:
        """Wait for an answer, or an item as if it were that to question 0."""
        while True:
            wait([self._connection])  # a signal that cuts this short does no harm
            with _in_one_piece():
                data = self._connection.recv_bytes()
            letter: Letter = pickle.loads(data)
            if letter.question == question:  # else nobody waits for it any more
                return letter.content


@contextmanager
def _in_one_piece() -> Iterator[None]:
    """Have SIGTERM wait for what is done here; end the process if the other end has gone."""
    gone = False
    with held(signal.SIGTERM):
        try:
            yield
        except (EOFError, OSError):
            gone = True
    if gone:
        _quit()
