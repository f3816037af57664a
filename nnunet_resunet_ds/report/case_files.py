"""Know where the files of the cases are, and how to read them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from dataset_conversion.find_cases import RawCase
from dataset_conversion.image_cases import CaseSet
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.evaluation.cohort_metrics import PREDICTION
from nnunet_resunet_ds.evaluation.label_maps import LabelMaps
from nnunet_resunet_ds.evaluation.protocols import Protocol
from nnunet_resunet_ds.report.remarks import (
    PredictionNotes,
    only,
)

BEFORE = "before"
"""The name of label maps before post-processing, next to `PREDICTION` and `REFERENCE`."""


@dataclass(frozen=True)
class CaseFiles:
    """Where the files of the cases are, and how to read them."""

    protocol: Protocol
    images: CaseSet
    label_maps: Mapping[str, LabelMaps]
    """`PREDICTION`, and `REFERENCE` and `BEFORE` where they are given."""
    notes: PredictionNotes
    quality: int
    """Of pictures, 1 to 100."""

    def raw_case(self, name: str) -> RawCase:
        """Return where the images of a case are.

        Raises:
            InputError: there are none, or something is wrong with them.
        """
        problems = self.images.problems.get(name)
        if problems:
            raise InputError("\n".join(problems))
        if name in self._raw_cases:
            return self._raw_cases[name]
        msg = f"{self.label_maps[PREDICTION].files[name]}: has no images of the case {name}; give their folder with -i"
        raise InputError(msg)

    def has_images(self, name: str) -> bool:
        """Tell whether any image of a case was found; `raw_case` says what may be wrong with them."""
        return name in self._raw_cases or bool(self.images.problems.get(name))

    def of_case(self, name: str) -> "CaseFiles":
        """Return the files of one case alone: little to send to another process."""
        cases = [self._raw_cases[name]] if name in self._raw_cases else []
        images = replace(self.images, cases=cases, problems=only(name, self.images.problems))
        label_maps = {which: replace(maps, files=only(name, maps.files)) for which, maps in self.label_maps.items()}
        return replace(self, images=images, label_maps=label_maps, notes=self.notes.of_case(name))

    @cached_property
    def _raw_cases(self) -> dict[str, RawCase]:
        return {case.case_id: case for case in reversed(self.images.cases)}  # of several, the first
