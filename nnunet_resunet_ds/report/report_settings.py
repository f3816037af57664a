"""Say what to report, and check it before any work is done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from nnunet_resunet_ds.base.files import check_output_file
from nnunet_resunet_ds.base.setting_checks import check_whole_number
from nnunet_resunet_ds.evaluation.cohort_metrics import PREDICTION, REFERENCE
from nnunet_resunet_ds.evaluation.label_maps import LabelMaps, find_label_maps
from nnunet_resunet_ds.report.case_files import BEFORE
from nnunet_resunet_ds.report.one_case import label_map_as
from nnunet_resunet_ds.report.pictures import DEFAULT_QUALITY

MAX_VIEWERS = 100
"""Cases with pictures, unless more are asked for; 100 are about 50 MB."""


@dataclass(frozen=True)
class ReportSettings:
    """What to report, and how. The command and Python share this description.

    Raises:
        InputError: the output is no ``.html`` file, or a number is out of range.
    """

    images: Sequence[Path]
    """Folders of the images that were predicted: raw BraTS cases, or nnU-Net's ``CASE_0000.nii.gz`` …."""
    prediction: Path
    """Folder of label maps, or one label map."""
    output: Path
    """The HTML file to write."""
    image_files: Mapping[str, Path] = field(default_factory=dict)
    """In place of folders: sequence (T1, T1ce, T2, FLAIR) → image of the one case there is."""
    reference: Path | None = None
    """Folder of reference label maps; without it the report has volumes and flags, and no scores."""
    metrics: Path | None = None
    """What ``evaluate`` wrote about the predictions; None: evaluate them now."""
    before: Path | None = None
    """Label maps before post-processing, to show what it changed."""
    protocol: str | None = None
    """Evaluate by this protocol and show its regions; None: that of ``metrics``, or see `default_protocol`."""
    prediction_labels: str | None = None
    """What the label values mean, see `find_label_maps`."""
    reference_labels: str | None = None
    """The same for the reference."""
    edition: str = "auto"
    """Of the images, see `detect_edition`."""
    edition_file: Path | None = None
    """The description of a custom edition."""
    quality: int = DEFAULT_QUALITY
    """Of the pictures, 1 to 100."""
    max_viewers: int = MAX_VIEWERS
    """Show pictures of so many cases, the worst first."""
    title: str = "Brain-tumour segmentation"
    """Of the page."""
    skip_invalid: bool = False
    """Leave out what cannot be shown (a case, its pictures or its scores) instead of stopping."""

    def __post_init__(self) -> None:
        check_output_file(self.output, ".html")
        check_whole_number("quality", self.quality, at_least=1, at_most=100)
        check_whole_number("max_viewers", self.max_viewers, at_least=0)

    def label_maps(self) -> dict[str, LabelMaps]:
        """Find `PREDICTION`, and `REFERENCE` and `BEFORE` where they are given.

        Raises:
            InputError: a folder has no label maps, see `find_label_maps`.
        """
        wanted = {
            PREDICTION: (self.prediction, self.prediction_labels),
            REFERENCE: (self.reference, self.reference_labels),
            BEFORE: (self.before, self.prediction_labels),
        }
        found = {which: find_label_maps(path, labels) for which, (path, labels) in wanted.items() if path}
        if not self.prediction.is_file():
            return found
        (case,) = found[PREDICTION].files
        return {which: label_map_as(case, maps) for which, maps in found.items()}
