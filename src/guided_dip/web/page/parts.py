"""Parts of the page that Gradio has not: places for files, a mask to be drawn, buttons in HTML.

Each is Gradio's own component for HTML with a script of ours (``static/page.js``). Gradio's file,
image and editor components are not used, as their files are readable by whoever knows an address.
"""

from __future__ import annotations

from typing import Any

import gradio as gr

SCRIPT = '<script src="page/static/page.js"></script>'

_DROP = """
<div class="gd-drop" tabindex="-1">
  <label class="gd-drop-box">
    <span class="gd-drop-title">${label}</span>
    <img alt="" hidden>
    <span class="gd-hint">${hint}</span>
    <input type="file" accept="image/*,.tif,.tiff,.fits,.fit">
  </label>
  <p class="gd-told" role="status"></p>
  <button type="button" class="gd-remove gd-small" hidden
    aria-label="Remove: ${label}">Remove</button>
  <p class="gd-error" role="alert"></p>
</div>
"""

_PAINT = """
<div class="gd-paint">
  <p class="gd-hint gd-unready">Give a picture first; then draw here over what is missing.</p>
  <div class="gd-tools">
    <label>Brush <input type="range" class="gd-size" min="1" max="20" step="0.5" value="4"></label>
    <button type="button" class="gd-small gd-erase" aria-pressed="false">Erase</button>
    <button type="button" class="gd-small gd-undo">Undo</button>
    <button type="button" class="gd-small gd-clear">Clear</button>
  </div>
  <div class="gd-canvas">
    <img alt="The picture that is drawn over">
    <canvas tabindex="0" role="application" aria-describedby="gd-keys-${group}"
      aria-label="Mask: draw over what is to be filled in"></canvas>
    <span class="gd-cursor" aria-hidden="true"></span>
  </div>
  <p class="gd-hint" id="gd-keys-${group}">Draw with mouse, pen or finger. With the keyboard: arrow
  keys move the brush, Space paints, Control and an arrow paints a line.</p>
  <p class="gd-told" role="status"></p>
</div>
"""


def drop(label: str, *, hint: str, role: str, group: str, limit: int, **given: Any) -> gr.HTML:
    """Make a place for a file; its value is a `Kept` as a dict, or None.

    Parameters
    ----------
    label
        What is to be dropped there.
    hint
        How, or what it is for.
    role
        ``image`` for the picture itself, over which a mask can be drawn.
    group
        Of parts that belong together.
    limit
        Bytes that a file may have.
    given
        As for any HTML of Gradio's.
    """
    props = {"hint": hint, "role": role, "group": group, "limit": limit}
    return _made("drop", _DROP, None, label=label, **props, **given)


def paint(group: str, **given: Any) -> gr.HTML:
    """Make a mask that is drawn over the picture of a group; its value is a data URL, or None.

    Parameters
    ----------
    group
        As for `drop`.
    given
        As for any HTML of Gradio's.
    """
    return _made("paint", _PAINT, None, group=group, **given)


def buttons(value: str, **given: Any) -> gr.HTML:
    """Make HTML whose buttons with ``data-what`` tell Python that they are pressed, by ``select``.

    Parameters
    ----------
    value
        The HTML.
    given
        As for any HTML of Gradio's.
    """
    return _made("press", "${value}", value, **given)


def plain(value: str, **given: Any) -> gr.HTML:
    """Make HTML that does nothing.

    Parameters
    ----------
    value
        The HTML.
    given
        As for any HTML of Gradio's.
    """
    return gr.HTML(value, apply_default_css=False, js_on_load=None, **given)


def _made(name: str, template: str, value: str | None, **given: Any) -> gr.HTML:
    # No classes of our own: for each, Gradio writes a file beside the source.
    return gr.HTML(
        value,
        html_template=template,
        js_on_load=f"window.guidedDip.{name}(element, trigger, props, watch)",
        head=SCRIPT,
        apply_default_css=False,
        **given,
    )
