"""Tell with which weights label maps were predicted, as far as run.json next to them notes it."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from nnunet_resunet_ds.base.case_notes import MADE_WITH
from nnunet_resunet_ds.base.run_file import entries_of


def weights_of(files: Iterable[Path]) -> list[str]:
    """Return the identities of the weights that made all of these label maps; none where that is not known of each."""
    files = list(files)
    known = _weights(files)
    return sorted(known[0]) if len(known) == len(files) and len(set(known)) == 1 else []


def models_warnings(source: Path, files: Iterable[Path]) -> Iterator[str]:
    """Yield a line where label maps of one folder were made by several models."""
    models = sorted(Counter(_weights(files)).values(), reverse=True)
    if len(models) > 1:
        yield (
            f"{source}: its label maps were made by {len(models)} models ({', '.join(map(str, models))} cases), as "
            "run.json says: a mean over them is of no system"
        )


def _weights(files: Iterable[Path]) -> list[frozenset[str]]:
    """Return the weights of each label map of which run.json notes them."""
    noted = [entry.get(MADE_WITH) for entry in entries_of(files).values()]
    return [frozenset(map(str, weights)) for weights in noted if isinstance(weights, list) and weights]
