"""Write predictions: label maps, probabilities and ``run.json``, each whole or not there."""

import glob
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dataset_conversion.find_cases import RawCase
from dataset_conversion.label_conventions import LabelConvention, nnunet_convention
from nnunet_resunet_ds.base.case_notes import IMAGES
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import FILE_ENDING, is_same, remove_half_written, visible_files, write_json
from nnunet_resunet_ds.base.images import write_labels
from nnunet_resunet_ds.base.locks import only_writer
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.nnunet_folders import DATASET_JSON, PLANS_JSON
from nnunet_resunet_ds.base.run_file import ERROR, RUN, WITH_PROBABILITIES, WRITTEN, RunFile, read_runs
from nnunet_resunet_ds.inference.model import Model
from nnunet_resunet_ds.inference.pipeline import CaseOutcome, PredictedCase
from nnunet_resunet_ds.uncertainty.entropy import entropy
from nnunet_resunet_ds.uncertainty.maps import ENTROPY, MAPS, VARIANCE, map_file, remove_maps, write_maps
from nnunet_resunet_ds.uncertainty.region_certainty import CERTAINTY
from postprocessing.case import TABLE, Change, changes_of, write_changes
from postprocessing.config import EARLIER_FORMS
from postprocessing.probabilities import files_of_probabilities, remove_with_properties, save_with_properties


@dataclass(frozen=True)
class CaseWriter:
    """Writes the files of cases.

    Args:
        folder: that is there when a case is written.
        convention: whose label values the label maps get.
        save_probabilities: in nnU-Net's format, too.
        ending: of label maps.
        map_kinds: `ENTROPY` and `VARIANCE`, if these maps are to be written, too.
    """

    folder: Path
    convention: LabelConvention
    save_probabilities: bool = False
    ending: str = FILE_ENDING
    map_kinds: tuple[str, ...] = ()

    def label_map(self, case_id: str) -> Path:
        """Return where the label map of a case goes."""
        return self.folder / f"{case_id}{self.ending}"

    def write_case(self, case: PredictedCase) -> None:
        """Write one case, the label map last; probabilities and maps of an earlier label map do not stay."""
        if self.save_probabilities:
            save_with_properties(self.folder, case.case_id, case.probabilities, case.grid, case.reader, case.properties)
        else:
            remove_with_properties(self.folder, case.case_id)
        self._write_maps(case)
        write_labels(self.convention.values_of(case.labels), case.grid, self.label_map(case.case_id))

    def _write_maps(self, case: PredictedCase) -> None:
        remove_maps(self.folder, case.case_id, case.regions)
        if case.spread is not None:
            maps = {ENTROPY: entropy(case.probabilities), VARIANCE: case.spread.variance}
            wanted = {kind: maps[kind] for kind in self.map_kinds}
            write_maps(self.folder, case.case_id, case.regions, wanted, case.grid)


