"""The table of docs/reference/bad_input.md: what each kind of bad input is answered with, as tests see it.

Each test that makes bad input of a kind hands the answer to the fixture ``bad_input``, which looks for the row. To
write the table again: ``RESUNET_DS_WRITE_DOCS=1 pytest -k bad``.
"""

import os
import re
from pathlib import Path

DOCS = Path(__file__).parents[2] / "docs" / "reference" / "bad_input.md"
WRITES = bool(os.environ.get("RESUNET_DS_WRITE_DOCS"))
HEAD = """\
# Bad input, and what is said of it

Exit code 2, no traceback, nothing half-written; where several cases are read, the others are not harmed. Paths are
shortened to their last part here, and what libraries say to `(…)`. The rows are made by the tests
(`tests/helpers/bad_input.py`), each from what a run on such a file has answered.

| command | kind | answer |
|---|---|---|
"""


def row(command: str, kind: str, answer: str) -> str:
    """Return the row of an answer, without what differs from machine to machine."""
    line = re.sub(r"resunet-ds [\w-]+: error: ", "", answer.strip().splitlines()[0])
    line = re.sub(r"[\w.-]*(/[^\s/:']+)+/", "", line)  # folders
    line = re.sub(r"\([^()]*(\([^()]*\))?[^()]*\)", "(…)", line)
    line = re.sub(r"(.)\1{20,}", r"\1…", line)
    return f"| {command} | {kind} | {line.replace('|', chr(92) + '|')} |"


class Recorder:
    """Checks rows against the table, or collects them to write it."""

    def __init__(self) -> None:
        self.rows: list[str] = []

    def __call__(self, command: str, kind: str, answer: str) -> None:
        made = row(command, kind, answer)
        self.rows.append(made)
        if not WRITES:
            assert made in DOCS.read_text(encoding="utf-8"), (made, __doc__)

    def write(self) -> None:
        """Write the table, where that is asked for; rows of tests that did not run stay."""
        if not (WRITES and self.rows):
            return
        kinds = {key(made) for made in self.rows}
        kept = [line for line in rows_of_docs() if key(line) not in kinds]
        DOCS.write_text(HEAD + "\n".join(sorted([*kept, *self.rows])) + "\n", encoding="utf-8")


def rows_of_docs() -> list[str]:
    """Return the rows of the table as it is."""
    if not DOCS.is_file():
        return []
    return [line for line in DOCS.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]


def key(made: str) -> tuple[str, str]:
    """Return command and kind of a row."""
    return tuple(cell.strip() for cell in made.split("|")[1:3])
