"""The loop of a batch: gives out what is queued, and writes down what becomes of it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from guided_dip.batch.entries import Counts, Entry
from guided_dip.batch.find import stamp_of
from guided_dip.batch.manifest import Manifest
from guided_dip.batch.pace import Pace
from guided_dip.batch.place import Place
from guided_dip.batch.progress import Ending, Progress, Requests, Rules
from guided_dip.batch.work import Event, Executor, Item
from guided_dip.errors import InputError
from guided_dip.workers import Bell

TURN = 0.5  # seconds that nothing is looked at but what workers say
NAP = 0.05  # seconds to wait for who has no room, and nothing to say either
PATIENCE = 300.0  # seconds for a step and a checkpoint of what is asked to end


@dataclass
class Coordinator:
    """Carries out what a manifest has queued with certain settings.

    Attributes
    ----------
    manifest
        Open for writing, and locked against other coordinators.
    settings
        Digest of those that the executor restores with; None: whatever is queued is.
    executor
        Who does the work.
    place
        Folders and files.
    rules
        How it is gone about.
    on_progress
        Called now and then.
    on_event
        Called with what is said of each picture, once it is written down.
    completed
        Adds to an item what is its own, such as orders; raises `InputError` if it cannot be
        restored.
    bell
        Rung by whoever wants the loop to look around at once; the executor's, too.
    """

    manifest: Manifest
    settings: str | None
    executor: Executor
    place: Place
    rules: Rules = field(default_factory=Rules)
    on_progress: Callable[[Progress], None] = lambda _: None
    on_event: Callable[[Event], None] = lambda _: None
    completed: Callable[[Item], Item] = lambda item: item
    bell: Bell | None = None
    _ended: deque[tuple[str, str | None]] = field(default_factory=deque)
    _running: dict[str, Entry] = field(default_factory=dict)
    _pace: Pace = field(default_factory=Pace)
    _done: int = 0
    _failed: int = 0
    _others: int = 0
    _stuck: str = ""
    _stopping: float | None = None

    def end(self, name: str, reason: str | None = None) -> None:
        """End a picture soon, whatever it is at; may be called from any thread.

        Parameters
        ----------
        name
            The picture.
        reason
            Why it has failed, if it is running; None: it is taken off the manifest.
        """
        self._ended.append((name, reason))
        if self.bell is not None:
            self.bell.ring()

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
        self._count_others()
        while True:
            self._end_asked()
            if self._ends(asked):
                self._stop()
            elif not asked.drain:
                self._give()
            if not self._running and self._is_over(asked):
                break
            self._take_in(self.executor.wait(TURN))
            if not self._running:
                self._rest()
            look_on = self.rules.look is not None and not asked.drain
            if look_on and time.monotonic() - looked >= self.rules.look_every:
                assert self.rules.look is not None, "as was asked just now"
                self.rules.look()
                self._count_others()
                looked = time.monotonic()
            self.on_progress(self._progress(asked))
            patience = PATIENCE if self.rules.patience is None else self.rules.patience
            if self._stopping is not None and time.monotonic() > self._stopping + patience:
                break
        self.manifest.requeue_running()
        return Ending(
            self._counts(),
            self._done,
            self._failed,
            self._stuck,
            asked.signal,
            self.rules.fail_fast and self._failed > 0,
            self._others,
        )

    def _end_asked(self) -> None:
        """End the pictures that are to be."""
        while self._ended:
            name, reason = self._ended.popleft()
            if name in self._running:
                self.executor.end(name)
                del self._running[name]
                self._pace.end(name, time.monotonic(), counted=False)
            elif reason is not None:
                continue
            if reason is None:
                self.manifest.withdraw([name])
                self.on_event(Event("gone", name))
            else:
                self._fail(name, reason)
                self.on_event(Event("failed", name, reason))

    def _count_others(self) -> None:
        """Count what is queued with other settings, and is none of this call's."""
        if self.settings is None:
            return
        self._others = self.manifest.counts().queued - self.manifest.queued(self.settings)

    def _counts(self) -> Counts:
        counts = self.manifest.counts()
        return replace(counts, queued=counts.queued - self._others)

    @cached_property
    def _root(self) -> Path:
        return self.manifest.root  # which is read from the file each time

    def _ends(self, asked: Requests) -> bool:
        return asked.stop or bool(self._stuck) or (self.rules.fail_fast and self._failed > 0)

    def _is_over(self, asked: Requests) -> bool:
        """Tell whether nothing comes after what is running."""
        if asked.drain or self._stopping is not None:
            return True
        # What is queued although nothing runs: who has just ended a picture has no room yet.
        return self.rules.look is None and not self.manifest.has_queued(self.settings)

    def _rest(self) -> None:
        """Wait where nobody has anything to say."""
        if not self.manifest.has_queued(self.settings):
            self._sleep(min(TURN, self.rules.look_every) if self.rules.look else 0)
        elif not self.executor.room():
            time.sleep(NAP)

    def _sleep(self, seconds: float) -> None:
        if self.bell is None or not seconds:
            time.sleep(seconds)
        else:
            self.bell.wait(seconds)

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
            entries = self.manifest.claim(room * self.rules.together, self.settings)
            items = [item for entry in entries if (item := self._item(entry)) is not None]
            groups = self._groups(items, room)
            kept_back = [item.name for group in groups[room:] for item in group]
            self.manifest.requeue(kept_back, counted=False)
        for name in kept_back:
            del self._running[name]
        for group in groups[:room]:
            for item in group:
                self._pace.begin(item.name, time.monotonic())
                self.on_event(Event("given", item.name))
            self.executor.submit(group)

    def _groups(self, items: Sequence[Item], room: int) -> list[Sequence[Item]]:
        """Part pictures into groups; what ends its process a second time takes no other along."""
        again = [item for item in items if self._running[item.name].attempts > 1]
        fresh = [item for item in items if self._running[item.name].attempts <= 1]
        alone = [[item] for item in again]
        return [*alone, *_parted(fresh, max(1, room - len(alone)), self.rules.together)]

    def _item(self, entry: Entry) -> Item | None:
        """Return what a worker needs to know; None if that cannot be."""
        source = self._root / entry.name
        output = self.place.output(entry.output)
        ours = entry.ours or self.rules.overwrite
        item = Item(
            entry.name,
            source,
            output,
            self.place.work(entry.name, entry.settings),
            self.place.log(entry.name),
            self.place.run(entry.name),
            ours=ours,
        )
        try:
            self._check(source, output)
            item = self.completed(item)
        except InputError as error:
            self._fail(entry.name, str(error))
            self.on_event(Event("failed", entry.name, str(error)))
            return None
        if not entry.ours and (ours or stamp_of(output) is None):
            self.manifest.mark_ours([entry.name])  # from now on what is there is what we wrote
        self._running[entry.name] = entry
        return item

    def _check(self, source: Path, output: Path) -> None:
        """Refuse to write among the sources."""
        root, outdir = self._root, self.place.outdir
        apart = outdir != root and outdir.is_relative_to(root)  # where no sources are looked for
        if output == source or (output.is_relative_to(root) and not apart):
            raise InputError(f"{output}: is among the sources; try another OUTDIR")

    def _take_in(self, events: Sequence[Event]) -> None:
        """Write down what has been said, all of it as one."""
        known = [event for event in events if event.name in self._running]
        for event in events:
            if event.kind == "step":
                self._pace.reach(event.name, event.share)
        lasting = [event for event in events if event.kind not in ("begun", "step")]
        if lasting:
            with self.manifest.transaction():
                for event in lasting:
                    self._write_down(event)
        for event in lasting:
            counted = event.kind in ("done", "failed")
            self._pace.end(event.name, time.monotonic(), counted=counted)
        for event in known:
            self.on_event(event)

    def _write_down(self, event: Event) -> None:
        entry = self._running.pop(event.name, None)
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
            self._fail(event.name, f"begun {entry.attempts} times; the last time {event.text}")
        else:
            self.manifest.requeue([event.name], counted=True)

    def _fail(self, name: str, reason: str) -> None:
        self.manifest.fail(name, reason)
        self._failed += 1

    def _progress(self, asked: Requests) -> Progress:
        counts = self._counts()
        stopping = self._stopping is not None
        draining = asked.drain and not asked.stop and not stopping
        now = Progress(
            counts,
            draining=draining,
            stopping=stopping,
            watching=self.rules.look is not None and not counts.left,
        )
        pace = self._pace.per_second(time.monotonic())
        if pace is None:
            return now
        left = self._pace.left(counts.running if draining else counts.left)
        return replace(now, per_hour=3600 * pace, seconds_left=left / pace)


def _parted(items: Sequence[Item], room: int, together: int) -> Iterator[Sequence[Item]]:
    """Part pictures into groups, as evenly as there is room: a last one should not be alone."""
    size = min(together, -(-len(items) // room)) if items else 1
    for begin in range(0, len(items), size):
        yield items[begin : begin + size]
