"""Where predictions go: label maps, probabilities and ``run.json``, each whole or not there."""

import glob
import json
import pickle
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from dataset_conversion.edition import FILE_ENDING, Edition
from dataset_conversion.labels import raw_labels
from dataset_conversion.scan import RawCase
from nnunet_resunet_ds.errors import InputError
from nnunet_resunet_ds.files import read_json, remove_half_written, replacing, write_json
from nnunet_resunet_ds.images import write_labels
from nnunet_resunet_ds.inference.model import Model
from nnunet_resunet_ds.inference.preprocessing import Probabilities
from nnunet_resunet_ds.inference.sink import PredictedCase
from nnunet_resunet_ds.nnunet_folders import DATASET_JSON, PLANS_JSON
from postprocessing.case import Change
from postprocessing.folder import PROBABILITIES_KEY, RUN

_WITH_PROBABILITIES = "with_probabilities"
_REMEDY = "give another folder, or leave out --continue to replace them"
CHEAP_SECONDS = 0.05
"""``run.json`` of so many cases that writing it takes longer is not written for each of them,"""
MAX_SHARE = 0.05
"""but so often that it takes this share of the time."""
_FAST_COMPRESSION = 1
"""Of probabilities: a third of the time of the usual 6, for a tenth more bytes."""


@dataclass(frozen=True)
class CaseWriter:
    """Writes the files of cases.

    Args:
        folder: that is there.
        edition: whose label values the label maps get.
        save_probabilities: in nnU-Net's format, too.
    """

    folder: Path
    edition: Edition
    save_probabilities: bool

    def write_case(self, case: PredictedCase) -> None:
        """Write one case, the label map last; nnU-Net's ensembling reads the properties."""
        start = self.folder / case.case_id
        if self.save_probabilities:
            _write_probabilities(case.probabilities, Path(f"{start}.npz"))
            grid = case.grid
            geometry = {name: getattr(grid, f"Get{name.capitalize()}")() for name in ("spacing", "origin", "direction")}
            with replacing(Path(f"{start}.pkl")) as temporary:
                temporary.write_bytes(pickle.dumps({**case.properties, "sitk_stuff": geometry}))
        write_labels(raw_labels(case.labels, self.edition.tissues), case.grid, Path(f"{start}{FILE_ENDING}"))


@dataclass
class Output:
    """A folder of predictions.

    Args:
        folder: made where it is missing.
        edition: whose label values the label maps get.
        settings: what ``run.json`` says of the whole run; label maps made with others are not gone on with.
        environment: what it says beside, such as versions and device.
        save_probabilities: in nnU-Net's format, too.
    """

    folder: Path
    edition: Edition
    settings: Mapping[str, Any]
    environment: Mapping[str, Any] = field(default_factory=dict)
    save_probabilities: bool = False
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What ``run.json`` says of each case."""
    _lock: Lock = field(default_factory=Lock)
    _next_write: float = 0.0
    _is_written: bool = True

    @property
    def writer(self) -> CaseWriter:
        """Return what writes the cases."""
        return CaseWriter(self.folder, self.edition, self.save_probabilities)

    def open(self, models: Sequence[Model], *, resume: bool) -> None:
        """Make the folder, and read what an earlier run with the same settings has left.

        Raises:
            InputError: it is to be gone on with, and was made with other settings.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        earlier = self._earlier_run()
        settings = json.loads(json.dumps(self.settings))  # as they would be read
        known = [key for key in settings if key in earlier]
        others = [key for key in known if earlier[key] != settings[key]]
        if resume and others:
            msg = f"{self.folder}: the label maps there were made with other settings ({', '.join(others)}); {_REMEDY}"
            raise InputError(msg)
        if known and not others:
            self.cases = dict(earlier.get("cases", {}))
        if resume and not known and any(self.folder.glob(f"[!.]*{FILE_ENDING}")):
            msg = f"{self.folder}: has label maps and no {RUN} that says how they were made; {_REMEDY}"
            raise InputError(msg)
        if self.save_probabilities:  # nnUNetv2_ensemble and postprocess read these
            write_json(models[0].dataset_json, self.folder / DATASET_JSON)
            write_json(models[0].plans.plans, self.folder / PLANS_JSON)
        self._write_run()

    def _earlier_run(self) -> dict[str, Any]:
        try:
            content = read_json(self.folder / RUN)
        except InputError:
            return {}  # none, or a damaged one
        return content if isinstance(content, dict) and isinstance(content.get("cases", {}), dict) else {}

    def is_finished(self, case_id: str) -> bool:
        """Tell whether a case is there, made with these settings, with the probabilities where they are wanted."""
        entry = self.cases.get(case_id, {"error": "not predicted"})
        endings = (FILE_ENDING, ".npz", ".pkl") if self.save_probabilities else (FILE_ENDING,)
        there = all((self.folder / f"{case_id}{ending}").is_file() for ending in endings)
        return there and "error" not in entry and bool(entry.get(_WITH_PROBABILITIES)) >= self.save_probabilities

    def prepare(self, cases: Sequence[RawCase]) -> None:
        """Remove what a killed run has left half written, and look after the images.

        Raises:
            InputError: an output file would replace an image.
        """
        remove_half_written(self.folder, RUN, *(f"{glob.escape(case.case_id)}.*" for case in cases))
        for case in cases:
            target = self.folder / f"{case.case_id}{FILE_ENDING}"
            for file in case.files:
                if file.resolve() == target.resolve():
                    msg = f"{file}: the label map would replace this image; give another output with -o"
                    raise InputError(msg)

    @property
    def changes(self) -> dict[str, list[Change]]:
        """What post-processing changed in each case that is there, by this run or an earlier one."""
        return {
            case_id: [Change(**change) for change in entry["changes"]]
            for case_id, entry in self.cases.items()
            if "changes" in entry
        }

    def note(self, case_id: str, entry: Mapping[str, Any]) -> None:
        """Write into ``run.json`` what is to be said of a case; threads may call this at once."""
        with self._lock:
            self.cases[case_id] = {**entry, _WITH_PROBABILITIES: self.save_probabilities}
            self._is_written = False
            if time.monotonic() >= self._next_write:
                self._write_run()

    def close(self) -> None:
        """Write what `note` has put off."""
        with self._lock:
            if not self._is_written:
                self._write_run()

    def _write_run(self) -> None:
        begin = time.monotonic()
        write_json({**self.settings, **self.environment, "cases": dict(sorted(self.cases.items()))}, self.folder / RUN)
        self._is_written = True
        end = time.monotonic()
        self._next_write = end + (end - begin) / MAX_SHARE if end - begin > CHEAP_SECONDS else 0.0


def check_labels(edition: Edition, models: Sequence[Model]) -> None:
    """Refuse an edition that has no value for a tissue that the model can paint.

    Raises:
        InputError: naming the tissues.
    """
    painted = set(models[0].dataset_json["regions_class_order"])
    missing = sorted(painted - set(map(int, edition.tissues.values())))
    if missing:
        msg = (
            f"{edition.title} has no label for nnU-Net's {', '.join(map(str, missing))}, which the model paints; "
            "choose another edition with --labels, or nnunet"
        )
        raise InputError(msg)


def _write_probabilities(probabilities: Probabilities, path: Path) -> None:
    with (
        replacing(path) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED, compresslevel=_FAST_COMPRESSION) as archive,
        archive.open(f"{PROBABILITIES_KEY}.npy", "w", force_zip64=True) as stream,
    ):
        np.lib.format.write_array(stream, np.ascontiguousarray(probabilities), allow_pickle=False)
