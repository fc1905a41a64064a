"""Pages in one file, which load nothing and run no script but their own."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

# In JSON, these characters only occur inside strings. Escaped, no text of the data can
# end the element that it is in.
_ESCAPES = {each: f"\\u{ord(each):04x}" for each in "<>&"}


def policy(script: str, style: str) -> str:
    """Returns a Content-Security-Policy that allows a script and a style, by SHA-256.

    Args:
        script: str. All that is between `<script>` and `</script>`.
        style: str. All that is between `<style>` and `</style>`.
    """
    return (
        f"default-src 'none'; script-src {_source(script)}; style-src "
        f"{_source(style)}; base-uri 'none'; form-action 'none'"
    )


def as_json(value: Any) -> str:
    """Returns JSON in ASCII that cannot end the element of a page that it is in."""
    text = json.dumps(value, separators=(",", ":"))
    return re.sub("[<>&]", lambda found: _ESCAPES[found[0]], text)


def filled(template: str, parts: Mapping[str, str]) -> str:
    """Replaces each `{{name}}` of a template once: a part may contain such names."""
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def _source(code: str) -> str:
    digest = hashlib.sha256(code.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
