"""Parse a command line, and say what to type where an argument or a command is not known."""

import argparse
import difflib
import re
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

_NO_COMMAND = re.compile(r"argument COMMAND: invalid choice: '(?P<given>[^']*)' \(choose from (?P<known>.*)\)")
"""How argparse says so."""
_MAX_USAGE_LINES = 5


class HelpfulParser(argparse.ArgumentParser):
    """A parser of argparse with remedies in its messages.

    Args:
        for_strays: the hint for an argument without a flag, in which ``{}`` stands for the argument; for a subcommand
            that takes none.
    """

    def __init__(self, *args: Any, for_strays: str = "", **keywords: Any) -> None:  # noqa: ANN401 (argparse's)
        super().__init__(*args, **keywords)
        self._for_strays = for_strays

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # noqa: ANN401 (argparse's)
        """Refuse what is not known with the usage of the subcommand: argparse shows that of the whole command."""
        words = list(sys.argv[1:] if args is None else args)
        if self._for_strays and words and not words[0].startswith("-"):
            self._refuse(words[:1])
        found, strays = super().parse_known_args(words, namespace)
        if strays:
            self._refuse(strays)
        return found, strays

    def _refuse(self, strays: Sequence[str]) -> NoReturn:
        self.error(f"unrecognized arguments: {' '.join(strays)}{self._remedy(strays[0].partition('=')[0])}")

    def _remedy(self, stray: str) -> str:
        if not stray.startswith("-"):
            return f"; {self._for_strays.format(stray)}" if self._for_strays else ""
        near = difflib.get_close_matches(stray, self._option_string_actions, n=1)
        return f"; did you mean {near[0]}?" if near else f"; {self.prog} --help lists all"

    def error(self, message: str) -> NoReturn:
        """End with exit code 2; name the command that a misspelt one is nearest to."""
        match = _NO_COMMAND.search(message)
        if match:
            near = difflib.get_close_matches(match["given"].lower(), re.findall(r"[\w-]+", match["known"]), n=1)
            meant = f"did you mean {self.prog} {near[0]}? " if near else ""
            message = f"{match['given']} is no command; {meant}{self.prog} --help lists all"
        super().error(message)

    def print_usage(self, file: Any = None) -> None:  # noqa: ANN401 (argparse's)
        """Print the usage; where it would push the message out of sight, where to find it."""
        usage = self.format_usage()
        if usage.count("\n") > _MAX_USAGE_LINES:
            usage = f"usage: {self.prog} …; {self.prog} --help lists all arguments\n"
        self._print_message(usage, file or sys.stdout)
