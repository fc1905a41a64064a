"""Docstrings have code blocks as in Markdown; Sphinx reads reStructuredText.

Classes of Keras hide the arguments of their constructor; here they are shown.
"""

import inspect
import re

from sphinx.util.inspect import stringify_signature

FENCE = re.compile(r"^( *)```(\w*)$")


def fences_to_directives(app, what, name, obj, options, lines):
    """Replaces each block in three backticks by a `code-block` directive."""
    result = []
    inside = False
    for line in lines:
        fence = FENCE.match(line)
        if fence and not inside:
            result += [f"{fence[1]}.. code-block:: {fence[2] or 'text'}", ""]
        elif fence:
            result.append("")
        else:
            result.append(f"   {line}" if inside and line else line)
        inside ^= bool(fence)
    lines[:] = result


def constructor_arguments(app, what, name, obj, options, signature, returned):
    """Shows the arguments of `__init__`, where Keras has only `*args, **kwargs`."""
    if what != "class" or signature != "(*args, **kwargs)":
        return None
    parameters = [*inspect.signature(obj.__init__).parameters.values()][1:]
    plain = [each.replace(annotation=each.empty) for each in parameters]
    return stringify_signature(inspect.Signature(plain)), returned


def setup(app):
    """Runs before napoleon, which has the priority 500."""
    app.connect("autodoc-process-docstring", fences_to_directives, priority=400)
    app.connect("autodoc-process-signature", constructor_arguments)
    return {"parallel_read_safe": True}
