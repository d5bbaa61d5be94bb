"""The tab that restores a picture."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import gradio as gr

from guided_dip.errors import InputError
from guided_dip.web.jobs import NotReadyError, Role, UnknownJobError
from guided_dip.web.models import ENDED
from guided_dip.web.page import examples, form, show
from guided_dip.web.page.context import Context, ToldError, alert
from guided_dip.web.page.examples import Example
from guided_dip.web.page.parts import buttons, drop, paint, plain
from guided_dip.web.page.presets import BY_TITLE

TASKS = [
    ("Denoise", "denoise"), ("Inpaint", "inpaint"), ("Super-resolve", "super-resolve"),
    ("Deblur", "deblur"), ("JPEG artefacts", "dejpeg"), ("Uneven gain", "degain"),
]  # fmt: skip
EFFORTS = [("Fast", "fast"), ("Balanced", "balanced"), ("Best", "best")]
NO_PRESET = "None"
KEEP_PIXELS = ("inpaint", "super-resolve")  # where noise is none unless it is stated
STOP, CANCEL = "Stop and keep this", "Cancel"
_NOISE = (
    "auto finds it out. Or none, gaussian:25 (standard deviation, of 255), poisson:30 (photons at "
    "white), poisson-gaussian:0.5,2 (gain and read noise, of 255)."
)
Fields = dict[str, gr.components.Component]


@dataclass(frozen=True)
class Shown:
    """What shows a job.

    Attributes
    ----------
    job
        Its id, or an empty string; a change of it has the job followed.
    view
        All that there is to see of it.
    stop, cancel
        Buttons that are there while it runs.
    """

    job: gr.Textbox
    view: gr.HTML
    stop: gr.Button
    cancel: gr.Button

    @property
    def outputs(self) -> list[gr.components.Component]:
        """What is drawn anew when the job changes."""
        return [self.view, self.stop, self.cancel]


def build(context: Context) -> Shown:
    """Build the tab."""
    with gr.Row(equal_height=False):
        with gr.Column(scale=4, min_width=300, elem_classes="gd-panel"):
            plain("<h2>What to restore</h2>")
            fields, button, told, chosen = _inputs(context)
        with gr.Column(scale=6, min_width=300, elem_classes="gd-panel"):
            with gr.Row(elem_classes="gd-ends"):
                stop = gr.Button(STOP, visible=False, elem_id="gd-stop")
                cancel = gr.Button(CANCEL, visible=False, elem_id="gd-cancel")
            view = plain(show.empty(), elem_id="gd-view")  # fmt: skip
    job = gr.Textbox(visible=False)
    shown = Shown(job, view, stop, cancel)
    _start(context, fields, button, told, shown)
    _take_example(context, fields, told, chosen)
    _end(context, told, shown)
    job.change(
        _watch(context), [job], shown.outputs,
        show_progress="hidden", concurrency_limit=None, trigger_mode="multiple",
        api_visibility="private",
    )  # fmt: skip
    return shown


def follow_address(page: gr.Blocks, shown: Shown) -> None:
    """Show the job that the page's address names, so that a reload finds it again."""

    def named(request: gr.Request) -> str:
        id = str(request.query_params.get("job", ""))
        return id if len(id) == 32 and id.isalnum() else ""

    page.load(named, None, [shown.job], show_progress="hidden", api_visibility="private")


def _inputs(context: Context) -> tuple[Fields, gr.Button, gr.HTML, gr.HTML]:
    limit = context.jobs.limits.upload
    fields: Fields = {}
    fields["image"] = drop(
        "Picture", hint="Drop it here, paste it, or press to choose: PNG, JPEG, TIFF, 8 or 16 bits",
        role="image", group="restore", limit=limit, elem_id="gd-image",
    )  # fmt: skip
    chosen = buttons(example_buttons(), elem_id="gd-examples")
    preset = gr.Dropdown(
        [NO_PRESET, *BY_TITLE], value=NO_PRESET, label="Preset",
        info="Settings for a kind of picture.",
        elem_id="gd-preset",
    )  # fmt: skip
    fields["task"] = gr.Dropdown(TASKS, value="denoise", label="Task", elem_id="gd-task")
    fields["effort"] = gr.Radio(EFFORTS, value="balanced", label="Effort", elem_id="gd-effort",
        info="Fast takes about a tenth of balanced, best twice as long.")  # fmt: skip
    fields["noise"] = gr.Textbox(
        "auto", label="Noise", info=_NOISE, max_lines=1, elem_id="gd-noise-field"
    )
    groups = _of_tasks(fields, limit)
    fields["clean"] = drop(
        "Clean picture (optional)", hint="To score with; never seen by the restoration",
        role="clean", group="restore", limit=limit, elem_classes="gd-slim", elem_id="gd-clean",
    )  # fmt: skip
    with gr.Accordion("Advanced", open=False, elem_id="gd-advanced"):
        _advanced(fields)
    told = plain(alert(""), elem_id="gd-told")
    button = gr.Button("Restore", variant="primary", elem_id="gd-start")
    _show_groups(fields, groups)
    _use_preset(fields, preset)
    return fields, button, told, chosen


