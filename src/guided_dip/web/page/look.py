"""How the page looks, as far as Gradio draws it: system fonts, calm colours, light and dark."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import gradio as gr

FONTS = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

# Gradio names no language direction or landmark; these are for those who do not see the page.
THEME_JS = "() => { window.guidedDip && window.guidedDip.ready(); }"


def theme() -> gr.themes.Base:
    """Return the theme: nothing of it is fetched from anywhere."""
    import gradio as gr

    blue = gr.themes.Color(
        *("#eef5fb", "#d8e8f5", "#b3d2ea", "#83b4da", "#4f91c4", "#2f74aa"),
        *("#1f5c8e", "#1f4e79", "#193e60", "#14324d", "#0e2438"),
        name="ink",
    )
    made = gr.themes.Base(
        primary_hue=blue,
        secondary_hue=blue,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        font=list(FONTS),
        font_mono=list(MONO),
    )
    return made.set(
        body_background_fill="#f6f8fa",
        body_background_fill_dark="#10161c",
        body_text_color="#1d2730",
        body_text_color_dark="#e6ebf0",
        body_text_color_subdued="#4a5866",
        body_text_color_subdued_dark="#aab6c2",
        background_fill_primary="#ffffff",
        background_fill_primary_dark="#171f27",
        background_fill_secondary="#f6f8fa",
        background_fill_secondary_dark="#10161c",
        block_background_fill="#ffffff",
        block_background_fill_dark="#171f27",
        block_border_color="#d5dce3",
        block_border_color_dark="#2c3844",
        block_info_text_color="#4a5866",
        block_info_text_color_dark="#aab6c2",
        block_label_text_color="#1d2730",
        block_label_text_color_dark="#e6ebf0",
        block_title_text_color="#1d2730",
        block_title_text_color_dark="#e6ebf0",
        block_title_text_weight="600",
        input_background_fill="#ffffff",
        input_background_fill_dark="#10161c",
        input_border_color="#8593a1",
        input_border_color_dark="#5b6977",
        input_border_color_focus="#1f5c8e",
        input_border_color_focus_dark="#83b4da",
        input_placeholder_color="#5b6977",
        input_placeholder_color_dark="#9aa7b4",
        button_primary_background_fill="#1f4e79",
        button_primary_background_fill_hover="#193e60",
        button_primary_background_fill_dark="#2f74aa",
        button_primary_background_fill_hover_dark="#1f5c8e",
        button_primary_text_color="#ffffff",
        button_primary_text_color_dark="#ffffff",
        button_secondary_background_fill="#e6edf3",
        button_secondary_background_fill_hover="#d5dfe8",
        button_secondary_background_fill_dark="#2c3844",
        button_secondary_background_fill_hover_dark="#394753",
        button_secondary_text_color="#1d2730",
        button_secondary_text_color_dark="#e6ebf0",
        link_text_color="#1f5c8e",
        link_text_color_dark="#83b4da",
        input_border_width="1px",
        input_border_width_dark="1px",
        slider_color="#1f5c8e",
        slider_color_dark="#4f91c4",
    )
