"""Check the files that a command is to write before its work, and write them after it."""

from collections.abc import Callable, Iterable
from pathlib import Path

from nnunet_resunet_ds.base.files import check_output_file


def check_outputs(files: Iterable[tuple[Path | None, str]], inputs: Iterable[Path] = ()) -> None:
    """Check each file that was asked for, with the ending that it must have; see `check_output_file`."""
    inputs = list(inputs)
    for path, ending in files:
        if path:
            check_output_file(path, ending, inputs)


def write_outputs(writes: Iterable[tuple[Path | None, Callable[[Path], None]]]) -> None:
    """Write each file that was asked for, and say so."""
    for path, write in writes:
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path)
            print(f"wrote {path}")
