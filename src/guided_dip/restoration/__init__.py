"""From an array and a config to a restored array.

`prepare` fills in what follows from the image and the machine (noise level, steps, device) and
returns a `Restoration`; running that yields a `Result`. What is known before the run is in
`prepared`, the fit that is made of it in `making`, the run in `run`, and what becomes of its last
outputs in `outcome`. `restore` does all of it, and `restore_stack` for a stack of images by one
network. `run_together` runs several whose small networks are computed as one.
"""

from guided_dip.restoration.checkpoint import Checkpoint
from guided_dip.restoration.known import Known
from guided_dip.restoration.prepare import prepare, restore
from guided_dip.restoration.run import Restoration
from guided_dip.restoration.stack import restore_stack
from guided_dip.restoration.together import run_together, why_alone, why_apart

__all__ = [
    "Checkpoint",
    "Known",
    "Restoration",
    "prepare",
    "restore",
    "restore_stack",
    "run_together",
    "why_alone",
    "why_apart",
]
