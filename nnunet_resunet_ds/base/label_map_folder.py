"""Write label maps to a folder, one a case, where a case that fails does not stop the others."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from nnunet_resunet_ds.base.counted import counted
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import FILE_ENDING, check_output_folder, remove_half_written
from nnunet_resunet_ds.base.locks import only_writer
from nnunet_resunet_ds.base.parallel import results_and_problems
from nnunet_resunet_ds.base.run_file import RUN, RunFile

Item = TypeVar("Item")
Result = TypeVar("Result")


def check_output_apart(output: Path, inputs: Iterable[Path]) -> None:
    """Refuse an output folder that is no folder, or one of the input folders.

    Raises:
        InputError: the message says which.
    """
    check_output_folder(output)
    if output.resolve() in {folder.resolve() for folder in inputs}:
        msg = f"{output}: the output would overwrite the input; give another folder with -o"
        raise InputError(msg)


@contextmanager
def only_run(
    run_file: RunFile,
    cases: Collection[str],
    others: Sequence[str] = (),
    problems: Mapping[str, str] | None = None,
    *,
    overwrite: bool,
) -> Iterator[None]:
    """Make the folder of a run, and keep other processes out of it while this one writes there.

    Args:
        run_file: of the folder; it is written when the block ends, however it ends.
        cases: that are to be made.
        others: patterns of further files that are written.
        problems: case → why it cannot even be tried; it counts as one that failed.
        overwrite: label maps of other settings may stay there.

    Raises:
        InputError: another process writes there, or label maps of other settings would stay.
    """
    run_file.folder.mkdir(parents=True, exist_ok=True)
    with only_writer(run_file.folder):
        remove_half_written(run_file.folder, f"*{FILE_ENDING}", RUN, *others)
        run_file.open([*cases, *(problems or {})], overwrite=overwrite)
        for case, problem in (problems or {}).items():
            run_file.note_failure(case, problem)
        try:
            yield
        finally:
            run_file.close()


def results_of_all(outcomes: Iterable[Result | InputError], problems: Sequence[str] = ()) -> list[Result]:
    """Return the results of all cases.

    Args:
        outcomes: of each case that was tried.
        problems: a line for each case that could not be tried.

    Raises:
        InputError: cases failed; a line for each, and how many were written.
    """
    results, failures = results_and_problems(outcomes)
    failures = [*problems, *failures]
    if failures:
        msg = "\n".join([*failures, f"{counted(len(failures), 'case')} failed, {len(results)} written"])
        raise InputError(msg)
    return results
