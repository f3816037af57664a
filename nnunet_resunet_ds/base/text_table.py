"""Lay out a table as text: in columns for a terminal, or as Markdown."""

from collections.abc import Iterator, Sequence

MISSING = "–"
"""Stands where a table has no value."""


def aligned(rows: Sequence[Sequence[str]], *, numbers_from: int | None = None) -> list[str]:
    """Return each row as a line of text, with columns two spaces apart.

    Args:
        rows: cells, the header first; as many in each row.
        numbers_from: the first column that is aligned right, and all after it; None aligns all of them left.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    n_left = len(widths) if numbers_from is None else numbers_from
    justify = [str.ljust if number < n_left else str.rjust for number in range(len(widths))]
    return [
        "  ".join(fit(cell, width) for fit, cell, width in zip(justify, row, widths, strict=True)).rstrip()
        for row in rows
    ]


def markdown_rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of a table in Markdown."""
    for cells in (header, ["---"] * len(header), *rows):
        yield f"| {' | '.join(cells)} |"
