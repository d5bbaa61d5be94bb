"""A pool of workers, as the process sees them that gives them items."""

from __future__ import annotations

import multiprocessing
import pickle
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from typing import Any, Self

from guided_dip.workers.link import IDLE, Letter, Work
from guided_dip.workers.process import carry_out
from guided_dip.workers.signals import deaf_to_interrupts, held

PATIENCE = 3.0  # seconds that a worker has to clean up
KILLED = 1.0  # seconds in which the system ends a process that is killed
AT_ONCE = 1000  # messages of one worker that are read before others have their turn


@dataclass(frozen=True)
class Ended:
    """What is heard last of a process: it is no more.

    Attributes
    ----------
    exit_code
        Minus the signal that killed it.
    """

    exit_code: int | None


class Bell:
    """Wakes the thread that waits for workers, from any other thread."""

    def __init__(self) -> None:
        self._reader, self._writer = multiprocessing.get_context("spawn").Pipe(duplex=False)
        self._lock = threading.Lock()
        self._rung = False

    def ring(self) -> None:
        """Wake who waits, or who will wait next."""
        with self._lock:
            if not self._rung:  # one is enough, and a pipe holds so many
                self._rung = True
                self._writer.send_bytes(b"!")

    def hush(self) -> None:
        """Take it as heard."""
        with self._lock:
            if self._rung:
                self._rung = False
                self._reader.recv_bytes()

    def wait(self, seconds: float) -> bool:
        """Wait for it, and tell whether it rang.

        Parameters
        ----------
        seconds
            The most to wait.
        """
        rang = self._reader.poll(seconds)
        self.hush()
        return rang


