"""What a pool and its workers say to one another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

IDLE = b"."  # what a worker sends when it is idle again; no pickle begins like that


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
class Letter:
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
