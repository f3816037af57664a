"""Answer programs: with ``--json``, one JSON text on standard output, and the lines for people on standard error."""

import argparse
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from nnunet_resunet_ds.base.files import with_nulls


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """Add ``--json`` to a command that prints a table."""
    parser.add_argument(
        "--json", action="store_true", help="print the result as JSON, for programs; the lines go to standard error"
    )


def answer(options: argparse.Namespace, content: object) -> None:
    """Keep what ``--json`` prints; where a command answers again, the last answer counts."""
    options.answer = content


@contextmanager
def lines_or_json(options: argparse.Namespace) -> Iterator[None]:
    """Let a command print lines; where ``--json`` is given, its answer, also when it stops with an error after it."""
    if not getattr(options, "json", False):
        yield
        return
    standard_output = sys.stdout
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        if "answer" in options:
            print(json.dumps(with_nulls(options.answer), indent=2, default=str), file=standard_output)
