"""The run folder: all that a restoration leaves behind, written once and read back anywhere.

==================  ===============================================================================
``restored.*``      the restoration, in the input's format
``config.yaml``     the config with everything filled in; `guided_dip.config.load` reads it
``metrics.jsonl``   a `Record` a line, written as the run goes
``summary.json``    the `Summary`: what was done to what, how long it took, how well it went
``pictures/``       input, clean image and intermediate estimates as 8-bit PNG; the residual and
                    the spread of the final draws as float TIFF, in units of white
``*.png``           figures, drawn from all these by `guided_dip.plots.redraw`
==================  ===============================================================================

A folder is filled as a draft, its subfolder ``.partial``, whose files then move to their places,
``summary.json`` last: a folder with a summary is a finished run. A run that fails leaves nothing
behind, and an older run that it was to replace as it was. One that is cut (interrupted, killed, out
of disk) leaves its draft with the last checkpoint, from which it can go on to the same bytes.
"""

from guided_dip.runs.begun import Begun, keep_known, kept_known, load_begun, load_checkpoint
from guided_dip.runs.folder import RunWriter, check_folder, new_run, resumed_run
from guided_dip.runs.saved import SavedRun, load_run
from guided_dip.runs.summary import Peak, Snapshot, Source, Summary, plain, summarize, versions

__all__ = [
    "Begun",
    "Peak",
    "RunWriter",
    "SavedRun",
    "Snapshot",
    "Source",
    "Summary",
    "check_folder",
    "keep_known",
    "kept_known",
    "load_begun",
    "load_checkpoint",
    "load_run",
    "new_run",
    "plain",
    "resumed_run",
    "summarize",
    "versions",
]
