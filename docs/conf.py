"""How the site is built: `make docs`, offline, with warnings as errors."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

from guided_dip import __version__  # noqa: E402

project = "Guided-DIP"
author = "The Guided-DIP developers"
project_copyright = author
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_gallery.gen_gallery",
    "folders",
    "outside_pages",
    "rooms",
]
exclude_patterns = ["_extensions", "_static", "gallery/**/*.py"]
# Many of the project's blocks are plain text: formulas, diagrams, and commands with remarks.
highlight_language = "none"

# Pages are Markdown that GitHub shows, too, so that anchors of headings are GitHub's.
myst_heading_anchors = 4
myst_enable_extensions = ["html_image"]  # a picture with a width is HTML on GitHub
suppress_warnings = ["myst.strikethrough", "config.cache"]

# Docstrings are numpydoc's, and types stand in the signatures only.
napoleon_google_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = True
napoleon_preprocess_types = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
python_maximum_signature_line_length = 88
autodoc_preserve_defaults = True
autodoc_default_options = {"exclude-members": "model_config, model_fields, __new__"}
default_role = "py:obj"

# Explicit references to our own names have to lead somewhere. Types of other packages lead nowhere
# here, as their sites are not looked at (the build makes no request), and a word in single
# backticks in a docstring may be a parameter.
nitpicky = True
nitpick_ignore_regex = [
    ("py:obj", r".*"),
    ("py:class", r"guided_dip\.(diffusion\.Array|experiments\.place\.Model)"),  # type variables
    ("py:(class|data|func|exc)", r"(?!guided_dip\.).*"),
]

sphinx_gallery_conf = {
    "examples_dirs": ["../examples"],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"^(?!plot_)",
    "copyfile_regex": r"a^",
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_signature": False,
    "write_computation_times": False,
    "within_subsection_order": "FileNameSortKey",
    "min_reported_time": 1e9,
    "capture_repr": (),
}

html_theme = "furo"
html_title = "Guided-DIP"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#17606b", "color-brand-content": "#17606b"},
    "dark_css_variables": {"color-brand-primary": "#7cc7d1", "color-brand-content": "#7cc7d1"},
    "footer_icons": [],
}