def _of_tasks(fields: Fields, limit: int) -> dict[str, gr.Group]:
    """Build the fields that belong to one task; they are shown with it only."""
    groups = {}
    with gr.Group(visible=False) as groups["inpaint"]:
        fields["drawn"] = paint("restore", elem_id="gd-paint")
        fields["mask"] = drop(
            "Mask (instead of drawing)", hint="A picture of the same size, white where pixels are "
            "to be filled in", role="mask", group="restore", limit=limit, elem_classes="gd-slim",
            elem_id="gd-mask",
        )  # fmt: skip
        fields["invert_mask"] = gr.Checkbox(False, label="The mask is black there instead")
    with gr.Group(visible=False) as groups["super-resolve"]:
        fields["scale"] = gr.Slider(2, 8, value=2, step=1, label="Times as large")
    with gr.Group(visible=False) as groups["deblur"]:
        fields["kernel"] = gr.Textbox(
            "gaussian:1.5", label="Blur", max_lines=1,
            info="gaussian:1.5 (pixels), or motion:9,30 (length, and degrees counter-clockwise)",
        )  # fmt: skip
        fields["kernel_file"] = drop(
            "Or a picture of the blur", hint="Instead of its description", role="kernel",
            group="restore", limit=limit, elem_classes="gd-slim",
        )  # fmt: skip
    with gr.Group(visible=False) as groups["degain"]:
        fields["gain"] = drop(
            "Gain", hint="What each pixel was multiplied by, white is 1", role="gain",
            group="restore", limit=limit, elem_classes="gd-slim",
        )  # fmt: skip
    return groups


def _advanced(fields: Fields) -> None:
    fields["seed"] = gr.Textbox(
        "", label="Seed", max_lines=1, info="Of every random draw; empty: 0."
    )
    fields["white"] = gr.Textbox(
        "", label="White", max_lines=1, info="The picture's value that is white, such as 4095; "
        "empty: found.",
    )  # fmt: skip
    fields["strength"] = gr.Slider(
        0, 1, value=1, step=0.05, label="Strength", info="Share of the restoration; the rest is "
        "the picture as it was.",
    )  # fmt: skip
    fields["page"] = gr.Textbox(
        "", label="Page", max_lines=1, info="Only this one of a TIFF, from 0."
    )
    fields["joint"] = gr.Checkbox(False, label="One network for all pages of a TIFF")
    fields["region"] = gr.Textbox("", label="Region", max_lines=1,
        info="X,Y,WIDTH,HEIGHT in pixels; the rest stays as it is.")  # fmt: skip
    fields["time_budget"] = gr.Textbox("", label="Time budget, in seconds", max_lines=1,
        info="No more steps than fit into it.")  # fmt: skip
    fields["preset"] = gr.Dropdown(
        [("None", ""), ("report: an oracle, sees the picture as clean", "report"),
         ("author: the same as its code has it", "author")],
        value="", label="Experiment of the report", info="Takes the picture as clean: an oracle.",
    )  # fmt: skip
    fields["lines"] = gr.Textbox("", label="Further settings", lines=3,
        info="Any others, a KEY=VALUE each line, such as count=8.")  # fmt: skip
    fields["yaml"] = gr.Textbox("", label="Config file", lines=3,
        info="Text of a config.yaml, such as a run folder has.")  # fmt: skip


def example_buttons() -> str:
    """Return the example pictures as buttons, whose ``data-of`` names them."""
    buttons = "".join(
        f'<button type="button" data-what="example" data-of="{example.name}">'
        f'<img src="page/examples/{example.name}.png" alt="" width="192" height="192">'
        f"<span>{show.text(example.title)}</span></button>"
        for example in examples.EXAMPLES
    )
    return f'<div class="gd-examples" role="group" aria-label="Example pictures">{buttons}</div>'


def _show_groups(fields: Fields, groups: dict[str, gr.Group]) -> None:
    def shown(task: str, noise: str) -> list[Any]:
        usual = "none" if task in KEEP_PIXELS else "auto"
        changed = usual if noise.strip() in ("auto", "none", "") else gr.skip()
        return [changed, *(gr.update(visible=name == task) for name in groups)]

    fields["task"].input(
        shown, [fields["task"], fields["noise"]], [fields["noise"], *groups.values()],
        show_progress="hidden", api_visibility="private",
    )  # fmt: skip
    # Also where an example or a preset has set it, and the noise with it.
    fields["task"].change(
        lambda task: [gr.update(visible=name == task) for name in groups],
        [fields["task"]], list(groups.values()),
        show_progress="hidden", api_visibility="private",
    )  # fmt: skip


