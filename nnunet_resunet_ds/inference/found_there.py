"""Look which label maps lie in an output folder before cases are predicted into it."""

from collections.abc import Iterable
from dataclasses import dataclass

from nnunet_resunet_ds.base.files import IMAGE_ENDINGS
from nnunet_resunet_ds.base.run_file import FILE
from nnunet_resunet_ds.inference.output import Output


@dataclass(frozen=True)
class FoundThere:
    """Names of label maps that an output folder holds."""

    alike: list[str]
    """Of cases that are to be predicted, made with the settings of this run."""
    others: list[str]
    """Of cases that are to be predicted, made with other settings or by another program."""
    foreign: list[str]
    """Of other cases, that no ``run.json`` lists."""


def found_there(output: Output, case_ids: Iterable[str]) -> FoundThere:
    """Return which label maps are in a folder that is open.

    Args:
        output: the folder.
        case_ids: of the cases that are to be predicted.
    """
    files = {case: output.writer.label_map(case) for case in case_ids}
    there = [case for case, file in files.items() if file.is_file()]
    listed = {str(entry.get(FILE, f"{case}.nii.gz")) for case, entry in output.run_file.cases.items()}
    known = listed | {file.name for file in files.values()}
    return FoundThere(
        alike=[files[case].name for case in there if output.run_file.is_mine(case)],
        others=[files[case].name for case in there if not output.run_file.is_mine(case)],
        foreign=sorted(
            file.name
            for file in output.folder.iterdir()
            if file.name.endswith(IMAGE_ENDINGS) and not file.name.startswith(".") and file.name not in known
        ),
    )
