"""Line editing at a terminal, with prompt_toolkit.

This module imports prompt_toolkit: import it only where a terminal is used.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import (
    CompleteEvent,
    Completer,
    Completion,
    PathCompleter,
)
from prompt_toolkit.document import Document
from prompt_toolkit.history import DummyHistory, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.output import Output, create_output
from prompt_toolkit.output.vt100 import Vt100_Output


class LineEditor:
    """Asks for lines with arrow keys, a history of this session and completion.

    Newlines that are pasted stay in the line: Enter ends it.

    Args:
        commands: Mapping of command names, such as `"/help"`, to their descriptions.
            The Tab key completes them in a line that starts with a slash, and file
            names after `/save`.
        input: Input of prompt_toolkit. Defaults to `None`, the terminal.
        output: Output of prompt_toolkit. Defaults to `None`, the terminal.
    """

    def __init__(
        self,
        commands: Mapping[str, str],
        input: Input | None = None,
        output: Output | None = None,
    ) -> None:
        output = create_output() if output is None else output
        if isinstance(output, Vt100_Output):
            # Terminals that do not report the cursor position would get a warning,
            # and an answer that comes late would be read as typed text.
            output.enable_cpr = False
        options: dict[str, Any] = {
            "input": input,
            "output": output,
            "enable_suspend": True,
            "key_bindings": _key_bindings(),
            "prompt_continuation": lambda width, *_: " " * width,
        }
        self._lines: PromptSession[str] = PromptSession(
            history=InMemoryHistory(),
            completer=CommandCompleter(commands),
            complete_while_typing=False,
            **options,
        )
        self._answers: PromptSession[str] = PromptSession(
            history=DummyHistory(), **options
        )

    def ask(self, question: str, remember: bool = True) -> str:
        """Returns the next line without its end; the cursor is on a new line then.

        Args:
            question: str. The text before the line.
            remember: bool. Whether the arrow keys can bring the line back later.

        Raises:
            EOFError: Ctrl-D in an empty line.
            KeyboardInterrupt: Ctrl-C.
        """
        session = self._lines if remember else self._answers
        line = session.prompt(question)
        # A byte that is not UTF-8 arrives as a surrogate, which cannot be written.
        return re.sub("[\ud800-\udfff]", "\ufffd", line)


class CommandCompleter(Completer):
    """Completes command names, and file names after `/save`.

    Args:
        commands: Mapping of command names to their descriptions.
    """

    def __init__(self, commands: Mapping[str, str]) -> None:
        self._commands = commands
        self._paths = PathCompleter(expanduser=True)

    def get_completions(
        self, document: Document, complete_event: CompleteEvent
    ) -> Iterator[Completion]:
        """Yields what can follow the text before the cursor."""
        typed = document.text_before_cursor
        name, space, path = typed.partition(" ")
        if name == "/save" and space:
            path = path.lstrip()
            yield from self._paths.get_completions(
                Document(path, len(path)), complete_event
            )
        elif typed.startswith("/"):
            for command, description in self._commands.items():
                if command.startswith(typed):
                    yield Completion(command, -len(typed), display_meta=description)


def _key_bindings() -> KeyBindings:
    """Returns the keys that differ from the defaults of prompt_toolkit."""
    bindings = KeyBindings()

    # A Ctrl-D that is typed while a text is generated arrives as this key, which
    # would start a selection.
    @bindings.add("c-@")
    def _ignore(_: Any) -> None:
        pass

    return bindings
