"""Sphinx: the pages of this repository, the report site and the API reference, as one site.

From the root of a checkout: ``sphinx-build -W -c docs . build/docs`` (``tox -e docs``).
"""

import os
import shutil
from pathlib import Path

from docutils import nodes
from sphinx import addnodes

from harness.version import VERSION

ROOT = Path(__file__).parents[1]

project = "softmax-bench"
author = "the softmax-bench maintainers"
version = release = VERSION

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
include_patterns = ["*.md", "docs/**"]
root_doc = "docs/index"
html_theme = "furo"
html_title = f"softmax-bench {VERSION}"
html_show_copyright = False

myst_heading_anchors = 4
autodoc_member_order = "bysource"
default_role = "code"
autodoc_typehints_format = "short"


def keep_page_links(app, doctree):
    """A link to a page of the committed report site stays a link, and is no download."""
    here = Path(app.env.docname).parent
    for link in list(doctree.findall(addnodes.download_reference)):
        target = link["reftarget"]
        if target.endswith(".html"):
            path = os.path.relpath(ROOT / here / target, ROOT / here)
            link.replace_self(nodes.reference("", "", *link.children, refuri=path))


def copy_reports(app, failed):
    if failed is None:
        shutil.copytree(ROOT / "reports", Path(app.outdir, "reports"), dirs_exist_ok=True)


def setup(app):
    app.connect("doctree-read", keep_page_links)
    app.connect("build-finished", copy_reports)
