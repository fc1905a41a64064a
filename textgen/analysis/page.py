"""Pages in one file, which need no network and run no other script."""

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

_FOLDER = Path(__file__).parent

# In JSON, these characters only occur inside strings. Escaped, no text of the data can
# end the script element.
_ESCAPES = {each: f"\\u{ord(each):04x}" for each in "<>&"}


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
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": html.escape(title.encode("utf-8", "replace").decode()),
        "style": style,
        "script": script,
        "data": re.sub("[<>&]", lambda found: _ESCAPES[found[0]], json.dumps(data)),
    }
    # In one pass: the texts of the data are not searched.
    return re.sub(
        r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _read(f"{name}.html")
    )


def _read(name: str) -> str:
    return (_FOLDER / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
