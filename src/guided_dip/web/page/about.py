"""The tab that says what all this is."""

from __future__ import annotations

import gradio as gr

from guided_dip.web.page.parts import plain

_TEXT = """
<article class="gd-prose">
<h2>What it does</h2>
<p>A neural network that has never seen another picture is fitted to yours, guide by guide: first to
very noisy versions of it, then to less and less noisy ones. It learns what a picture is before it
learns the noise, and what it has learned is the restoration. Nothing was trained, and nothing
leaves this machine.</p>
<h2>How to use it</h2>
<ol>
<li>Drop a picture, or take an example.</li>
<li>Choose the task, and how long it may take (effort). Leave the noise at auto if you do
not know it.</li>
<li>Press Restore, and watch. <em>Stop and keep this</em> ends early with what there is;
<em>Cancel</em> drops it.</li>
<li>Download the result: its format and bit depth are those of your picture.</li>
</ol>
<h2>What to expect</h2>
<ul>
<li>Minutes, not milliseconds: every picture is learned anew. Small ones are quicker.</li>
<li>Detail that the noise has drowned is smoothed, not invented.</li>
<li>If the noise is not like any of the models, such as stripes or strong compression, the residual
shows it: look whether there are outlines in it.</li>
<li>A PSNR needs a clean picture. It is an oracle's figure: with a real photograph nobody has
it.</li>
<li>The spread says where outputs disagree; it is no guarantee for the rest.</li>
</ul>
<h2>For programs</h2>
<p>The same service answers HTTP under <code>/v1</code>; what it takes is described at
<code>/v1/openapi.json</code>. The command line does the same without a server: each run shows
its command.</p>
</article>
"""


def build() -> None:
    """Build the tab."""
    with gr.Column(elem_classes="gd-panel"):
        plain(_TEXT)
