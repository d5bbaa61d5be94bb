"""Processes of their own that carry out one item after another, and say how it goes.

A `Pool` keeps one process a place, such as a device. It gives no item out by itself and keeps none
back: its user gives an item to a worker that is idle, hears what busy ones say, and learns which
item a process was at when it ended unasked. So a process that is killed costs the item it was at,
and no other::

    with Pool(work, places) as pool:
        while items or pool.busy:
            for worker in pool.idle:
                if items:
                    worker.give(items.pop())
            for worker, message in pool.wait():
                ...

The processes are spawned: a forked torch would hang.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, NoReturn, Protocol, Self

PATIENCE = 3.0  # seconds that a worker has to clean up
KILLED = 1.0  # seconds in which the system ends a process that is killed
AT_ONCE = 1000  # messages of one worker that are read before others have their turn
_IDLE = b"."  # what a worker sends when it is idle again; no pickle begins like that


class Link(Protocol):
    """What a work function talks through, from its main thread only."""

    def tell(self, message: Any) -> None:
        """Tell the pool something; the process ends here if the pool's process has gone.

        Parameters
        ----------
        message
            Anything that can be pickled.
        """

    def ask(self, message: Any) -> Any:
        """Tell the pool something and wait for what `Worker.answer` gives.

        Parameters
        ----------
        message
            Anything that can be pickled.
        """


Work = Callable[[Any, Link], None]  # carries out one item; a function of a module's top level


@dataclass(frozen=True)
class Ended:
    """What is heard last of a process: it is no more.

    Attributes
    ----------
    exit_code
        Minus the signal that killed it.
    """

    exit_code: int | None


@dataclass(frozen=True)
class _Letter:
    """What is sent, either way.

    Attributes
    ----------
    content
        A message, an item, or an answer.
    question
        Number of the question that this is, or answers; 0 for none.
    """

    content: Any
    question: int = 0


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
        self._send(_Letter(item))
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
        self._send(_Letter(answer, self._question))

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
                target=_carry_out, args=(self._work, self._far), daemon=True
            )
            with deaf_to_interrupts():
                process.start()
                self._process = process
            self._far.close()

    def _send(self, letter: _Letter) -> None:
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
            if data == _IDLE:
                self.item = None
                return
            letter: _Letter = pickle.loads(data)
            self._question = letter.question or self._question
            yield letter.content
            if letter.question:
                return  # there may be another if it gave this one up: each is answered by itself

    def _vent(self) -> bool:
        """Drop a message; False if there will be no more."""
        with _held(signal.SIGTERM), _held(signal.SIGINT):
            try:
                data = self._connection.recv_bytes()
            except (EOFError, OSError):
                return False
        if data == _IDLE:
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
        with _held(signal.SIGTERM), _held(signal.SIGINT):
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


@contextmanager
def _held(number: signal.Signals) -> Iterator[None]:
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


def _carry_out(work: Work, connection: Connection[Any, Any]) -> None:
    """Be a worker's process."""
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
        link.send(_IDLE)


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
        self.send(ForkingPickler.dumps(_Letter(message)))

    def ask(self, message: Any) -> Any:
        self._questions += 1
        self.send(ForkingPickler.dumps(_Letter(message, self._questions)))
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
            letter: _Letter = pickle.loads(data)
            if letter.question == question:  # else nobody waits for it any more
                return letter.content


@contextmanager
def _in_one_piece() -> Iterator[None]:
    """Have SIGTERM wait for what is done here; end the process if the other end has gone."""
    gone = False
    with _held(signal.SIGTERM):
        try:
            yield
        except (EOFError, OSError):
            gone = True
    if gone:
        _quit()


def cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cuda_devices() -> int:
    """Return the number of CUDA devices; without NVIDIA's driver torch is not loaded to ask."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0