def _use_preset(fields: Fields, preset: gr.Dropdown) -> None:
    usual = {"task": "denoise", "effort": "balanced", "noise": "auto", "strength": 1, "scale": 2,
             "kernel": "gaussian:1.5"}  # fmt: skip

    def use(title: str) -> list[Any]:
        found = BY_TITLE.get(title)
        if found is None:
            return [gr.update(info="Settings for a kind of picture."), *[gr.skip()] * len(usual)]
        values = usual | dict(found.values)
        if values["task"] in KEEP_PIXELS and "noise" not in found.values:
            values["noise"] = "none"
        return [gr.update(info=f"{found.about} It sets {found.sets}."), *values.values()]

    preset.input(
        use, [preset], [preset, *(fields[name] for name in usual)],
        show_progress="hidden", api_visibility="private",
    )  # fmt: skip


def _start(
    context: Context, fields: Fields, button: gr.Button, told: gr.HTML, shown: Shown
) -> None:
    def start(values: dict[Any, Any], request: gr.Request) -> tuple[Any, str]:
        asked = {name: values[part] for name, part in fields.items()}
        kept: dict[Role, Any] = {role: asked[role] for role in ("image", "clean")}
        task = asked["task"]
        if task == "inpaint":
            kept["mask"] = asked["mask"]
        if task == "deblur" and asked["kernel_file"]:
            kept["kernel"], asked["kernel"] = asked["kernel_file"], ""
        if task == "degain":
            kept["gain"] = asked["gain"]
        try:
            settings = form.settings_of(asked)
            drawn = asked["drawn"] if task == "inpaint" else None
            state = context.begin(kept, settings, context.owner(request), drawn)
        except InputError as error:
            return gr.skip(), alert(str(error))
        except ToldError as error:
            return gr.skip(), alert(str(error))
        return state.id, alert("")

    button.click(
        start, set(fields.values()), [shown.job, told],
        show_progress="hidden", api_visibility="private",
    )  # fmt: skip


def _take_example(context: Context, fields: Fields, told: gr.HTML, chosen: gr.HTML) -> None:
    def take(event: gr.EventData, request: gr.Request) -> list[Any]:
        example = examples.find(str(event._data.get("of", "")))
        if example is None:
            return [gr.skip()] * 6
        files = keep_example(context, example, context.owner(request))
        scratched = files[2] is not None
        return [*files, "inpaint" if scratched else "denoise", "none" if scratched else "auto",
                alert("")]  # fmt: skip

    names = ("image", "clean", "mask", "task", "noise")
    chosen.select(
        take, None, [*(fields[name] for name in names), told],
        show_progress="hidden", api_visibility="private",
    )  # fmt: skip


def keep_example(context: Context, example: Example, owner: str) -> list[dict[str, Any] | None]:
    """Give a user the noisy picture of an example, the clean one, and its mask if it has one."""
    made = example.make()
    files = (
        (made.noisy, made.shape, ""),
        (made.clean, made.shape, "-clean"),
        (made.mask, made.shape[:2], "-mask"),
    )
    return [
        None
        if data is None
        else context.uploads.keep_own(data, f"{example.name}{what}.png", shape, owner).model_dump()
        for data, shape, what in files
    ]


def _end(context: Context, told: gr.HTML, shown: Shown) -> None:
    def stop(id: str, request: gr.Request) -> str:
        return _told(lambda: context.jobs.stop(id, context.owner(request)))

    def cancel(id: str, request: gr.Request) -> str:
        return _told(lambda: context.jobs.cancel(id, context.owner(request)))

    for button, what in ((shown.stop, stop), (shown.cancel, cancel)):
        button.click(
            what, [shown.job], [told], show_progress="hidden", api_visibility="private",
        )  # fmt: skip


def _told(do: Any) -> str:
    try:
        do()
    except (NotReadyError, UnknownJobError) as error:
        return alert(str(error) or "this run is not here any more")
    return alert("")


def _watch(context: Context) -> Any:
    async def watch(id: str, request: gr.Request) -> AsyncIterator[list[Any]]:
        hidden = gr.update(visible=False)
        if not id:
            yield [show.empty(), hidden, hidden]
            return
        owner, session = context.owner(request), request.session_hash or ""
        last: tuple[bool, bool] | None = None
        async for states in context.watcher.watch([id], owner, session):
            if not states:
                yield [show.lost(), hidden, hidden]
                return
            state = states[0]
            curve = await context.watcher.curve(state, owner)
            buttons = (state.status == "running", state.status not in ENDED)
            # With its name: a button that was hidden has forgotten it.
            changes = [
                gr.update(visible=there, value=name)
                for there, name in zip(buttons, (STOP, CANCEL), strict=True)
            ]
            yield [show.job(state, curve), *(changes if buttons != last else [gr.skip()] * 2)]
            last = buttons

    return watch
