"""How fast a batch goes, and when it will be done."""

from __future__ import annotations

SHORTEST = 1e-3  # seconds that some work takes, at least


class Pace:
    """Counts work and the time in which there was some.

    What an earlier call has done of a picture is not counted, nor is time in which nothing was
    computed, as when a folder is watched into which nothing comes.
    """

    def __init__(self) -> None:
        self._first: dict[str, float] = {}  # shares that pictures had when this call began them
        self._shares: dict[str, float] = {}
        self._running: set[str] = set()
        self._ended = 0.0
        self._busy = 0.0
        self._since = 0.0

    def begin(self, name: str, now: float) -> None:
        """Note that a picture is given out.

        Parameters
        ----------
        name
            The picture.
        now
            Seconds on a clock that never goes back.
        """
        if not self._running:
            self._since = now
        self._running.add(name)

    def reach(self, name: str, share: float) -> None:
        """Note how much of a picture is done; the first time, how much of it was.

        Parameters
        ----------
        name
            A picture that was given out, else it is not counted.
        share
            From 0 to 1.
        """
        if name in self._running:
            self._first.setdefault(name, share)
            self._shares[name] = share

    def end(self, name: str, now: float, *, counted: bool) -> None:
        """Note that a picture is no longer worked at.

        Parameters
        ----------
        name
            The picture.
        now
            As in `begin`.
        counted
            It came to an end; else it will be begun again.
        """
        if name not in self._running:
            return
        self._running.remove(name)
        self._shares.pop(name, None)
        first = self._first.pop(name, 0.0)
        if counted:
            self._ended += 1 - first
        if not self._running:
            self._busy += now - self._since

    def per_second(self, now: float) -> float | None:
        """Return pictures a second, parts of pictures included; None before there is a pace.

        Parameters
        ----------
        now
            As in `begin`.
        """
        begun = sum(share - self._first[name] for name, share in self._shares.items())
        worked = self._ended + max(0.0, begun)
        busy = self._busy + (now - self._since if self._running else 0.0)
        return worked / max(SHORTEST, busy) if worked > 0 else None

    def left(self, count: int) -> float:
        """Return how much is left of pictures that are not done.

        Parameters
        ----------
        count
            How many these are, those that are begun included.
        """
        return max(0.0, count - sum(self._shares.values()))
