"""Check the files that a command is to write before its work, and write them after it."""

from collections.abc import Callable, Iterable
from pathlib import Path

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import check_output_file


def check_outputs(files: Iterable[tuple[Path | None, str]], inputs: Iterable[Path] = ()) -> None:
    """Check each file that was asked for, with the ending that it must have; see `check_output_file`.

    Raises:
        InputError: a file cannot be written, or is asked for twice.
    """
    inputs, asked_for = list(inputs), set()
    for path, ending in files:
        if not path:
            continue
        check_output_file(path, ending, inputs)
        if path.resolve() in asked_for:
            msg = f"{path}: two outputs have this name, and the second would replace the first; give each its own"
            raise InputError(msg)
        asked_for.add(path.resolve())


def write_outputs(writes: Iterable[tuple[Path | None, Callable[[Path], None]]]) -> None:
    """Write each file that was asked for, and say so."""
    for path, write in writes:
        if path:
            path.parent.mkdir(parents=True, exist_ok=True)
            write(path)
            print(f"wrote {path}")
