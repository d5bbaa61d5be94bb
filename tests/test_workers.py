"""Workers: what they say comes whole and in order, and one that dies takes no other along."""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from guided_dip.workers import Bell, Ended, Pool, process, signals
from guided_dip.workers import pool as pool_module
from jobs_of_workers import carry_out

LIMIT = 30  # seconds after which a test has failed rather than the machine is slow
LARGE = 2_000_000  # bytes, more than a pipe holds


@pytest.fixture
def pool():
    with Pool(carry_out, ["a"]) as pool:
        yield pool
    assert not multiprocessing.active_children()


@pytest.fixture
def pair():
    with Pool(carry_out, ["a", "b"]) as pool:
        yield pool
    assert not multiprocessing.active_children()


def heard(pool, enough=None):
    """Return what is said until nobody is busy, or until there is enough of it."""
    said, until = [], time.monotonic() + LIMIT
    while pool.busy and not (enough and enough(said)):
        assert time.monotonic() < until, said
        said += pool.wait(1)
    return said


def messages(pool, enough=None):
    return [message for _, message in heard(pool, enough)]


def given(pool, *order):
    worker = pool.idle[0]
    worker.give(order)
    return worker


def begun(pool, *order):
    """Give something that says a word when it has begun, and wait for that."""
    worker = given(pool, *order)
    while not pool.wait(LIMIT):
        pass
    return worker


def test_messages_come_in_order_and_the_worker_is_idle_again(pool):
    (worker,) = pool.idle
    assert (worker.place, worker.item, pool.busy) == ("a", None, [])
    for order in (("say", "one", None, 3), ("count", 4)):
        worker.give(order)
        assert (worker.item, pool.idle, pool.busy) == (order, [], [worker])
        said = heard(pool)
        assert {who for who, _ in said} == {worker}
        expected = list(order[1:]) if order[0] == "say" else [0, 1, 2, 3]
        assert [message for _, message in said] == expected
        assert (pool.idle, worker.item) == ([worker], None)


def test_one_process_carries_out_item_after_item(pool):
    (worker,) = pool.idle
    pid = worker.pid
    for _ in range(3):
        given(pool, "nothing")
        assert heard(pool) == []
    assert pool.idle == [worker]
    assert worker.pid == pid in [child.pid for child in multiprocessing.active_children()]


def test_work_that_says_nothing_wakes_who_waits(pair):
    """Else what is left to do would wait for the other worker."""
    busy = begun(pair, "sleep")
    quiet = given(pair, "nothing")
    began = time.monotonic()
    while quiet in pair.busy:
        assert pair.wait(LIMIT) == []
    assert time.monotonic() - began < LIMIT
    assert (pair.idle, pair.busy) == ([quiet], [busy])


def test_waiting_ends_when_the_time_runs_out_or_nobody_is_busy(pool):
    assert pool.wait() == []
    worker = begun(pool, "sleep")
    began = time.monotonic()
    assert pool.wait(0.1) == []
    assert 0.1 <= time.monotonic() - began < LIMIT
    assert pool.wait(0) == []
    assert pool.busy == [worker]


def test_what_is_asked_is_answered(pair):
    for worker, numbers in zip(pair.idle, ([1, 2, 3], [10, 20]), strict=True):
        worker.give(("double", *numbers))
    results = {}
    while pair.busy:
        for worker, message in pair.wait(LIMIT):
            if isinstance(message, list):
                results[worker.place] = message
            else:
                worker.answer(2 * message)
    assert results == {"a": [2, 4, 6], "b": [20, 40]}


def test_only_who_has_asked_is_answered(pool):
    with pytest.raises(ValueError, match="asked nothing"):
        pool.idle[0].answer(1)


def test_only_an_idle_worker_is_given_something(pool):
    worker = begun(pool, "sleep")
    with pytest.raises(ValueError, match="idle"):
        worker.give(("nothing",))
    assert worker.item == ("sleep",)


def test_none_is_nothing_to_do(pool):
    with pytest.raises(ValueError, match="given something"):
        pool.idle[0].give(None)
    assert pool.busy == []


def test_what_cannot_be_sent_leaves_the_worker_idle(pool):
    (worker,) = pool.idle
    with pytest.raises(Exception, match="pickle"):
        worker.give(("say", lambda: None))
    assert pool.idle == [worker]
    given(pool, "say", "well")
    assert messages(pool) == ["well"]


def test_large_items_and_messages_come_whole(pool):
    given(pool, "measure", b"0" * LARGE)
    assert messages(pool) == [LARGE]
    given(pool, "flood", LARGE)
    assert messages(pool) == ["flooding", b"0" * LARGE]


