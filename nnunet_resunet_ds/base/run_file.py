"""Read and write ``run.json``: which label maps of a folder we wrote, and with which settings.

The settings of the last run stand at the top; those of earlier runs under ``earlier_runs``, where cases that they made
point to them. The file speaks only for the label maps that it lists.
"""

import json
import time
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Any

from nnunet_resunet_ds.base.counted import counted
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import FILE_ENDING, identity_of, is_same, read_json, write_json
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.setting_changes import told_changes

RUN = "run.json"
MADE_BY, LABELS, CUSTOM_EDITION = "made_by", "labels", "custom_edition"
"""Settings that every run has: the command, the key of its label values, and the description of a custom edition."""
LABEL_REGIONS = "regions"
"""Setting of label maps in nnU-Net's values of a dataset without WT, TC and ET: region → its values."""
MODELS, WEIGHTS = "models", "weights"
"""Setting of a prediction: its models, each with the identity of the weights of every fold."""
FILE, WRITTEN, ERROR = "file", "written", "error"
"""Of a case: its label map, where one is written, with its identity, and why the last try failed, where it did."""
WITH_PROBABILITIES = "with_probabilities"
"""Of a case: whether its probabilities were written next to its label map."""
_CASES, _EARLIER_RUNS, _EARLIER_RUN = "cases", "earlier_runs", "earlier_run"
_UNMADE = "unmade"
"""Cases that the last run was to make and has not made, or failed at."""

CHEAP_SECONDS = 0.05
"""Where writing ``run.json`` takes longer than this, it is not written after every case."""
MAX_SHARE = 0.05
"""Of the time, that writing it may then take."""


@dataclass(frozen=True)
class Runs:
    """What a ``run.json`` says."""

    path: Path
    last: Mapping[str, Any]
    """Settings and environment of the last run."""
    earlier: tuple[Mapping[str, Any], ...]
    """Those of earlier runs whose label maps are still there."""
    cases: Mapping[str, Mapping[str, Any]]
    unmade: tuple[str, ...] = ()
    """Cases that the last run was to make, and that it did not come to or failed at."""

    def of_case(self, case: str) -> Mapping[str, Any] | None:
        """Return the run that made the label map of a case; None where none of ours did."""
        if self.file_of(case) is None:
            return None
        number = self.cases[case].get(_EARLIER_RUN)
        return self.last if number is None else self.earlier[number]

    def file_of(self, case: str) -> str | None:
        """Return the name of a case's label map; None where none of ours is there."""
        entry = self.cases.get(case, {ERROR: "not made"})
        if FILE in entry:
            return str(entry[FILE])
        return None if ERROR in entry else f"{case}{FILE_ENDING}"  # as it was before the name was noted

    def is_as_written(self, case: str) -> bool:
        """Tell whether the label map of a case is the one that a run of ours wrote, byte for byte.

        Of runs of earlier versions, which did not note the bytes, any label map of the name is taken for it.
        """
        file = self.file_of(case)
        if file is None:
            return False
        written = self.cases[case].get(WRITTEN)
        return written is None or is_same(written, self.path.with_name(file))

    def has_probabilities(self, case: str) -> bool:
        """Tell whether a run of ours wrote the probabilities of a case, with the label map that is there."""
        return self.is_as_written(case) and bool(self.cases[case].get(WITH_PROBABILITIES))

    def of_file(self, name: str) -> Mapping[str, Any] | None:
        """Return the run that made a label map, by the name of its file; None where none of ours did."""
        case = self.case_of_file(name)
        return None if case is None else self.of_case(case)

    def as_written(self, name: str) -> Mapping[str, Any] | None:
        """Return what is said of a label map, by the name of its file; None where none of ours is there unchanged."""
        case = self.case_of_file(name)
        return None if case is None or not self.is_as_written(case) else self.cases[case]

    def case_of_file(self, name: str) -> str | None:
        """Return the case of a label map, by the name of its file; None where none of ours is of that name."""
        return self._case_of.get(name)

    @cached_property
    def _case_of(self) -> dict[str, str]:
        """The case of each label map, by the name of its file."""
        return {file: case for case in self.cases if (file := self.file_of(case)) is not None}


