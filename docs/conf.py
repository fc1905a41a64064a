"""The Sphinx configuration: `make docs` builds the pages in `docs/_build/html`."""

import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported
sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent / "_sphinx")]

import textgen  # noqa: E402

project = "textgen"
author = "The textgen authors"
copyright = author
version = release = textgen.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "command_line",
    "docstrings",
    "local_links",
]
exclude_patterns = ["_build", "_sphinx"]

# Pages of this folder are also read on GitHub, so they use plain Markdown.
myst_heading_anchors = 3
myst_enable_extensions = ["attrs_inline", "colon_fence"]

smartquotes = False  # `--level` and "poems" are typed as they are shown
default_role = "code"  # `name` in a docstring is code, as in Markdown
napoleon_numpy_docstring = False
napoleon_use_rtype = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the docstrings say types, shapes and defaults
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 70

# Names of other packages and of textgen's inner modules have no page here.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!textgen\.[A-Za-z_]+$).*"),
]

html_theme = "furo"
html_title = "textgen"
html_static_path = ["_static"]
html_css_files = ["textgen.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
html_theme_options = {
    "light_css_variables": {
        "color-brand-primary": "#7a3b1d",
        "color-brand-content": "#7a3b1d",
        "color-api-name": "#7a3b1d",
        "color-api-pre-name": "#6b6b6b",
    },
    "dark_css_variables": {
        "color-brand-primary": "#e0a27e",
        "color-brand-content": "#e0a27e",
        "color-api-name": "#e0a27e",
        "color-api-pre-name": "#a0a0a0",
    },
}
pygments_style = "tango"
pygments_dark_style = "github-dark"
