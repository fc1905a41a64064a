"""Pages of this folder in one file, with their data."""

import html
from pathlib import Path
from typing import Any

from textgen import html_page

_FOLDER = Path(__file__).parent


def page(name: str, title: str, data: dict[str, Any]) -> str:
    """Returns a page in HTML: markup, style, scripts and data in one file.

    The content security policy of the page allows its own script and style only, by
    their SHA-256.

    Args:
        name: str. `NAME.html` and `NAME.js` of this folder are used, with `view.js`
            and `page.css`.
        title: str. Title of the window; any text.
        data: dict. What JSON can hold. The script shows its texts as text only.
    """
    style = _read("page.css")
    script = _read("view.js") + _read(f"{name}.js")
    parts = {
        "policy": html_page.policy(script, style),
        "title": html.escape(title.encode("utf-8", "replace").decode()),
        "style": style,
        "script": script,
        "data": html_page.as_json(data),
    }
    return html_page.filled(_read(f"{name}.html"), parts)


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")
