"""How fast a fit is, and how fast it could be: the machine's rates, a step's cost, the floor."""

from guided_dip.speed.counts import Cost, count_step
from guided_dip.speed.loops import Growth, ReferenceLoop, memory_growth, quick_steps
from guided_dip.speed.machine import Machine, measure_machine
from guided_dip.speed.timing import Row, Speed, prepare_bench, time_steps

__all__ = [
    "Cost",
    "Growth",
    "Machine",
    "ReferenceLoop",
    "Row",
    "Speed",
    "count_step",
    "measure_machine",
    "memory_growth",
    "prepare_bench",
    "quick_steps",
    "time_steps",
]
