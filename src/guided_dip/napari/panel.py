"""The panel in the viewer: choose a layer and an effort, run, watch, stop or cancel."""

from __future__ import annotations

import json
import time
from typing import Any

import napari
import numpy as np
import yaml
from magicgui.widgets import (
    CheckBox,
    ComboBox,
    Container,
    Label,
    LineEdit,
    ProgressBar,
    PushButton,
    create_widget,
)
from napari.layers import Image
from napari.qt.threading import create_worker
from napari.utils.notifications import show_error
from numpy.typing import NDArray
from qtpy.QtCore import QCoreApplication

from guided_dip.errors import InputError
from guided_dip.napari.beside import Event, Restorer
from guided_dip.napari.layers import layer_like, planes_of, shown_index
from guided_dip.napari.planes import Index, Planes
from guided_dip.words import duration

EFFORTS = ("fast", "balanced", "best")
DEVICES = ("auto", "cpu", "cuda", "mps")
NOISE = (
    "auto (estimated), none, gaussian:SIGMA, poisson:PEAK or poisson-gaussian:GAIN,READ; of 255, "
    "where 255 is white"
)
THOUSANDTHS = 1000


class Panel(Container):  # type: ignore[misc]  # magicgui has no types here
    """Restores an image layer.

    Parameters
    ----------
    viewer
        The viewer whose layers they are.

    Attributes
    ----------
    running
        Whether something is being restored.
    """

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__(name="Guided-DIP")
        self._viewer = viewer
        self.layer = create_widget(annotation=Image, label="image")
        self.effort = ComboBox(choices=EFFORTS, value="balanced", label="effort")
        self.noise = LineEdit(value="auto", label="noise", tooltip=NOISE)
        self.device = ComboBox(choices=DEVICES, value="auto", label="device")
        self.only_shown = CheckBox(
            value=False, text="only the picture that is shown", tooltip="of a stack"
        )
        self.more = LineEdit(
            label="more", tooltip="further settings, such as  seed: 1, white: 4095"
        )
        self.run = PushButton(text="Restore")
        self.stop = PushButton(text="Stop", tooltip="keep what there is", enabled=False)
        self.cancel = PushButton(text="Cancel", tooltip="throw it away", enabled=False)
        self.progress = ProgressBar(min=0, max=THOUSANDTHS, value=0, label="")
        self.status = Label(value="")
        buttons = Container(
            widgets=[self.run, self.stop, self.cancel], layout="horizontal", labels=False
        )
        self.extend([self.layer, self.effort, self.noise, self.device, self.only_shown, self.more])
        self.extend([buttons, self.progress, self.status])
        self.run.clicked.connect(self.begin)
        self.stop.clicked.connect(self._stop)
        self.cancel.clicked.connect(self.end)
        # A viewer that goes takes its process along, and need not wait for it.
        self.native.destroyed.connect(self._cancel)
        QCoreApplication.instance().aboutToQuit.connect(self._cancel)
        self.native.setMinimumWidth(320)
        self.status.native.setWordWrap(True)
        self._restorer: Restorer | None = None

    @property
    def running(self) -> bool:
        """Whether something is being restored."""
        return self._restorer is not None

    def begin(self) -> None:
        """Restore the chosen layer; a new layer shows how it goes."""
        layer = self.layer.value
        if layer is None:
            self._say("there is no image layer: open a picture, or a sample of File > Open Sample")
            return
        try:
            settings = _settings(self.noise.value, self.device.value, self.more.value)
        except InputError as error:
            self._say(str(error))
            return
        planes = planes_of(layer)
        only = shown_index(layer, self._viewer.dims.point) if self.only_shown.value else None
        indices = list(planes.indices()) if only is None else [only]
        self._view = _View(self._viewer, layer, planes, only)
        self._restorer = Restorer(planes, indices, self.effort.value, settings)
        self._count, self._done = len(indices), 0
        self._notes: list[str] = []
        self._began = time.monotonic()
        self._switch()
        self._say("starting")
        worker = create_worker(self._restorer.events)
        worker.yielded.connect(self._hear)
        worker.finished.connect(self._finish)
        worker.start()

    def end(self) -> None:
        """Cancel what is being restored; its layer goes."""
        if self._restorer is not None:
            self._view.remove()
            self._notes = ["cancelled"]
            self._done = 0
            self._cancel()

    def _stop(self) -> None:
        if self._restorer is not None:
            self._say("stopping")
            self._restorer.stop()

    def _cancel(self) -> None:
        """End the process, in whatever state the panel is."""
        if self._restorer is not None:
            self._restorer.cancel()

    def _hear(self, event: Event) -> None:
        """Show what the process says."""
        if event.picture is not None:
            self._view.show(event.index, event.picture)
        if event.says == "begins":
            noise = event.more["noise"]
            self._say(f"{self._which()}noise {noise}" if noise else f"{self._which()}begun")
        elif event.says == "step":
            self._progress(event.more["step"] / event.more["steps"], event.more["seconds"])
        elif event.says == "done":
            self._done += 1
            self._progress(0, 0)
            if event.more["note"]:
                self._notes.append(f"{self._which(self._done)}{event.more['note']}")
        elif event.says == "failed":
            self._notes.append(event.more["message"])
            show_error(f"Guided-DIP: {event.more['message']}")

    def _progress(self, share: float, seconds: float) -> None:
        self.progress.value = round(THOUSANDTHS * (self._done + share) / self._count)
        if seconds > 0:
            left = seconds * (1 - share) / share
            # Those that are not begun take as long as this one.
            left += (self._count - self._done - 1) * seconds / share
            self._say(f"{self._which()}about {duration(left, tenths_below=0)} left")

    def _which(self, number: int | None = None) -> str:
        """Say which picture of a stack it is about."""
        number = min(self._done + 1, self._count) if number is None else number
        return f"{number} of {self._count}: " if self._count > 1 else ""

    def _finish(self) -> None:
        seconds = time.monotonic() - self._began
        self._restorer = None
        self._switch()
        self.progress.value = 0
        if self._done:
            self._view.finish({"effort": self.effort.value, "notes": list(self._notes)})
            what = f"restored in {duration(seconds)}"
            if self._done < self._count:
                what = f"{self._done} of {self._count} pictures restored"
            self._notes.insert(0, what)
        else:
            self._view.remove()
        self._say("; ".join(self._notes))

    def _switch(self) -> None:
        """Let be pressed what may be."""
        for button in (self.stop, self.cancel):
            button.enabled = self.running
        self.run.enabled = not self.running

    def _say(self, text: str) -> None:
        self.status.value = text