@dataclass
class Output:
    """A folder of predictions.

    Args:
        writer: of its cases; its folder is made where it is missing.
        settings: all else that decides what is in a label map; label maps of other settings are not continued.
        environment: what ``run.json`` says beyond that, such as versions and device.
    """

    writer: CaseWriter
    settings: Mapping[str, Any]
    environment: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        settings = {**self.settings, **self.writer.convention.to_settings()}
        self.run_file = RunFile(self.folder, settings, self.environment, earlier_forms=EARLIER_FORMS)

    @property
    def folder(self) -> Path:
        """Where the predictions go."""
        return self.writer.folder

    @contextmanager
    def opened(
        self, models: Sequence[Model], cases: Sequence[RawCase], *, resume: bool, overwrite: bool = False
    ) -> Iterator[None]:
        """Make the folder, read what earlier runs have left there, and let no other run write to it meanwhile.

        Args:
            models: that predict; with probabilities, plans and dataset.json of the first are copied.
            cases: that this run is to predict.
            resume: whether this run goes on with the last one.
            overwrite: whether label maps of other settings may stay among those of this run.

        Raises:
            InputError: another run writes there, an output file would replace an image, or label maps of other
                settings are there, and would stay or be continued.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with only_writer(self.folder):
            self._remove_half_written(cases)
            if not (resume or overwrite):
                self._check_replaceable(cases)
            self._take_over(models, cases, resume=resume, overwrite=overwrite)
            try:
                yield
            finally:
                self.run_file.close()
            write_changes(self.changes, self.folder / TABLE)

    def _take_over(self, models: Sequence[Model], cases: Sequence[RawCase], *, resume: bool, overwrite: bool) -> None:
        if resume and read_runs(self.folder) is None and visible_files(self.folder, FILE_ENDING):
            msg = (
                f"{self.folder}: has label maps and no {RUN} that says how they were made; give another folder, or "
                "leave out --continue to replace them"
            )
            raise InputError(msg)
        self.run_file.open({case.case_id for case in cases}, resume=resume, overwrite=overwrite)
        if resume and any(not entry.keys() & {IMAGES, ERROR} for entry in self.run_file.cases.values()):
            LOG.info("%s: does not note the images of every case; their times are compared", self.run_file.folder / RUN)
        if self.writer.save_probabilities:  # nnUNetv2_ensemble and postprocess read these
            write_json(models[0].dataset_json, self.folder / DATASET_JSON)
            write_json(models[0].plans.plans, self.folder / PLANS_JSON)

    def _remove_half_written(self, cases: Sequence[RawCase]) -> None:
        """Remove what a killed run has left half written; refuse to replace an image."""
        remove_half_written(self.folder, RUN, *(f"{glob.escape(case.case_id)}.*" for case in cases))
        for case in cases:
            target = self.writer.label_map(case.case_id)
            for file in case.files:
                if file.resolve() == target.resolve():
                    msg = f"{file}: the label map would replace this image; give another output with -o"
                    raise InputError(msg)

    def _check_replaceable(self, cases: Sequence[RawCase]) -> None:
        """Refuse to replace what no run of ours wrote: it may be the segmentation of an expert."""
        runs = read_runs(self.folder)
        for case in cases:
            target = self.writer.label_map(case.case_id)
            is_ours = runs is not None and (case.case_id in runs.cases or case.case_id in runs.unmade)
            if target.exists() and not is_ours:
                msg = (
                    f"{target}: is there, and no {RUN} says that we wrote it; give another output with -o, or "
                    "replace it with --overwrite"
                )
                raise InputError(msg)

    def is_finished(self, case: RawCase) -> bool:
        """Tell whether a case is there, made with these settings from these images, and with all that is wanted."""
        label_map = self.writer.label_map(case.case_id)
        files = [label_map]
        if self.writer.save_probabilities:
            files += files_of_probabilities(self.folder, case.case_id)
        entry = self.run_file.cases.get(case.case_id, {})
        if self.writer.save_probabilities and not entry.get(WITH_PROBABILITIES):
            return False
        if self.writer.map_kinds:
            files += self._map_files(case.case_id, entry)
            if not entry.get(MAPS):
                return False
        if not (all(file.is_file() for file in files) and self.run_file.is_mine(case.case_id)):
            return False
        if not _are_of(case, entry, label_map):
            LOG.warning("%s: its images have changed since it was predicted; it is predicted again", case.case_id)
            return False
        if WRITTEN in entry and not is_same(entry[WRITTEN], label_map):
            LOG.warning("%s: has changed since it was written, and stays; to predict it again, remove it", label_map)
        return True

    def _map_files(self, case_id: str, entry: Mapping[str, Any]) -> list[Path]:
        """Return where the maps of a case are, of the regions that its entry in ``run.json`` speaks of."""
        regions = entry.get(CERTAINTY, {})
        return [map_file(self.folder, case_id, region, kind) for kind in self.writer.map_kinds for region in regions]

    @property
    def changes(self) -> dict[str, list[Change]]:
        """What post-processing changed in each case that is there, by this run or an earlier one."""
        return changes_of(self.run_file.cases)

    def note(self, outcome: CaseOutcome) -> None:
        """Write into ``run.json`` what came of a case; threads may call this at once."""
        if outcome.failure is not None:
            self.run_file.note_failure(outcome.case_id, outcome.failure)
            return
        name = self.writer.label_map(outcome.case_id).name
        maps = self._map_files(outcome.case_id, outcome.entry)
        entry = {
            **outcome.entry,
            WITH_PROBABILITIES: self.writer.save_probabilities,
            **({MAPS: [str(file.relative_to(self.folder)) for file in maps]} if maps else {}),
        }
        self.run_file.note(outcome.case_id, name, entry)


def _are_of(case: RawCase, entry: Mapping[str, Any], label_map: Path) -> bool:
    """Tell whether a case was predicted from the images that it has now; by time, where a run did not note them."""
    noted = entry.get(IMAGES)
    if noted is None:
        return all(file.stat().st_mtime_ns <= label_map.stat().st_mtime_ns for file in case.images.values())
    if not isinstance(noted, dict) or noted.keys() != case.images.keys():  # a sequence was absent, or is now
        return False
    return all(is_same(noted[name], file) for name, file in case.images.items())


def check_labels(convention: LabelConvention, models: Sequence[Model]) -> None:
    """Refuse a convention that has no value for what the model can paint.

    Raises:
        InputError: naming the labels and the regions of the model.
    """
    model = models[0]
    own = nnunet_convention(model.dataset_json)
    if convention == own and own.regions is not None:
        return
    painted = model.dataset_json["regions_class_order"]
    missing = [label for label in sorted(painted) if own.tissues.get(label) not in convention.tissues.values()]
    if missing:
        names = ", ".join(region.name for region in model.regions)
        msg = (
            f"{convention.title} has no label for nnU-Net's {', '.join(map(str, missing))}, which the model paints (it "
            f"segments {names}); choose another edition with --labels, or nnunet"
        )
        raise InputError(msg)
