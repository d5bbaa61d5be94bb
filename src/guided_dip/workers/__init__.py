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

from guided_dip.workers.link import Link, Work
from guided_dip.workers.machine import cores, cuda_devices
from guided_dip.workers.pool import Bell, Ended, Pool, Worker
from guided_dip.workers.signals import deaf_to_interrupts

__all__ = [
    "Bell",
    "Ended",
    "Link",
    "Pool",
    "Work",
    "Worker",
    "cores",
    "cuda_devices",
    "deaf_to_interrupts",
]
