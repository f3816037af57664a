"""Write the loss and Dice of each deep-supervision head, epoch by epoch, as a table; read it."""

import csv
from collections.abc import Sequence
from pathlib import Path

from nnunet_resunet_ds.base.csv_table import write_csv

TABLE = "heads.csv"
"""In the folder of a fold."""


def write_heads_table(
    path: Path, losses: Sequence[Sequence[float]], dice: Sequence[Sequence[float]], total: Sequence[float]
) -> None:
    """Write a row an epoch: loss and Dice of each head, and the weighted total loss."""
    n_heads = len(losses[0])
    numbers = range(1, n_heads + 1)
    header = ["epoch", *(f"loss_{head}" for head in numbers), "loss_total", *(f"dice_{head}" for head in numbers)]
    epochs = zip(losses, dice, total, strict=True)
    rows = (
        [epoch, *(f"{value:.6f}" for value in (*of_heads, of_all, *of_dice))]
        for epoch, (of_heads, of_dice, of_all) in enumerate(epochs)
    )
    write_csv(path, header, rows)


def read_heads_table(fold_folder: Path) -> list[dict[str, str]]:
    """Return the rows of a fold's table, one an epoch until now."""
    try:
        with (fold_folder / TABLE).open(newline="", encoding="utf-8") as stream:
            return list(csv.DictReader(stream))
    except FileNotFoundError:
        return []