def test_who_says_much_does_not_keep_others_from_being_heard(pair, monkeypatch):
    monkeypatch.setattr(pool_module, "AT_ONCE", 10)
    talker, other = pair.idle
    talker.give(("count", 100))
    other.give(("say", "hello"))
    said, most = [], 0
    while pair.busy:
        now = pair.wait(LIMIT)
        most = max(most, sum(who is talker for who, _ in now))
        said += now
    assert 0 < most <= 10
    assert [message for who, message in said if who is talker] == list(range(100))
    assert [message for who, message in said if who is other] == ["hello"]


def test_a_worker_killed_at_work_is_told_of_and_has_a_successor_at_its_place(pair):
    victim = begun(pair, "sleep")
    other = given(pair, "say", "hello")
    os.kill(victim.pid, signal.SIGKILL)
    said = heard(pair)
    assert said.count((victim, Ended(-signal.SIGKILL))) == 1
    assert (other, "hello") in said
    assert len(said) == 2
    assert victim.item == ("sleep",)
    successor, same = pair.idle
    assert same is other
    assert successor is not victim
    assert (successor.place, successor.pid) == ("a", None)
    successor.give(("say", "here"))
    assert successor.pid not in (None, victim.pid)
    assert heard(pair) == [(successor, "here")]


def test_a_worker_killed_while_idle_costs_nothing(pair):
    victim, other = pair.idle
    os.kill(victim.pid, signal.SIGKILL)
    victim._process.join(LIMIT)
    successor, same = pair.idle
    assert same is other
    assert successor is not victim
    assert (successor.place, pair.busy) == ("a", [])
    successor.give(("say", "here"))
    assert heard(pair) == [(successor, "here")]


def test_a_worker_killed_between_being_idle_and_being_given_something_is_told_of(pair):
    victim, _ = pair.idle
    os.kill(victim.pid, signal.SIGKILL)
    victim._process.join(LIMIT)
    victim.give(("say", b"0" * LARGE))
    assert heard(pair) == [(victim, Ended(-signal.SIGKILL))]
    assert len(pair.idle) == 2


def test_all_that_was_said_before_a_death_is_delivered_before_it(pool):
    number = 2 * pool_module.AT_ONCE + 1
    worker = given(pool, "count", number, "kill")
    assert heard(pool) == [
        *((worker, k) for k in range(number)),
        (worker, Ended(-signal.SIGKILL)),
    ]


def test_a_death_in_the_middle_of_a_message_is_a_death(pool):
    worker = given(pool, "flood", LARGE)
    assert worker._connection.poll(LIMIT)
    time.sleep(0.1)  # it has filled the pipe
    os.kill(worker.pid, signal.SIGKILL)
    assert messages(pool) == ["flooding", Ended(-signal.SIGKILL)]


@pytest.mark.parametrize("error", [ValueError("a reason"), EOFError("a file's"), OSError("full")])
def test_work_that_raises_ends_its_process_and_says_why(capfd, error):
    with Pool(carry_out, ["a"]) as pool:  # a fixture's would write elsewhere
        worker = given(pool, "fail", error)
        assert heard(pool) == [(worker, "before"), (worker, Ended(1))]
        told = capfd.readouterr().err
        assert f"{type(error).__name__}: {error}" in told
        assert "Traceback" in told
        given(pool, "say", "next")
        assert messages(pool) == ["next"]


def test_work_that_says_what_cannot_be_sent_ends_its_process(capfd):
    with Pool(carry_out, ["a"]) as pool:
        given(pool, "say_what_cannot_be_sent")
        assert messages(pool) == [Ended(1)]
    assert "pickle" in capfd.readouterr().err


def test_work_that_leaves_has_its_exit_code_told(pool):
    given(pool, "leave", 7)
    assert messages(pool) == [Ended(7)]


def test_a_worker_told_to_end_cleans_up_and_is_not_cut_off_by_the_next_word(pool, tmp_path):
    worker = begun(pool, "tidy_up", str(tmp_path / "told"))
    pool.terminate()
    said = heard(pool, enough=len)
    worker.terminate()
    said += heard(pool)
    assert said == [*[(worker, "tidying up")] * 5, (worker, Ended(1))]
    assert (tmp_path / "told").read_text() == "tidy"


def test_a_worker_told_to_end_while_idle_ends(pair):
    first = given(pair, "nothing")
    heard(pair)
    first.terminate()
    first._process.join(LIMIT)
    assert first._process.exitcode == 1
    assert [worker.place for worker in pair.idle] == ["a", "b"]
    assert first not in pair.idle