def read_runs(folder: Path) -> Runs | None:
    """Read ``run.json`` of a folder; None where there is none, or one that is damaged, with a warning.

    Raises:
        InputError: it is there and may not be read.
    """
    path = folder / RUN
    if not path.exists():
        return None
    try:
        runs = _runs(path, read_json(path))
    except InputError:
        runs = None
    except OSError as error:
        msg = f"{path}: cannot be read ({error.strerror}), and says what the label maps mean: change its permissions"
        raise InputError(msg) from error
    if runs is None:
        LOG.warning("%s: is damaged, so what it says of the label maps there is not known", path)
    return runs


def _runs(path: Path, content: Any) -> Runs | None:  # noqa: ANN401 (JSON may hold anything)
    """Return what the file says; None where it is not of our form."""
    if not isinstance(content, dict):
        return None
    cases, earlier, unmade = content.pop(_CASES, {}), content.pop(_EARLIER_RUNS, []), content.pop(_UNMADE, [])
    runs = Runs(
        path,
        content,
        tuple(earlier) if isinstance(earlier, list) else (),
        cases,
        tuple(map(str, unmade)) if isinstance(unmade, list) else (),
    )
    return runs if _is_whole(runs) else None


def entries_of(files: Iterable[Path]) -> dict[Path, Mapping[str, Any]]:
    """Return label map → what ``run.json`` next to it says of its case, of those that lie there as it lists them.

    What has replaced a label map since, such as another model's, is of another making.
    """
    files = list(files)
    runs = {folder: read_runs(folder) for folder in {file.parent for file in files}}
    found = {file: of_folder.as_written(file.name) for file in files if (of_folder := runs[file.parent])}
    return {file: entry for file, entry in found.items() if entry is not None}


def notes_on_unmade(folder: Path) -> list[str]:
    """Return a line about cases that the last run of a folder did not make: not there, or there from an earlier run."""
    runs = read_runs(folder)
    if runs is None:
        return []
    made_by = runs.last.get(MADE_BY, "the run")
    why = f"{made_by} was stopped, or failed at it. Run it again, predict with --continue"
    there = {case: (folder / f"{case}{FILE_ENDING}").exists() for case in runs.unmade}
    missing, earlier = ([case for case in there if there[case] is wanted] for wanted in (False, True))
    lines = [f"{counted(len(missing), 'case')} not there, such as {missing[0]}"] if missing else []
    lines += [f"{counted(len(earlier), 'label map')} of an earlier run, such as {earlier[0]}"] if earlier else []
    return [f"{folder}: {line}: {why}" for line in lines]


def _is_whole(runs: Runs) -> bool:
    if not isinstance(runs.cases, dict) or not all(isinstance(entry, dict) for entry in runs.cases.values()):
        return False
    valid = (None, *range(len(runs.earlier)))
    return all(isinstance(run, dict) for run in runs.earlier) and all(
        entry.get(_EARLIER_RUN) in valid for entry in runs.cases.values()
    )


def _as_it_is(setting: Any) -> Any:  # noqa: ANN401 (JSON may hold anything)
    return setting


