"""The reading edition: every page with its stored outputs, as a site that needs no network. `make book` builds it.

The source folder of the build is the whole project, so that links between its files lead to pages; this folder holds
the settings, the pages that only the book has, and `edition.py`, which adds hints, solutions and lecture times.
"""

import gc
import sys
from pathlib import Path

gc.disable()  # a build keeps nearly all that it makes: looking for garbage takes a fifth of its time and finds little
sys.path.insert(0, str(Path(__file__).parent))  # for edition

project = "The character-level MLP, step by step"
html_title = "The character-level MLP"
root_doc = "book/index"
include_patterns = [
    "book/*.md", "notebooks/*.ipynb", "README.md", "CONTRIBUTING.md", "data/README.md", "docs/*.md", "benchmarks/*.md",
]  # fmt: skip
exclude_patterns = [".*", "**/.ipynb_checkpoints", "book/_build", "dist"]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx_design", "edition"]

smartquotes = False  # hints hold code, and prose is shown as it was written

# Pages: what `make refresh` stored is shown, nothing runs.
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # panels are pictures here; the default asks a server for scripts
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

# The library, from its docstrings. They are written as Markdown is: one backtick for code.
default_role = "code"
add_module_names = False
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
# Names of other projects have no page here, and their sites are not asked for one.
nitpick_ignore_regex = [
    (
        "py:.*",
        r"(torch|numpy|np|matplotlib|ipywidgets|nn|collections|concurrent|pathlib|datetime|threading|jaxtyping)\..*",
    ),
    ("py:class", "Tensor"),
]

html_theme = "sphinx_book_theme"
html_static_path = ["static"]
html_css_files = ["book.css"]
html_extra_path = ["site"]
html_copy_source = False
html_domain_indices = html_use_index = False  # the search finds every name
html_show_sourcelink = False
html_show_copyright = False
html_theme_options = {
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navigation_with_keys": False,
    "footer_content_items": [],
    "back_to_top_button": False,
    "navbar_persistent": [],  # the field in the sidebar is enough
}
html_context = {"default_mode": "auto"}  # light or dark, as the reader's system is
