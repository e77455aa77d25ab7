"""The site of the docs: `make docs` builds it, and fails where a link leads nowhere."""

from importlib.metadata import version as installed

project = "mlops-lifecycle"
version = release = installed(project)
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_title = f"{project} {release}"
myst_heading_anchors = 4