@dataclass
class RunFile:
    """``run.json`` of a folder that a run writes to.

    Args:
        folder: that is there.
        settings: all that decides what is in a label map, `MADE_BY` and `LABELS` among it.
        environment: what else is to be said of the run, such as versions and device.
        earlier_forms: of settings that earlier versions wrote in another form: returns today's.
    """

    folder: Path
    settings: Mapping[str, Any]
    environment: Mapping[str, Any] = field(default_factory=dict)
    earlier_forms: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What is said of each case, those of earlier runs among them."""
    _to_make: Sequence[str] = ()
    _to_make_again: set[str] = field(default_factory=set)
    """Cases of which a label map of these settings is there from before, and is to be replaced."""
    _earlier: list[Mapping[str, Any]] = field(default_factory=list)
    _lock: Lock = field(default_factory=Lock)
    _next_write: float = 0.0
    _is_written: bool = True

    def __post_init__(self) -> None:
        self.settings = json.loads(json.dumps(self.settings))  # as they will be read

    def open(self, cases: Collection[str], *, resume: bool = False, overwrite: bool = False) -> None:
        """Take over what earlier runs have left, so that their label maps stay explained.

        Args:
            cases: that this run is to make.
            resume: it goes on with the last run.
            overwrite: label maps of other settings may stay among those of this run.

        Raises:
            InputError: label maps of other settings are there, and would stay or be continued.
        """
        runs = read_runs(self.folder)
        if runs is not None:
            runs = replace(runs, cases={case: runs.cases[case] for case in runs.cases if self._is_there(case, runs)})
            if not overwrite:
                self._check_alike(runs, cases, resume=resume)
            self._take_over(runs, cases)
        self._to_make = sorted(cases)
        self._to_make_again = set() if resume else set(cases)
        self._write()

    def _is_there(self, case: str, runs: Runs) -> bool:
        file = runs.file_of(case)
        return file is None or (self.folder / file).is_file()

    def _check_alike(self, runs: Runs, cases: Container[str], *, resume: bool) -> None:
        if resume and runs.cases and (others := self._differences(runs.last)):
            msg = (
                f"{self.folder}: the label maps there were made with other settings ({self._told(others, runs.last)}); "
                "give another folder, or leave out --continue to replace them"
            )
            raise InputError(msg)
        for case in runs.cases:
            run = runs.of_case(case)
            if case not in cases and run is not None and (others := self._differences(run)):
                msg = (
                    f"{self.folder}: {case} was made with other settings ({self._told(others, run)}), and its label "
                    "map would lie among those of this run; give another folder, or allow it with --overwrite"
                )
                raise InputError(msg)

    def _differences(self, run: Mapping[str, Any]) -> list[str]:
        """Return in which settings another run differs; where it says nothing of one, that is none."""
        known = [key for key in self.settings if key in run]
        return [key for key in known if self._of_today(key, run[key]) != self.settings[key]]

    def _of_today(self, key: str, value: Any) -> Any:  # noqa: ANN401 (JSON may hold anything)
        """Return a setting of another run in today's form."""
        return self.earlier_forms.get(key, _as_it_is)(value)

    def _told(self, keys: Sequence[str], run: Mapping[str, Any]) -> str:
        """Say in words in which settings another run differs."""
        return told_changes({key: self._of_today(key, run[key]) for key in keys}, self.settings)

    def _take_over(self, runs: Runs, cases: Container[str]) -> None:
        """Keep the entries of label maps that stay; those of other settings point to their own.

        A label map of other settings that is to be replaced is not listed from here on: where this run is killed,
        nothing says that the new one was made as the earlier one.
        """
        for case, entry in runs.cases.items():
            run = runs.of_case(case)
            if run is None or not self._differences(run):
                self.cases[case] = {key: value for key, value in entry.items() if key != _EARLIER_RUN}
            elif case not in cases:
                if run not in self._earlier:
                    self._earlier.append(run)
                self.cases[case] = {**entry, _EARLIER_RUN: self._earlier.index(run)}

    def is_mine(self, case: str) -> bool:
        """Tell whether the label map of a case was made with these settings, and is the last that was tried."""
        entry = self.cases.get(case, {ERROR: "not made"})
        return ERROR not in entry and _EARLIER_RUN not in entry

    def note(self, case: str, file: str, entry: Mapping[str, Any]) -> None:
        """Write that a label map is made, and what is to be said of it; threads may call this at once."""
        self._put(case, {FILE: file, WRITTEN: identity_of(self.folder / file), **entry})

    def note_failure(self, case: str, reason: str) -> None:
        """Write that a case failed; what is known of a label map that is there from before stays."""
        self._put(case, {**self.cases.get(case, {}), ERROR: reason})

    def close(self) -> None:
        """Write what has been put off."""
        with self._lock:
            if not self._is_written:
                self._write()

    def _put(self, case: str, entry: dict[str, Any]) -> None:
        with self._lock:
            self._to_make_again.discard(case)
            self.cases[case] = entry
            self._is_written = False
            if time.monotonic() >= self._next_write:
                self._write()

    def _write(self) -> None:
        begin = time.monotonic()
        write_json(dict(self._content()), self.folder / RUN)
        self._is_written = True
        end = time.monotonic()
        self._next_write = end + (end - begin) / MAX_SHARE if end - begin > CHEAP_SECONDS else 0.0

    def _content(self) -> Iterator[tuple[str, Any]]:
        yield from {**self.settings, **self.environment}.items()
        if self._earlier:
            yield _EARLIER_RUNS, self._earlier
        if unmade := [case for case in self._to_make if case in self._to_make_again or not self.is_mine(case)]:
            yield _UNMADE, unmade
        yield _CASES, dict(sorted(self.cases.items()))