class _View:
    """The layer in which a restoration is seen."""

    def __init__(
        self, viewer: napari.Viewer, source: Image, planes: Planes, only: Index | None
    ) -> None:
        self._viewer, self._source, self._planes, self._only = viewer, source, planes, only
        self._into: Planes | None = None
        self._layer: Image | None = None

    def show(self, index: Index, picture: NDArray[Any]) -> None:
        """Show a picture; the first one makes the layer."""
        if self._into is None:
            self._into = Planes(self._copy(), self._planes.rgb)
        self._into.put(index if self._only is None else (0,) * len(index), picture)
        if self._layer is None:
            name = f"{self._source.name} (being restored)"
            self._layer = layer_like(self._source, self._into.array, name, self._only)
            self._viewer.add_layer(self._layer)
        elif self._layer in self._viewer.layers:
            self._layer.refresh()

    def _copy(self) -> NDArray[Any]:
        """Return the array that is shown, which begins as the layer's."""
        if self._only is None:
            return np.array(self._planes.array)
        whole = np.array(self._planes.array[self._only])
        return whole[(None,) * len(self._only)]

    def finish(self, metadata: dict[str, Any]) -> None:
        """Name the layer after what it is."""
        if self._layer is not None:
            self._layer.name = f"{self._source.name} (restored)"
            self._layer.metadata["guided-dip"] = metadata

    def remove(self) -> None:
        """Take the layer away, if the user has not."""
        if self._layer is not None and self._layer in self._viewer.layers:
            self._viewer.layers.remove(self._layer)
        self._layer = self._into = None


def make_panel(viewer: napari.Viewer) -> Panel:
    """Return the panel: what the plugin's manifest names."""
    return Panel(viewer)


def _settings(noise: str, device: str, more: str) -> dict[str, Any]:
    """Return the settings that were chosen."""
    try:
        further = yaml.safe_load(f"{{{more}}}")
        json.dumps(further)
    except (yaml.YAMLError, TypeError):
        further = None
    if not isinstance(further, dict) or None in further.values():
        raise InputError(f"'{more}' are no settings; try  seed: 1, steps: 500")
    return {"noise": noise.strip() or "auto", "device": device} | further
