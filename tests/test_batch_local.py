"""Processes of this machine: no more at a time than its memory holds, and none forgotten."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from guided_dip.batch import local
from guided_dip.batch.local import IDLE, LocalExecutor, _Needs
from guided_dip.batch.work import Event, Item, Orders
from guided_dip.config import make_config
from guided_dip.workers import Ended

GIB = 2**30


class FakeWorker:
    def __init__(self, place):
        self.place = place
        self.item = None
        self.answers = self.kills = 0

    def kill(self):
        self.kills += 1

    def give(self, item):
        assert self.item is None
        self.item = item

    def answer(self, answer):
        self.answers += 1


class FakePool:
    """A pool whose workers say what the test has them say."""

    def __init__(self, work, places):
        self.crew = [FakeWorker(place) for place in places]
        self.said = []
        self.idle_again = []
        self.terminated = self.left = 0

    @property
    def idle(self):
        for number, worker in enumerate(self.crew):
            if worker.item == "dead":
                self.crew[number] = FakeWorker(worker.place)
        return [worker for worker in self.crew if worker.item is None]

    def wait(self, seconds):
        said, self.said = self.said, []
        for worker in self.idle_again:
            worker.item = None
        self.idle_again = []
        return said

    def terminate(self):
        self.terminated += 1

    def __exit__(self, *_):
        self.left += 1


@pytest.fixture
def make(monkeypatch):
    monkeypatch.setattr(local, "Pool", FakePool)
    return make_executor


def make_executor(devices, memory=None, device="auto"):
    orders = Orders(make_config({"device": device, "threads": 1}))
    executor = LocalExecutor(orders, devices, memory)
    return executor, executor._pool


def items(*names):
    return [Item(name, *[None] * 5) for name in names]


def die(pool, worker, exit_code=-9):
    pool.said.append((worker, Ended(exit_code)))
    return worker


def computing(executor):
    return list(executor._taken)


def test_each_group_goes_to_a_process_that_waits(make):
    executor, pool = make([None] * 2)
    assert executor.room() == 2
    executor.submit(items("a", "b"))
    executor.submit(items("c"))
    assert executor.room() == 0
    assert [tuple(item.name for item in worker.item.items) for worker in pool.crew] == [
        ("a", "b"),
        ("c",),
    ]


@pytest.mark.parametrize(
    ("device", "places", "expected"),
    [
        ("auto", ["cuda:0", "cuda:1"], ["cuda:0", "cuda:1"]),
        ("cuda", ["cuda:0", "cuda:1"], ["cuda:0", "cuda:1"]),
        ("auto", [None, None], ["auto", "auto"]),
        ("cpu", [None, None], ["cpu", "cpu"]),
        ("cuda:3", ["cuda:3", "cuda:3"], ["cuda:3", "cuda:3"]),
        ("cpu", ["cuda:0", "cuda:1"], ["cpu", "cpu"]),
    ],
)
def test_devices_are_chosen_only_where_the_settings_leave_that_open(make, device, places, expected):
    executor, pool = make(places, device=device)
    for name in ("a", "b"):
        executor.submit(items(name))
    assert [worker.item.orders.config.device for worker in pool.crew] == expected
    assert all(worker.item.orders.config.threads == 1 for worker in pool.crew)


def test_what_is_said_is_handed_on_in_its_order(make):
    executor, pool = make([None])
    executor.submit(items("a"))
    said = [Event("begun", "a"), Event("step", "a", share=0.5), Event("failed", "a", "torn")]
    pool.said = [(pool.crew[0], event) for event in said]
    assert executor.wait(1) == said
    assert executor.wait(1) == []


def test_what_was_not_ended_is_lost_with_its_process(make):
    executor, pool = make([None])
    executor.submit(items("a", "b", "c", "d", "e"))
    ends = [Event("done", "a"), Event("failed", "b"), Event("begun", "c"), Event("stuck", "d")]
    pool.said = [(pool.crew[0], event) for event in ends]
    executor.wait(1)
    die(pool, pool.crew[0])
    hint = "its process was killed by signal 9; the memory may not have sufficed: try fewer"
    lost = executor.wait(1)
    assert [(event.kind, event.name) for event in lost] == [("lost", "c"), ("lost", "e")]
    assert all(event.text == f"{hint} --workers" for event in lost)


@pytest.mark.parametrize(
    ("exit_code", "text"),
    [
        (-11, "its process was killed by signal 11"),
        (1, "its process ended unasked (exit code 1)"),
        (None, "its process ended unasked (exit code None)"),
    ],
)
def test_it_is_said_how_a_process_ended(make, exit_code, text):
    executor, pool = make([None])
    executor.submit(items("a"))
    die(pool, pool.crew[0], exit_code)
    assert executor.wait(1) == [Event("lost", "a", text)]


def test_without_a_limit_all_compute_at_once(make):
    executor, pool = make([None] * 3)
    for worker in pool.crew:
        executor.submit(items("a"))
        pool.said.append((worker, _Needs(10**15)))
    executor.wait(1)
    assert [worker.answers for worker in pool.crew] == [1, 1, 1]


def test_those_that_do_not_fit_in_wait_in_the_order_of_their_asking(make):
    executor, pool = make([None] * 4, memory=10 * GIB)
    for name in "abcd":
        executor.submit(items(name))
    a, b, c, d = pool.crew
    pool.said = [(a, _Needs(6 * GIB)), (b, _Needs(5 * GIB)), (c, _Needs(GIB)), (d, _Needs(GIB))]
    executor.wait(1)
    assert computing(executor) == [a]  # c would fit in, but is not let past b
    pool.idle_again = [a]
    executor.wait(1)
    assert computing(executor) == [b, c, d]


def test_one_that_takes_more_than_there_is_computes_alone(make):
    executor, pool = make([None] * 2, memory=4 * GIB)
    executor.submit(items("a"))
    executor.submit(items("b"))
    a, b = pool.crew
    pool.said = [(a, _Needs(100 * GIB)), (b, _Needs(GIB))]
    executor.wait(1)
    assert computing(executor) == [a]
    pool.idle_again = [a]
    executor.wait(1)
    assert computing(executor) == [b]


def test_one_that_asks_anew_gives_back_what_it_had(make):
    executor, pool = make([None] * 2, memory=4 * GIB)
    executor.submit(items("a", "b"))
    executor.submit(items("c"))
    one, other = pool.crew
    pool.said = [(one, _Needs(3 * GIB)), (other, _Needs(2 * GIB))]
    executor.wait(1)
    assert computing(executor) == [one]
    pool.said = [(one, _Needs(GIB))]  # for its next picture
    executor.wait(1)
    assert computing(executor) == [other, one]


@pytest.mark.parametrize("at", ["waiting", "work"])
def test_one_that_dies_keeps_no_other_waiting(make, at):
    executor, pool = make([None] * 3, memory=4 * GIB)
    for name in "abc":
        executor.submit(items(name))
    a, b, c = pool.crew
    pool.said = [(a, _Needs(3 * GIB)), (b, _Needs(3 * GIB)), (c, _Needs(3 * GIB))]
    executor.wait(1)
    assert computing(executor) == [a]
    dead = die(pool, b if at == "waiting" else a)
    assert [event.kind for event in executor.wait(1)] == ["lost"]
    dead.item = "dead"
    pool.idle_again = [] if at == "work" else [a]
    executor.wait(1)
    assert computing(executor) == ([c] if at == "waiting" else [b])
    assert executor.room() >= 1
    assert dead.answers == (0 if at == "waiting" else 1)


def test_nobody_is_let_in_once_all_are_to_end(make):
    executor, pool = make([None] * 2, memory=4 * GIB)
    for name in "ab":
        executor.submit(items(name))
    a, b = pool.crew
    pool.said = [(a, _Needs(3 * GIB)), (b, _Needs(3 * GIB))]
    executor.wait(1)
    executor.stop()
    assert pool.terminated == 1
    pool.said = [(a, Event("cut", "a")), (b, Event("cut", "b"))]
    pool.idle_again = [a]
    assert [event.kind for event in executor.wait(1)] == ["cut", "cut"]
    assert b.answers == 0
    die(pool, b, 1)
    assert executor.wait(1) == []  # nothing of it was left
    executor.close()
    assert pool.left == 1


@given(data=st.data())
def test_never_more_memory_is_taken_than_there_is(data):
    """Whatever asks, ends and dies: within the limit or alone, and nobody waits for ever."""
    limit = 8 * GIB
    workers = data.draw(st.integers(1, 4))
    pools = []

    def pool_of(*given):
        pools.append(FakePool(*given))
        return pools[-1]

    before, local.Pool = local.Pool, pool_of
    try:
        executor, _ = make_executor([None] * workers, limit)
    finally:
        local.Pool = before
    pool, asked = pools[0], []
    for number in range(data.draw(st.integers(1, 25))):
        action = data.draw(st.sampled_from(["submit", "ask", "end", "die"]))
        busy = [worker for worker in pool.crew if worker.item not in (None, "dead")]
        quiet = [worker for worker in busy if worker not in asked]
        if action == "submit" and executor.room():
            executor.submit(items(str(number)))
        elif action == "ask" and quiet:
            worker = data.draw(st.sampled_from(quiet))
            pool.said.append((worker, _Needs(data.draw(st.integers(1, 12)) * GIB)))
            asked.append(worker)
        elif action == "end" and computing(executor):
            worker = data.draw(st.sampled_from(computing(executor)))
            name = next(iter(executor._left[worker]), None)
            if name is not None:
                pool.said.append((worker, Event("done", name)))
                pool.idle_again.append(worker)
        elif action == "die" and busy:
            worker = die(pool, data.draw(st.sampled_from(busy)))
            executor.wait(0)
            worker.item = "dead"
        before = dict.fromkeys(asked)
        executor.wait(0)
        asked = [worker for worker in before if worker in executor._waiting]
        taken = sum(executor._taken.values())
        others = (workers - len(executor._taken)) * IDLE
        assert len(executor._taken) <= 1 or taken + others <= limit
        assert not executor._waiting or executor._taken, "somebody always computes"
        for worker in executor._waiting:
            assert not worker.answers or worker in asked


def test_the_work_function_asks_for_memory_and_tells_through_its_link(monkeypatch):
    said = []
    link = SimpleNamespace(tell=said.append, ask=said.append)

    def carries_out(items, orders, tell, admit):
        admit(5)
        tell(Event("done", items[0].name))

    monkeypatch.setattr(local, "carry_out", carries_out)
    local._carry_out(local._Group(tuple(items("a")), Orders(make_config({}))), link)
    assert said == [_Needs(5), Event("done", "a")]


def test_a_picture_that_is_ended_ends_its_process_alone_and_is_heard_of_no_more(make):
    executor, pool = make([None] * 3, memory=4 * GIB)
    executor.submit(items("a"))
    executor.submit(items("b"))
    executor.submit(items("c", "d"))
    a, b, c = pool.crew
    pool.said = [(a, _Needs(3 * GIB)), (b, _Needs(3 * GIB))]
    executor.wait(1)
    executor.end("a")
    executor.end("never")
    assert [worker.kills for worker in pool.crew] == [1, 0, 0]
    pool.said = [(a, Event("step", "a", share=0.5))]
    die(pool, a)
    assert executor.wait(1) == []
    assert computing(executor) == [b]  # which waited for the memory
    executor.end("d")
    assert (c.kills, executor.wait(1)) == (1, [Event("cut", "c")])
    die(pool, c)
    assert executor.wait(1) == []


def test_pictures_have_orders_of_their_own_and_devices_are_chosen_for_these_too(make):
    executor, pool = make(["cuda:0"])
    own = Orders(make_config({"steps": 7}), page=2)
    (item,) = items("a")
    executor.submit([replace(item, orders=own)])
    (given,) = pool.crew[0].item.items
    assert (given.orders.config.steps, given.orders.page) == (7, 2)
    assert given.orders.config.device == "cuda:0"


def test_a_bell_is_the_pool_s(monkeypatch):
    monkeypatch.setattr(local, "Pool", lambda *given: given)
    bell = local.Bell()
    executor = LocalExecutor(Orders(make_config({})), [None], None, bell)
    assert executor._pool[2] is bell


def test_processes_that_wait_can_be_had_warm(monkeypatch):
    monkeypatch.setattr(local, "Pool", FakePool)
    monkeypatch.setattr(FakeWorker, "pid", None, raising=False)
    executor = LocalExecutor(Orders(make_config({})), [None] * 2, None, warm=True)
    executor.wait(0)
    assert executor.room() == 0
    assert {worker.item for worker in executor._pool.crew} == {local._Warm()}
    local._carry_out(local._Warm(), None)
