"""The plugin for napari: a panel that restores the layer that is shown, and sample pictures.

The restoration runs in a process of its own (`process`), so that the viewer stays smooth, can end
it at any time, and outlives it whatever becomes of it. `beside` is that process as seen from the
viewer, `planes` says which parts of a layer are pictures, and `panel` is what is seen. Only `panel`
and `layers` load napari.
"""