def test_work_may_have_a_handler_of_its_own_and_the_next_item_has_not(pool):
    worker = begun(pool, "give_up")
    worker.terminate()
    assert messages(pool) == ["given up"]
    assert pool.idle == [worker]
    begun(pool, "sleep")
    worker.terminate()
    assert messages(pool) == [Ended(1)]


def test_work_that_takes_the_word_to_end_for_an_error_can_be_told_again(pool):
    worker = begun(pool, "swallow")
    worker.terminate()
    assert messages(pool) == ["swallowed"]
    begun(pool, "sleep")
    worker.terminate()
    assert messages(pool) == [Ended(1)]


def test_an_answer_that_nobody_waits_for_any_more_is_dropped(pool):
    worker = begun(pool, "give_up", "well?")
    worker.terminate()
    assert messages(pool) == ["given up"]
    worker.answer("late")
    given(pool, "double", 4)
    said = []
    while pool.busy:
        for _, message in pool.wait(LIMIT):
            said.append(message)
            if message == 4:
                worker.answer(8)
    assert said == [4, [8]]


def test_the_word_to_end_waits_for_a_message_that_is_being_sent(pool):
    worker = given(pool, "be_stopped_in_a_flood", LARGE)
    assert worker._connection.poll(LIMIT)
    time.sleep(0.1)  # it has filled the pipe
    worker.terminate()
    time.sleep(0.1)
    assert messages(pool) == ["flooding", b"0" * LARGE, "after it"]


def test_a_worker_that_is_stopped_has_a_successor_and_is_not_told_of(pair):
    worker = begun(pair, "sleep")
    worker.stop()
    assert worker._process.exitcode == 1
    assert pair.busy == []
    assert [each.place for each in pair.idle] == ["a", "b"]
    given(pair, "say", "here")
    assert messages(pair) == ["here"]


def test_leaving_the_pool_lets_busy_workers_clean_up(tmp_path):
    with Pool(carry_out, ["a", "b"]) as pool:
        for number, worker in enumerate(pool.idle):
            worker.give(("tidy_up", str(tmp_path / str(number))))
        heard(pool, enough=lambda said: len(said) == 2)
    assert not multiprocessing.active_children()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0", "1"]
    assert (pool.busy, pool.idle, pool.wait()) == ([], [], [])


@pytest.mark.parametrize(
    "order",
    [
        ("compute",),
        ("double", 1),
        ("flood", LARGE),
        ("be_stopped_in_a_flood", LARGE),
        ("give_up", "well?"),
        ("swallow",),
        ("flood_when_told_to_end", LARGE),
    ],
)
def test_leaving_the_pool_ends_a_worker_whatever_it_is_at(order):
    with Pool(carry_out, ["a"]) as pool:
        worker = given(pool, *order)
        assert worker._connection.poll(LIMIT)
        time.sleep(0.05)
        began = time.monotonic()
    assert worker._process.exitcode == 1
    assert time.monotonic() - began < pool_module.PATIENCE - 0.5


def test_leaving_the_pool_has_patience_with_all_workers_at_once(monkeypatch):
    monkeypatch.setattr(pool_module, "PATIENCE", 0.5)
    with Pool(carry_out, range(3)) as pool:
        for worker in (crew := pool.idle):
            worker.give(("resist",))
        heard(pool, enough=lambda said: len(said) == 3)
        began = time.monotonic()
    assert 0.5 <= time.monotonic() - began < 1.5
    assert [worker._process.exitcode for worker in crew] == [-signal.SIGKILL] * 3


def test_an_error_leaves_no_process_behind():
    with pytest.raises(ValueError, match="idle"), Pool(carry_out, ["a"]) as pool:
        begun(pool, "sleep").give("more")
    assert not multiprocessing.active_children()


def test_a_pool_that_cannot_begin_leaves_no_process_behind(monkeypatch):
    start, started = pool_module.Worker._start, []

    def failing(worker):
        if started:
            raise OSError("no more processes")
        start(worker)
        started.append(worker)

    monkeypatch.setattr(pool_module.Worker, "_start", failing)
    with pytest.raises(OSError, match="no more"), Pool(carry_out, ["a", "b"]):
        pass
    assert started[0]._process.exitcode is not None
    assert not multiprocessing.active_children()


def test_workers_are_deaf_to_ctrl_c_from_their_first_moment():
    before = signal.getsignal(signal.SIGINT)
    with Pool(carry_out, ["a"]) as pool:
        (worker,) = pool.idle
        os.kill(worker.pid, signal.SIGINT)  # it has hardly begun to import anything
        begun(pool, "sleep", 0.2)
        os.kill(worker.pid, signal.SIGINT)
        assert heard(pool) == []
        given(pool, "warn")
        assert messages(pool) == [True]
    assert signal.getsignal(signal.SIGINT) is before


