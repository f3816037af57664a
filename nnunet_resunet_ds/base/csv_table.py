"""Write a table of numbers as a CSV file."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from nnunet_resunet_ds.base.files import replacing


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Iterable[object]]) -> None:
    """Write header and rows, in UTF-8; the file gets its name when it is complete."""
    with replacing(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as stream:
        table = csv.writer(stream)
        table.writerow(header)
        table.writerows(rows)
