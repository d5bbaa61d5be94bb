"""What workers do in tests: a file of its own, for a spawned process to import without torch."""

import os
import signal
import sys
import time
import warnings
from pathlib import Path


def carry_out(order, link):
    """Carry out one item: the name of a function below, and what it is given."""
    name, *given = order
    globals()[name](link, *given)


def nothing(link):
    pass


def say(link, *messages):
    for message in messages:
        link.tell(message)


def count(link, number, ending="return"):
    for k in range(number):
        link.tell(k)
    if ending == "kill":
        os.kill(os.getpid(), signal.SIGKILL)


def double(link, *numbers):
    link.tell([link.ask(number) for number in numbers])


def sleep(link, seconds=60):
    link.tell("asleep")
    time.sleep(seconds)


def compute(link, seconds=60):
    """Keep the processor busy without a word."""
    link.tell("computing")
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def tidy_up(link, path):
    """Sleep, then clean up what takes a while and has something to say."""
    try:
        sleep(link)
    except SystemExit:
        for _ in range(5):
            link.tell("tidying up")
            time.sleep(0.05)
        Path(path).write_text("tidy")
        raise


def resist(link):
    signal.signal(signal.SIGTERM, lambda *_: link.tell("no"))
    sleep(link)


class StoppedError(Exception):
    """Raised by a handler of one's own."""


def _raise_stopped(*_):
    raise StoppedError


def give_up(link, question=None):
    """Be stopped asleep or while waiting for an answer, and return all the same."""
    signal.signal(signal.SIGTERM, _raise_stopped)
    try:
        if question is None:
            sleep(link)
        link.ask(question)
    except StoppedError:
        link.tell("given up")


def swallow(link):
    """Take the word to end for no more than an error."""
    try:
        sleep(link)
    except SystemExit:
        link.tell("swallowed")


def flood(link, size):
    """Say more at once than a pipe holds."""
    link.tell("flooding")
    link.tell(b"0" * size)


def be_stopped_in_a_flood(link, size):
    """Be stopped while saying more than a pipe holds, and speak on."""
    signal.signal(signal.SIGTERM, _raise_stopped)
    try:
        flood(link, size)
    except StoppedError:
        link.tell("after it")


def flood_when_told_to_end(link, size):
    try:
        sleep(link)
    finally:
        flood(link, size)


def measure(link, data):
    link.tell(len(data))


def fail(link, error):
    link.tell("before")
    raise error


def leave(link, code):
    sys.exit(code)


def say_what_cannot_be_sent(link):
    link.tell(lambda: None)


def warn(link):
    warnings.warn("hush", UserWarning, stacklevel=1)
    link.tell(signal.getsignal(signal.SIGINT) is signal.SIG_IGN)


def modules(link):
    link.tell(sorted(sys.modules))
