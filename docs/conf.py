"""Sphinx's settings: the pages are MyST Markdown, the theme is furo, and nothing is loaded from the network."""

import sys
from pathlib import Path

import matplotlib as mpl

sys.path.insert(0, str(Path(__file__).parent.parent))  # Sphinx begins elsewhere, and the extension is docs.book's

project = "fgrad"
author = "The fgrad founders"
copyright = "The fgrad founders"  # Sphinx's name for it
extensions = ["myst_parser", "sphinx_design", "sphinx_copybutton", "docs.book.extension"]
exclude_patterns = ["_build", "_pictures", "book"]
nitpicky = True
# Types in signatures are for reading: those of other libraries, and type variables, lead nowhere.
nitpick_ignore_regex = [("py:.*", r"(?!fgrad\.).*")]

myst_enable_extensions = ["colon_fence", "dollarmath", "attrs_inline", "deflist", "smartquotes"]
myst_heading_anchors = 4
myst_url_schemes = {"http": None, "https": None, "mailto": None, "source": None}
suppress_warnings = ["myst.strikethrough"]

python_maximum_signature_line_length = 76
python_use_unqualified_type_names = True
add_module_names = True
toc_object_entries_show_parents = "hide"

_API = {"color-api-name": "var(--color-brand-content)", "color-api-pre-name": "var(--color-foreground-muted)"}
html_theme = "furo"
html_title = "fgrad"
# A font for formulas where the system has none: matplotlib brings one.
html_static_path = ["static", f"{mpl.get_data_path()}/fonts/ttf/DejaVuSerif.ttf"]
html_css_files = ["book.css"]
html_math_renderer = "mathml"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
pygments_style = "friendly"
pygments_dark_style = "github-dark"
html_theme_options = {
    "top_of_page_buttons": [],
    "light_css_variables": {"color-brand-primary": "#0b6aa8", "color-brand-content": "#0b6aa8", **_API},
    "dark_css_variables": {"color-brand-primary": "#6cb8ee", "color-brand-content": "#6cb8ee", **_API},
}
