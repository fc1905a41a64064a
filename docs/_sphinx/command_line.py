"""The directive `command-line`: a reference that is read from the parser of textgen.

All commands, arguments, options and their help come from `textgen.cli.main`, so that
the page cannot differ from the program.
"""

import argparse
import re

from sphinx.util.docutils import SphinxDirective

from textgen.cli import main

SPECIAL = re.compile(r"([\\*_`|<>])")


def escaped(text):
    """The text as reStructuredText that shows it unchanged, in one line."""
    pieces = re.split(r"`([^`]+)`", re.sub(r"\s+", " ", text))
    # What the help puts in backticks is code.
    return "".join(
        f"``{piece}``" if number % 2 else SPECIAL.sub(r"\\\1", piece)
        for number, piece in enumerate(pieces)
    )


def commands_of(parser):
    """The commands of a parser: `{name: (parser, line in the list)}`."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            helps = {each.dest: each.help or "" for each in action._choices_actions}
            return {
                name: (child, helps.get(name, ""))
                for name, child in action.choices.items()
            }
    return {}


def signature_of(action, formatter):
    """An option with its argument, such as `-o FILE, --output FILE`."""
    if not action.option_strings:
        return formatter._format_args(action, action.metavar or action.dest)
    values = ""
    if action.nargs != 0:
        values = " " + formatter._format_args(
            action, action.metavar or action.dest.upper()
        )
    return ", ".join(option + values for option in action.option_strings)


def lines_of_command(name, parser):
    """The section of a command, in reStructuredText."""
    title = f"textgen {name}"
    usage = re.sub(r"\s+", " ", parser.format_usage().removeprefix("usage: "))
    yield from ("", title, "-" * len(title), "", f".. program:: {title}", "")
    yield from (".. code-block:: text", "", f"   {usage}", "")
    for paragraph in (parser.description or "").split("\n\n"):
        yield from (escaped(paragraph), "")
    for group in parser._action_groups:
        actions = [
            each
            for each in group._group_actions
            if each.help != argparse.SUPPRESS
            and not isinstance(each, argparse._HelpAction)
        ]
        if actions:
            yield from lines_of_group(group, actions, parser)


def lines_of_group(group, actions, parser):
    """A group of arguments, in reStructuredText."""
    formatter = parser._get_formatter()
    group_title = (group.title or "").capitalize()
    yield from (f".. rubric:: {escaped(group_title)}", "")
    for paragraph in (group.description or "").split("\n\n"):
        yield from (escaped(paragraph), "")
    for action in actions:
        directive = "option" if action.option_strings else "describe"
        text = formatter._expand_help(action) if action.help else ""
        yield from (f".. {directive}:: {signature_of(action, formatter)}", "")
        yield from (f"   {escaped(text)}", "")


class CommandLine(SphinxDirective):
    """Inserts the description of all commands."""

    def run(self):
        """Returns the sections of all commands."""
        lines = []
        for name, (parser, _) in commands_of(main._parser()).items():
            lines += lines_of_command(name, parser)
        return self.parse_text_to_nodes("\n".join(lines), allow_section_headings=True)


def setup(app):
    """Adds the directive."""
    app.add_directive("command-line", CommandLine)
    return {"parallel_read_safe": True, "env_version": 1}