class Worker:
    """A process that carries out one item after another.

    It is deaf to Ctrl-C. SIGTERM raises SystemExit in the work function, once, unless that has set
    a handler of its own; it waits for a message that is being sent. What the work function raises
    ends the process, with exit code 1.

    Parameters
    ----------
    work
        What is done with each item.
    place
        Whatever tells it from others.

    Attributes
    ----------
    place
        As it was given: for the pool's user, the process does not see it.
    item
        What it is at, or was at when it ended; None if it waits for something.
    """

    def __init__(self, work: Work, place: Any) -> None:
        self.place = place
        self.item: Any = None
        self._work = work
        self._process: SpawnProcess | None = None
        self._connection, self._far = multiprocessing.get_context("spawn").Pipe()
        self._question = 0
        self._over = False

    @property
    def pid(self) -> int | None:
        """Of the process; None if it has not been started yet."""
        return self._process.pid if self._process else None

    def give(self, item: Any) -> None:
        """Have it carry out something; this starts the process, if it has not been started yet.

        Parameters
        ----------
        item
            Anything that can be pickled, but None.

        Raises
        ------
        ValueError
            If it is at something already, or the item is None.
        """
        if item is None or self.item is not None:
            raise ValueError("only a worker that is idle can be given something")
        self._start()
        self._send(Letter(item))
        self.item = item

    def answer(self, answer: Any) -> None:
        """Answer what it has asked; if it no longer waits for that, the answer is dropped.

        Parameters
        ----------
        answer
            Anything that can be pickled.

        Raises
        ------
        ValueError
            If it has asked nothing.
        """
        if not self._question:
            raise ValueError("a worker that has asked nothing cannot be answered")
        self._send(Letter(answer, self._question))

    def terminate(self) -> None:
        """Tell the process to end, without waiting for it: the pool tells when it has."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """End the process at once, without a chance to clean up: the pool tells when it has."""
        if self._process is not None:
            self._process.kill()
            self._process.join(KILLED)

    def stop(self) -> None:
        """End the process, whatever it is at; what it has said and nobody has read is lost."""
        self.terminate()
        _see_off([self])

    def _start(self) -> None:
        if self._process is None:
            process = multiprocessing.get_context("spawn").Process(
                target=carry_out, args=(self._work, self._far), daemon=True
            )
            with deaf_to_interrupts():
                process.start()
                self._process = process
            self._far.close()

    def _send(self, letter: Letter) -> None:
        with suppress(OSError):  # it is no more: reading says so, too
            self._connection.send(letter)

    def _is_gone(self) -> bool:
        """Tell whether it needs a successor; one that is at something has last words to be read."""
        if self._over or self._process is None or self.item is not None:
            return self._over
        return not self._process.is_alive()

    def _hear(self) -> Iterator[Any]:
        """Yield what it has said since; nothing if all there is to it is that it is idle again."""
        for _ in range(AT_ONCE):
            try:
                if not self._connection.poll():
                    return
                data = self._connection.recv_bytes()
            except (EOFError, OSError):
                yield Ended(self._bury(PATIENCE))
                return
            if data == IDLE:
                self.item = None
                return
            letter: Letter = pickle.loads(data)
            self._question = letter.question or self._question
            yield letter.content
            if letter.question:
                return  # there may be another if it gave this one up: each is answered by itself

    def _vent(self) -> bool:
        """Drop a message; False if there will be no more."""
        with held(signal.SIGTERM), held(signal.SIGINT):
            try:
                data = self._connection.recv_bytes()
            except (EOFError, OSError):
                return False
        if data == IDLE:
            self.terminate()  # its work function has kept the first word to itself
        return True

    def _bury(self, seconds: float) -> int | None:
        """See the process end, killed if it takes longer; return the exit code."""
        self._over = True
        if self._process is not None:
            self._process.join(seconds)
            if self._process.is_alive():
                self._process.kill()
                self._process.join()
        self._far.close()
        self._connection.close()  # not before: its clean-up may have something to say
        return self._process.exitcode if self._process else None


class Pool:
    """Workers, one a place; a context manager that ends them all when it is left.

    Parameters
    ----------
    work
        What is done with each item.
    places
        One for each worker.
    bell
        Ends a wait early.
    """

    def __init__(self, work: Work, places: Sequence[Any], bell: Bell | None = None) -> None:
        self._work = work
        self._bell = bell
        self._crew = [Worker(work, place) for place in places]

    def __enter__(self) -> Self:
        try:
            for worker in self._crew:
                worker._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    @property
    def idle(self) -> list[Worker]:
        """Those that wait for something, in the order of their places.

        One that was killed has a new one in its place here, whose process starts when it is given
        something.
        """
        return [worker for worker in self._present() if worker.item is None]

    @property
    def busy(self) -> list[Worker]:
        """Those that are at something, in the order of their places."""
        return [worker for worker in self._present() if worker.item is not None]

    def wait(self, seconds: float | None = None) -> list[tuple[Worker, Any]]:
        """Wait until busy workers have said something, and return all that they have.

        What one says keeps its order. If its process is no more, an `Ended` follows its last
        message; `Worker.item` is then what it was at.

        Parameters
        ----------
        seconds
            The most to wait; None for as long as it takes.

        Returns
        -------
        list of (Worker, message)
            Empty if the time runs out, if the bell rings, if nobody is busy, or if all that has
            come of it is that a worker is idle again.

        Notes
        -----
        An exception that a signal's handler raises in here, as Ctrl-C does, may lose messages. A
        handler that returns does not end the wait: give it some seconds where that matters.
        """
        busy = self.busy
        if not busy:
            return []
        bells = [] if self._bell is None else [self._bell._reader]
        ready = wait([*(worker._connection for worker in busy), *bells], seconds)
        if self._bell is not None:
            self._bell.hush()
        with held(signal.SIGTERM), held(signal.SIGINT):
            return [
                (worker, message)
                for worker in busy
                if worker._connection in ready
                for message in worker._hear()
            ]

    def terminate(self) -> None:
        """Tell every process to end, without waiting for it."""
        for worker in self._crew:
            worker.terminate()

    def _present(self) -> list[Worker]:
        for number, worker in enumerate(self._crew):
            if worker._is_gone():
                worker.stop()
                self._crew[number] = Worker(self._work, worker.place)
        return self._crew

    def _end(self) -> None:
        self.terminate()
        _see_off(self._crew)
        self._crew = []


def _see_off(crew: Sequence[Worker]) -> None:
    """See processes end that have been told to, those killed that take too long.

    What they say is let through unread: they would else wait to be rid of it.
    """
    until = time.monotonic() + PATIENCE
    talking = [worker for worker in crew if worker.pid and not worker._over]
    try:
        while talking and (left := until - time.monotonic()) > 0:
            ready = wait([worker._connection for worker in talking], left)
            for worker in talking.copy():
                if worker._connection in ready and not worker._vent():
                    talking.remove(worker)
    finally:
        for worker in crew:
            worker._bury(max(0.0, until - time.monotonic()))
