"""Figures of a run and of a plan, from saved records and arrays alone.

Each function returns a `matplotlib.figure.Figure`; `save` writes it, the same bytes each time;
`redraw` draws all figures of a run folder.
"""

from guided_dip.plots.charts import curves, plan_chart
from guided_dip.plots.files import check_figure_file, redraw, save
from guided_dip.plots.pictures import comparison, diagnosis, forward_strip, process

__all__ = [
    "check_figure_file",
    "comparison",
    "curves",
    "diagnosis",
    "forward_strip",
    "plan_chart",
    "process",
    "redraw",
    "save",
]
