"""The loop of a batch: gives out what is queued, and writes down what becomes of it."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from guided_dip.batch.entries import Counts, Entry
from guided_dip.batch.manifest import Manifest
from guided_dip.batch.place import Place
from guided_dip.batch.work import Event, Executor, Item
from guided_dip.errors import InputError

TURN = 0.5  # seconds that nothing is looked at but what workers say
AT_REST = 0.02  # seconds between two looks for room while nothing is computed
PATIENCE = 300.0  # seconds for a step and a checkpoint of what is asked to end
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Requests:
    """What the user asked for by signals while a batch runs.

    Attributes
    ----------
    drain
        No more pictures are to be begun.
    stop
        Those that are computed are to end soon.
    signal
        The last signal; None if there was none.
    """

    def __init__(self) -> None:
        self.drain = self.stop = False
        self.signal: int | None = None

    def note(self, number: int, frame: object = None) -> None:
        """Note a signal: Ctrl-C drains, a second one stops, as SIGTERM does; a third one ends."""
        del frame
        if self.stop and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.stop = self.drain or number != signal.SIGINT
        self.drain, self.signal = True, number


@contextmanager
def requests() -> Iterator[Requests]:
    """Note the signals that ask a program to end, instead of ending at once."""
    noted = Requests()
    if threading.current_thread() is not threading.main_thread():
        yield noted  # only the main thread may set signals
        return
    # What is ignored stays so: a shell does that for what it runs in the background.
    heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, noted.note) for number in heard}
    try:
        yield noted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True)
class Progress:
    """How far a batch is.

    Attributes
    ----------
    counts
        Pictures by state.
    per_hour
        Pictures an hour in this call, parts of pictures included; None before there is a pace.
    seconds_left
        Foretold from that.
    draining
        No more pictures are begun, and those that were are finished.
    stopping
        Those that were begun are to end soon, and keep their place.
    watching
        All is done, and more may come.
    """

    counts: Counts
    per_hour: float | None = None
    seconds_left: float | None = None
    draining: bool = False
    stopping: bool = False
    watching: bool = False


@dataclass(frozen=True)
class Rules:
    """How a batch is gone about.

    Attributes
    ----------
    together
        Pictures of a group.
    attempts
        How often a picture is begun whose process ends unasked.
    fail_fast
        Stop when a picture fails.
    overwrite
        Files that are in the place of a restoration may be replaced, whoever wrote them.
    look
        Looks for more pictures and enrols them; None: there will be no more.
    look_every
        Seconds between two looks.
    """

    together: int = 1
    attempts: int = 4
    fail_fast: bool = False
    overwrite: bool = False
    look: Callable[[], None] | None = None
    look_every: float = 5.0


@dataclass(frozen=True)
class Ending:
    """How a batch ended.

    Attributes
    ----------
    counts
        Pictures by state.
    done, failed
        How many came to that in this call.
    stuck
        Why nothing could be written any more, else an empty string.
    signal
        That asked for the end; None if there was none.
    failed_fast
        A picture failed, which stopped the others.
    """

    counts: Counts
    done: int
    failed: int
    stuck: str = ""
    signal: int | None = None
    failed_fast: bool = False


@dataclass
class Coordinator:
    """Carries out what a manifest has queued.

    Attributes
    ----------
    manifest
        Open for writing, and locked against other coordinators.
    executor
        Who does the work.
    place
        Folders and files.
    rules
        How it is gone about.
    on_progress
        Called now and then.
    """

    manifest: Manifest
    executor: Executor
    place: Place
    rules: Rules = field(default_factory=Rules)
    on_progress: Callable[[Progress], None] = lambda _: None
    _running: dict[str, Entry] = field(default_factory=dict)
    _shares: dict[str, float] = field(default_factory=dict)
    _done: int = 0
    _failed: int = 0
    _stuck: str = ""
    _stopping: float | None = None
    _began: float | None = None

    def run(self, asked: Requests) -> Ending:
        """Carry out everything, or as much as is asked for.

        Parameters
        ----------
        asked
            Looked at all the time.

        Raises
        ------
        InputError
            If a picture that is named cannot be one.
        RunError
            If the manifest cannot be written any more; nothing that it has is lost.
        """
        looked = time.monotonic()
        while True:
            if self._ends(asked):
                self._stop()
            elif not asked.drain:
                self._give()
            if not self._running:
                if asked.drain or self._stopping is not None:
                    break
                if not self.manifest.counts().queued:
                    if self.rules.look is None:
                        break
                    time.sleep(min(TURN, self.rules.look_every))
                else:  # none could be begun, or there is no room yet: a worker still ends its turn
                    time.sleep(AT_REST)
            self._take_in(self.executor.wait(TURN))
            look_on = self.rules.look is not None and not asked.drain
            if look_on and time.monotonic() - looked >= self.rules.look_every:
                assert self.rules.look is not None, "as was asked just now"
                self.rules.look()
                looked = time.monotonic()
            self.on_progress(self._progress(asked))
            if self._stopping is not None and time.monotonic() > self._stopping + PATIENCE:
                break
        self.manifest.requeue_running()
        return Ending(
            self.manifest.counts(),
            self._done,
            self._failed,
            self._stuck,
            asked.signal,
            self.rules.fail_fast and self._failed > 0,
        )

    def _ends(self, asked: Requests) -> bool:
        return asked.stop or bool(self._stuck) or (self.rules.fail_fast and self._failed > 0)

    def _stop(self) -> None:
        if self._stopping is None:
            self._stopping = time.monotonic()
            self.executor.stop()

    def _give(self) -> None:
        """Give out as many pictures as there is room for."""
        room = self.executor.room()
        if not room:
            return
        with self.manifest.transaction():
            entries = self.manifest.claim(room * self.rules.together)
            items = [item for entry in entries if (item := self._item(entry)) is not None]
        if items and self._began is None:
            self._began = time.monotonic()
        for group in _parted(items, room, self.rules.together):
            self.executor.submit(group)

    def _item(self, entry: Entry) -> Item | None:
        """Return what a worker needs to know; None if that cannot be."""
        source = self.manifest.root / entry.name
        output = self.place.output(entry.output)
        try:
            self._check(source, output)
        except InputError as error:
            self.manifest.fail(entry.name, str(error))
            self._failed += 1
            return None
        ours = entry.ours or self.rules.overwrite
        if not entry.ours and (ours or not output.exists()):
            self.manifest.mark_ours([entry.name])  # from now on what is there is what we wrote
        self._running[entry.name] = entry
        return Item(
            entry.name,
            source,
            output,
            self.place.work(entry.name, entry.settings),
            self.place.log(entry.name),
            self.place.run(entry.name),
            ours=ours,
        )

    def _check(self, source: Path, output: Path) -> None:
        """Refuse to write among the sources."""
        root = self.manifest.root
        if output == source or (
            output.is_relative_to(root) and not self.place.outdir.is_relative_to(root)
        ):
            raise InputError(f"{output}: is among the sources; try another OUTDIR")

    def _take_in(self, events: Sequence[Event]) -> None:
        """Write down what has been said, all of it as one."""
        lasting = [event for event in events if event.kind not in ("begun", "step")]
        for event in events:
            if event.name in self._running and event.kind in ("begun", "step"):
                self._shares[event.name] = event.share
        if not lasting:
            return
        with self.manifest.transaction():
            for event in lasting:
                self._write_down(event)
        for event in lasting:
            self._running.pop(event.name, None)
            self._shares.pop(event.name, None)

    def _write_down(self, event: Event) -> None:
        entry = self._running.get(event.name)
        if entry is None:
            return
        if event.kind == "done":
            assert event.done is not None, "what is done has come to something"
            self.manifest.finish(event.name, event.done)
            self._done += 1
        elif event.kind == "failed":
            self._fail(event.name, event.text)
        elif event.kind == "stuck":
            self._stuck = event.text
            self.manifest.requeue([event.name], counted=False)
        elif event.kind == "cut" or self._stopping is not None:
            self.manifest.requeue([event.name], counted=False)
        elif entry.attempts >= self.rules.attempts:
            times = f"{entry.attempts} times, the last time because "
            self._fail(event.name, f"it was begun {times}{event.text}")
        else:
            self.manifest.requeue([event.name], counted=True)

    def _fail(self, name: str, reason: str) -> None:
        self.manifest.fail(name, reason)
        self._failed += 1

    def _progress(self, asked: Requests) -> Progress:
        counts = self.manifest.counts()
        stopping = self._stopping is not None
        draining = asked.drain and not asked.stop and not stopping
        parts = sum(self._shares.values())
        worked = self._done + self._failed + parts
        now = Progress(
            counts,
            draining=draining,
            stopping=stopping,
            watching=self.rules.look is not None and not counts.left,
        )
        if self._began is None or not worked:
            return now
        pace = worked / max(1e-3, time.monotonic() - self._began)
        left = counts.running if draining else counts.left
        return replace(now, per_hour=3600 * pace, seconds_left=max(0.0, left - parts) / pace)


def _parted(items: Sequence[Item], room: int, together: int) -> Iterator[Sequence[Item]]:
    """Part pictures into groups, as evenly as there is room: a last one should not be alone."""
    size = min(together, -(-len(items) // room)) if items else 1
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]
