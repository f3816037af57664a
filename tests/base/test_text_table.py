"""Tables as text: every cell is where its column is, and Markdown has the same cells."""

from hypothesis import given
from hypothesis import strategies as st

from nnunet_resunet_ds.base.text_table import aligned, markdown_rows

CELLS = st.text(st.characters(whitelist_categories=("L", "N")), min_size=1, max_size=8)
TABLES = st.integers(1, 5).flatmap(lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=6))


@given(TABLES, st.integers(0, 6))
def test_columns_begin_or_end_at_the_same_place(rows, numbers_from):
    lines = aligned(rows, numbers_from=numbers_from)
    assert [line.split() for line in lines] == rows
    begin = 0
    for number, column in enumerate(zip(*rows, strict=True)):
        end = begin + max(map(len, column))
        for line, cell in zip(lines, column, strict=True):
            place = slice(begin, begin + len(cell)) if number < numbers_from else slice(end - len(cell), end)
            assert line[place] == cell
        begin = end + 2


def test_a_table_in_closed_form():
    rows = [["region", "Dice"], ["WT", "0.9"]]
    assert aligned(rows) == ["region  Dice", "WT      0.9"]
    assert aligned(rows, numbers_from=1) == ["region  Dice", "WT       0.9"]
    assert list(markdown_rows(rows[0], rows[1:])) == ["| region | Dice |", "| --- | --- |", "| WT | 0.9 |"]
