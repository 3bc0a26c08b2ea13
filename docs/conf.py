"""How Sphinx builds these pages: `nox -s docs`.

Nothing is loaded from other hosts, neither here nor by a reader.
"""

import sys
from pathlib import Path

# The package as it stands beside these pages.
sys.path.insert(0, str(Path(__file__).parent.parent))

from sphinx.application import Sphinx

from enkash_coins import __version__

project = "enkash-coins"
version = release = __version__
copyright = "the enkash-coins authors"
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = "enkash-coins"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_copy_source = html_show_sourcelink = False
pygments_style = "default"
pygments_dark_style = "github-dark"

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence", "tasklist"]

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
maximum_signature_line_length = 80
napoleon_use_ivar = True  # fields are described once, by their class
napoleon_use_rtype = False

# Pages about these lie on other hosts, or they stand behind the public names and
# are said in words where it matters. Any other name that leads nowhere is an error.
nitpick_ignore_regex = [
    ("py:class", r"(aiohttp|collections|opentelemetry|os|pathlib|ssl)\..*"),
    ("py:class", "ClientSession"),
    ("py:class", r"enkash_coins\.service\.ConnectOptions"),
    ("py:class", r"enkash_coins\.bulk\.files\.rows\.(T|_Options)"),
    ("py:class", r"enkash_coins\.models\.(Item|Result|Unset)"),
]


def setup(app: Sphinx) -> None:
    """Show errors without the arguments that this package gives them."""

    def shorten(_app: Sphinx, what: str, *rest: object) -> tuple[str, None] | None:
        *_, arguments, _ = rest
        return ("", None) if what == "exception" and arguments else None

    app.connect("autodoc-process-signature", shorten)
