"""The page `/docs`: the HTTP API, from its OpenAPI description.

The pages of FastAPI load scripts from another server; this one needs no script.
"""

import html
import json
from collections.abc import Iterator
from typing import Any

_START = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>HTTP API - textgen</title>
<link rel="icon" href="static/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="static/docs.css">
</head>
<body>
<main>
<p><a href="./">textgen</a></p>
<h1>HTTP API</h1>"""

_END = "</main>\n</body>\n</html>\n"

# The bounds of a number or a length, all integers, and how they are written.
_BOUNDS = {
    "minimum": "at least {}",
    "exclusiveMinimum": "above {}",
    "maximum": "at most {}",
    "exclusiveMaximum": "below {}",
    "maxLength": "at most {} characters",
    "maxItems": "at most {} items",
}


def page(openapi: dict[str, Any], examples: dict[str, str]) -> str:
    """Returns the page, HTML.

    Args:
        openapi: dict. The OpenAPI description of the application.
        examples: dict of str. An example of a request for each path, for a shell.
    """
    schemas = openapi.get("components", {}).get("schemas", {})
    operations = [
        (method, path, operation)
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    parts = [
        _START,
        f"<p>{_text(openapi['info']['description'])} The same for programs: "
        '<a href="openapi.json">openapi.json</a>.</p>',
    ]
    for method, path, operation in operations:
        parts += _operation(method, path, operation, schemas, examples.get(path))
    parts += _errors([operation for *_, operation in operations])
    return "\n".join([*parts, _END])


def _operation(
    method: str,
    path: str,
    operation: dict[str, Any],
    schemas: dict[str, Any],
    example: str | None,
) -> Iterator[str]:
    """Yields the section of a method of a path."""
    yield f"<section>\n<h2><code>{method.upper()} {_text(path)}</code></h2>"
    yield f"<p>{_text(operation.get('summary', ''))}.</p>"
    if example:
        yield f'<pre tabindex="0"><code>{_text(example)}</code></pre>'
    request = operation.get("requestBody", {}).get("content", {})
    for content in request.values():
        yield "<h3>Request</h3>"
        yield from _table(content["schema"], schemas, True)
    answer = operation["responses"].get("200", {})
    yield f"<h3>Answer</h3>\n<p>{_text(answer.get('description', ''))}</p>"
    for content in answer.get("content", {}).values():
        yield from _table(content["schema"], schemas, False)
    yield "</section>"


def _errors(operations: list[dict[str, Any]]) -> Iterator[str]:
    """Yields the section about the errors of all methods."""
    found = {
        status: answer.get("description", "")
        for operation in operations
        for status, answer in operation["responses"].items()
        if status != "200"
    }
    yield "<section>\n<h2>Errors</h2>"
    yield '<p>The body is <code>{"error": "what is wrong, and the remedy"}</code>.</p>'
    yield "<table><thead><tr><th>Status</th><th>Meaning</th></tr></thead><tbody>"
    for status, description in sorted(found.items()):
        yield f"<tr><td>{_text(status)}</td><td>{_text(description)}</td></tr>"
    yield "</tbody></table>\n</section>"


def _table(
    schema: dict[str, Any], schemas: dict[str, Any], request: bool
) -> Iterator[str]:
    """Yields the fields of an object; those of its objects have dotted names."""
    yield "<table><thead><tr><th>Field</th><th>Type</th>"
    yield "<th>Default</th>" if request else ""
    yield "<th>Meaning</th></tr></thead><tbody>"
    for name, field, required in _fields(schema, schemas):
        kinds, bounds = _kind(field)
        words = [field.get("description", "").removesuffix(".")]
        meaning = "; ".join(filter(None, [*words, *bounds]))
        default = "required" if required else json.dumps(field.get("default"))
        row = [f"<code>{_text(name)}</code>", _text(kinds)]
        if request:
            row.append(_text(default))
        row.append(_text(meaning))
        yield "<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>"
    yield "</tbody></table>"


def _fields(
    schema: dict[str, Any], schemas: dict[str, Any], prefix: str = ""
) -> Iterator[tuple[str, dict[str, Any], bool]]:
    """Yields name, schema and whether it is required, for each field of an object."""
    schema = _resolved(schema, schemas)
    for name, field in schema.get("properties", {}).items():
        inner = _resolved(field, schemas)
        described = {**inner, **field}
        yield prefix + name, described, name in schema.get("required", ())
        items = _resolved(field.get("items", {}), schemas)
        if "properties" in items:
            yield from _fields(items, schemas, f"{prefix}{name}[].")
        elif "properties" in inner:
            yield from _fields(inner, schemas, f"{prefix}{name}.")


def _resolved(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    return schemas[name] if name else schema


def _kind(field: dict[str, Any]) -> tuple[str, list[str]]:
    """Returns the type of a field in words, and its bounds."""
    kinds, bounds = [], []
    for each in field.get("anyOf", [field]):
        if "enum" in each:
            kinds.append(" or ".join(map(json.dumps, each["enum"])))
        elif each.get("type") == "array":
            items = each.get("items", {}).get("type", "object")
            kinds.append(f"list of {items}s")
        else:
            kinds.append(each.get("type", "object"))
        bounds += [
            words.format(f"{int(each[name]):,}")
            for name, words in _BOUNDS.items()
            if name in each
        ]
    return " or ".join(kinds), bounds


def _text(value: str) -> str:
    return html.escape(value, quote=False)
