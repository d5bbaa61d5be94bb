"""Draw docs/images/napari.png: the panel in napari while it restores a sample.

xvfb-run -a -s "-screen 0 1400x900x24" python docs/make_napari.py
"""

import sys
import time
from pathlib import Path

import napari
from qtpy.QtWidgets import QApplication

from guided_dip.napari.panel import Panel
from guided_dip.napari.samples import noisy_astronaut

PLACE = Path(__file__).with_name("images") / "napari.png"
SHARE = 0.5  # of the run, at which it is drawn
MOST = 600  # seconds


def main(share: float = SHARE) -> None:
    """Restore the sample, and draw the window on the way."""
    viewer = napari.Viewer()
    viewer.window.resize(1100, 640)
    panel = Panel(viewer)
    viewer.window.add_dock_widget(panel, name="Guided-DIP: Restore")
    ((array, values, _),) = noisy_astronaut()
    viewer.add_image(array, **values)
    panel.effort.value = "fast"
    panel.begin()
    began = time.monotonic()
    while panel.running and panel.progress.value < 1000 * share:
        QApplication.processEvents()
        time.sleep(0.02)
        if time.monotonic() - began > MOST:
            sys.exit("it took too long")
    if len(viewer.layers) > 1:  # beside one another
        viewer.layers[1].translate = (0, array.shape[1] * 1.05)
        viewer.reset_view()
    for _ in range(20):
        QApplication.processEvents()
        time.sleep(0.05)
    viewer.screenshot(PLACE, canvas_only=False, flash=False)
    panel.end()
    while panel.running:
        QApplication.processEvents()
    viewer.close()


if __name__ == "__main__":
    main()
