"""How Sphinx builds the site from `_docs/source`, which `prepare.py` writes."""

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

from galaxy_sommelier import __version__

project, author = "Galaxy Sommelier", "The Galaxy Sommelier developers"
version = release = __version__
copyright = f"2026, {author}"
repository = "https://github.com/galaxy-sommelier/galaxy-sommelier"

extensions = ["myst_nb"]
nb_code_prompt_show, nb_code_prompt_hide = "Show the code", "Hide the code"
nb_execution_mode = "off"  # the outputs that are in the notebooks are shown
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # a notebook may go from a title to a small heading

html_theme, html_title = "sphinx_book_theme", project
html_theme_options = {
    "repository_url": repository,
    "use_repository_button": True,
    "use_download_button": False,
    "show_navbar_depth": 1,
    "navbar_persistent": [],  # the search is in the side bar
}
html_math_renderer = "mathml"


def formula(block):
    """Return a function that writes a formula as MathML, which browsers show without a network."""

    def visit(self, node):
        self.body.append(tex2mathml(node.astext(), as_block=block))
        raise nodes.SkipNode

    return visit


def setup(app):
    app.add_html_math_renderer("mathml", (formula(False), None), (formula(True), None))