def test_a_pool_may_be_had_in_a_thread():
    said = []

    def use():
        with Pool(carry_out, ["a"]) as pool:
            given(pool, "warn")
            said.extend(messages(pool))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(LIMIT)
    assert said == [True]


def test_warnings_are_hushed(capfd):
    with Pool(carry_out, ["a"]) as pool:
        given(pool, "warn")
        assert len(messages(pool)) == 1
    assert capfd.readouterr().err == ""


def test_neither_the_pool_nor_its_workers_import_what_is_heavy(pool):
    given(pool, "modules")
    (loaded,) = messages(pool)
    assert "guided_dip.workers" in loaded
    assert not {"torch", "numpy"} & set(loaded)


PARENT = """
from jobs_of_workers import carry_out
from guided_dip.workers import Pool
orders = [("compute",), ("sleep",), ("tidy_up", "/nowhere/at/all"), ("give_up", "well?")]
with Pool(carry_out, range(5)) as pool:
    for worker, order in zip(pool.idle, orders):
        worker.give(order)
    heard = []
    while len(heard) < 4:
        heard += pool.wait()
    print("ready", flush=True)
    while True:
        pool.wait()
"""


def test_workers_end_with_a_killed_parent_whatever_they_are_at():
    path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
        start_new_session=True,
    ) as parent:
        try:
            assert parent.stdout.readline() == "ready\n"
            parent.kill()
            # Its workers have the same standard output, which ends with the last of them.
            assert parent.communicate(timeout=2)[0] == ""
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(parent.pid, signal.SIGKILL)


def test_a_signal_waits_for_what_must_not_be_cut_off():
    before, done = signal.getsignal(signal.SIGINT), []

    def interrupted():
        with signals.held(signal.SIGINT):
            signal.raise_signal(signal.SIGINT)
            done.append(signal.getsignal(signal.SIGINT))

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert done
    assert done[0] is not before
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_finds_no_message_cut_in_two(pool):
    """What is read when it comes may be lost, but what comes next is sound."""
    worker = given(pool, "flood", LARGE)
    assert worker._connection.poll(LIMIT)
    time.sleep(0.1)  # it has filled the pipe
    os.kill(worker.pid, signal.SIGSTOP)  # the rest will be long in coming

    def interrupt():
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.1)
        os.kill(worker.pid, signal.SIGCONT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        pool.wait(LIMIT)
    thread.join(LIMIT)
    assert heard(pool) == []
    given(pool, "say", "sound")
    assert messages(pool) == ["sound"]


@pytest.mark.parametrize("speak", ["tell", "ask"])
def test_who_speaks_to_a_pool_that_has_gone_ends(speak):
    near, far = multiprocessing.Pipe()
    link = process._Pipe(near)
    far.close()
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(SystemExit):
            getattr(link, speak)("anyone?")
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
        near.close()


def test_an_interrupt_that_comes_while_a_process_is_started_is_not_lost():
    came = []
    before = signal.signal(signal.SIGINT, lambda *_: came.append(True))
    try:
        with signals.deaf_to_interrupts():
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)
            assert came == []
        assert came == [True]
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("at", ["sleep", "resist", "compute"])
def test_a_worker_that_is_killed_is_gone_at_once_whatever_it_is_at(pair, at):
    worker, other = begun(pair, at), begun(pair, "sleep")
    pid, before = worker.pid, time.monotonic()
    worker.kill()
    assert time.monotonic() - before < 1
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert pair.wait(LIMIT) == [(worker, Ended(-signal.SIGKILL))]
    assert pair.busy == [other]
    assert pair.idle[0].place == "a"


def test_a_bell_ends_a_wait_from_another_thread():
    bell = Bell()
    with Pool(carry_out, ["a"], bell) as pool:
        begun(pool, "sleep")
        threading.Timer(0.1, bell.ring).start()
        before = time.monotonic()
        assert pool.wait(LIMIT) == []
        assert time.monotonic() - before < LIMIT / 2
        bell.ring()
        bell.ring()
        assert pool.wait(LIMIT) == []  # once, however often it rang
        assert pool.wait(0.01) == []
    bell.ring()
    assert bell.wait(0)
    assert not bell.wait(0)
    for _ in range(100_000):  # nobody listens
        bell.ring()
    assert bell.wait(0)
    assert not bell.wait(0)
