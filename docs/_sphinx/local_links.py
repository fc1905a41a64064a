"""Links to files of the repository that are not pages of the documentation.

On GitHub they are links. Here, a Markdown file is shown as its path, and any other
file, such as a script or a notebook, can be downloaded.
"""

from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms import SphinxTransform

ROOT = Path(__file__).parents[2]


class LocalLinks(SphinxTransform):
    """Replaces links to Markdown files outside of `docs/`."""

    default_priority = 5  # before Sphinx collects the downloads

    def apply(self, **kwargs):
        """Replaces the links of one page."""
        for link in [*self.document.findall(addnodes.pending_xref)]:
            path = path_in_repository(link["reftarget"])
            if path is None:
                continue
            text = link.astext()
            words = [] if text == path else [nodes.inline("", f"{text} (")]
            end = [] if text == path else [nodes.Text(")")]
            link.replace_self([*words, nodes.literal(path, path), *end])


def path_in_repository(target):
    """The path of a Markdown file that is not a page, or None.

    MyST gives the target of a link to such a file as an absolute path without `.md`.
    """
    path = Path(f"{target}.md")
    if not path.is_relative_to(ROOT) or not path.is_file():
        return None
    return path.relative_to(ROOT).as_posix()


def setup(app):
    """Adds the transformation."""
    app.add_transform(LocalLinks)
    return {"parallel_read_safe": True}
