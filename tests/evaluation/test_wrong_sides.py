"""What is said where reference and predictions are mixed up, and where scores do not mean what they seem to."""

import json
import math
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from brats_files import CASES, write

from nnunet_resunet_ds.base.case_notes import TRAINING_CASE
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import identity_of
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.evaluation import evaluate
from nnunet_resunet_ds.evaluation.pairs import find_pairs
from nnunet_resunet_ds.evaluation.penalties import has_penalty
from nnunet_resunet_ds.evaluation.protocols import PROTOCOLS, near_protocols
from nnunet_resunet_ds.inference.input_warnings import training_case_warnings

NAMES = [f"BraTS-GLI-0000{number}-000" for number in range(3)]
OF_TRAINING = f"{TRAINING_CASE}: of this name"


def run(*arguments):
    return main(["evaluate", *map(str, arguments)])


def cube(value=3, at=1):
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[at : at + 5, 1:6, 1:6] = value
    return labels


@pytest.fixture
def folders(tmp_path):
    """References and equal predictions of three cases, in BraTS 2023's values."""
    for name in NAMES:
        write(tmp_path / "ref" / f"{name}.nii.gz", cube())
        write(tmp_path / "pred" / f"{name}.nii.gz", cube())
    return tmp_path / "ref", tmp_path / "pred"


def note(folder, made_by="resunet-ds predict", **warnings):
    """Write the run.json of a folder, with the warnings of each case."""
    cases = {case: {"warnings": warnings.get(case, [])} for case in NAMES}
    (folder / "run.json").write_text(json.dumps({"made_by": made_by, "labels": "2023-gli", "cases": cases}))


# ---- segmentations of a release in a folder of predictions ----


@pytest.mark.parametrize("place", ["", "check"])
@pytest.mark.parametrize("declared", ["run.json", "dataset.json"])
def test_segmentations_of_a_release_do_not_replace_predictions(folders, place, declared, capsys):
    """They would be taken alone, for they have a release's names."""
    write(folders[1] / place / f"{NAMES[0]}-seg.nii.gz", cube())
    assert run("-ref", folders[0], "-pred", folders[1], "--allow-missing") == 0  # of which nothing is known
    note(folders[1])
    if declared == "dataset.json":
        (folders[1] / "run.json").rename(folders[1] / "dataset.json")
    capsys.readouterr()
    assert run("-ref", folders[0], "-pred", folders[1], "--allow-missing") == 2
    error = capsys.readouterr().err
    assert f"has predictions, such as {NAMES[0]}.nii.gz, and segmentations named as those of a release" in error
    (folders[1] / place / f"{NAMES[0]}-seg.nii.gz").unlink()
    if declared == "run.json":
        assert run("-ref", folders[0], "-pred", folders[1]) == 0


# ---- one file on both sides ----


def _one_folder(folders):
    return folders[0], folders[0]


def _a_link(folders):
    file = folders[1] / f"{NAMES[1]}.nii.gz"
    file.unlink()
    file.symlink_to(folders[0] / file.name)
    return folders


def _a_second_name(folders):
    file = folders[1] / f"{NAMES[1]}.nii.gz"
    file.unlink()
    file.hardlink_to(folders[0] / file.name)
    return folders


def _one_file(folders):
    return (folders[0] / f"{NAMES[0]}.nii.gz",) * 2


BAD = {
    "one folder on both sides": (_one_folder, "in 3 of 3 cases"),
    "a link to the reference": (_a_link, "in 1 of 3 cases"),
    "a second name of the reference": (_a_second_name, "in 1 of 3 cases"),
    "one file on both sides": (_one_file, "in 1 of 1 cases"),
    "a case id for a folder": (lambda folders: ("BraTS2021_01476", folders[1]), "such as /data/…/BraTS2021_01476"),
}


@pytest.mark.parametrize("kind", BAD)
def test_what_compares_nothing_is_refused(kind, folders, capsys, bad_input):
    choose, message = BAD[kind]
    reference, prediction = choose(folders)
    assert run("-ref", reference, "-pred", prediction) == 2
    error = capsys.readouterr().err
    assert message in error and len(error.strip().splitlines()) == 1
    bad_input("evaluate", kind, error)


def test_label_maps_of_predict_among_raw_cases_do_not_hide_that_segmentations_are_compared_with_themselves(cohort):
    for case in CASES:
        shutil.copy(cohort / case / f"{case}_seg.nii.gz", cohort / f"{case}.nii.gz")
    with pytest.raises(InputError, match="move them to a folder of their own"):
        evaluate(cohort, cohort)


def test_a_link_to_nothing_is_named_as_it_was(folders, capsys):
    file = folders[1] / f"{NAMES[1]}.nii.gz"
    file.unlink()
    file.symlink_to("nowhere.nii.gz")
    assert run("-ref", folders[0], "-pred", folders[1]) == 2
    error = capsys.readouterr().err
    assert str(file) in error and "at once" not in error and "Traceback" not in error


@pytest.mark.parametrize("name", ["gone", "./BraTS2021_01476", "/BraTS2021_01476"])
def test_a_path_that_is_no_case_id_gets_no_advice_about_case_ids(name, folders, capsys):
    assert run("-ref", name, "-pred", folders[1]) == 2
    assert ("/data/" in capsys.readouterr().err) == name.startswith("./")  # which is the same path as without ./


# ---- what seems to be on the wrong side ----


@pytest.mark.parametrize("command", ["predict", "postprocess", "ensemble"])
def test_a_reference_that_a_command_of_ours_wrote_is_named(folders, capsys, command):
    note(folders[0], f"resunet-ds {command}")
    assert run("-ref", folders[0], "-pred", folders[1], "--pred-labels", "2023-gli") == 0
    line = f"warning: {folders[0]} was written by resunet-ds {command}; are -ref and -pred exchanged?"
    assert capsys.readouterr().out.count(line) == 1
    assert run("-ref", folders[1], "-pred", folders[0], "--ref-labels", "2023-gli") == 0
    assert "exchanged" not in capsys.readouterr().out


def test_it_is_named_once_where_systems_are_compared(folders, capsys):
    note(folders[0])
    others = [shutil.copytree(folders[1], folders[1].with_name(name)) for name in ("b", "c")]
    assert run("-ref", folders[0], "-pred", folders[1], "--compare", *others, "--pred-labels", "2023-gli") == 0
    assert capsys.readouterr().out.count("exchanged") == 1


def test_segmentations_of_a_download_as_predictions_are_named_and_compared(cohort, tmp_path, capsys):
    other = shutil.copytree(cohort, tmp_path / "rater")
    assert run("-ref", cohort, "-pred", other) == 0
    line = f"{other}: 2 label maps named as {CASES[0]}_seg.nii.gz are segmentations of a download, not predictions"
    printed = capsys.readouterr().out
    assert f"warning: {line}" in printed and f"{cohort}: 2 label maps named" not in printed
    plain = tmp_path / "plain"
    plain.mkdir()
    for case in CASES:
        shutil.copy(cohort / case / f"{case}_seg.nii.gz", plain / f"{case}.nii.gz")
    assert run("-ref", cohort, "-pred", plain, "--pred-labels", "2021") == 0
    printed = capsys.readouterr().out
    assert "download" not in printed
    assert f"warning: {plain}: 2 of 2 predictions, such as that of {CASES[0]}, have the very bytes of the" in printed


def test_label_maps_of_submission_are_no_download(tmp_path):
    """Those of MEN-RT have the names of the segmentations that the challenge hands out."""
    name = "BraTS-MEN-RT-0001-1"
    for folder in ("ref", "pred"):
        write(tmp_path / folder / f"{name}_gtv.nii.gz", cube(1))
    assert any("download" in line for line in find_pairs(tmp_path / "ref", tmp_path / "pred").warnings)
    entry = {"file": f"{name}_gtv.nii.gz"}
    run_json = {"made_by": "resunet-ds submission", "labels": "menrt", "cases": {name: entry}}
    (tmp_path / "pred" / "run.json").write_text(json.dumps(run_json))
    assert not any("download" in line for line in find_pairs(tmp_path / "ref", tmp_path / "pred").warnings)


# ---- training cases ----


def test_the_kind_of_warning_is_that_of_predict():
    model = SimpleNamespace(training_cases={"a"})
    case, other = (SimpleNamespace(case_id=name, name_in_files=name) for name in "ab")
    assert training_case_warnings(case, [model])[0].startswith(f"{TRAINING_CASE}: ")
    assert training_case_warnings(other, [model]) == []


@pytest.mark.parametrize("n", [0, 1, 3])
def test_training_cases_are_counted_once(folders, capsys, n):
    note(folders[1], **{name: ["dark: T1", OF_TRAINING] for name in NAMES[:n]})
    assert run("-ref", folders[0], "-pred", folders[1], "--ref-labels", "2023-gli") == 0
    printed = capsys.readouterr().out
    line = f"warning: {n} of 3 cases may be training cases of the model (run.json): these scores do not say"
    assert printed.count("training case") == printed.count(line) == (n > 0)


def test_only_cases_that_are_scored_count_as_training_cases(folders, capsys):
    note(folders[1], **{name: [OF_TRAINING] for name in NAMES})
    (folders[1] / f"{NAMES[0]}.nii.gz").write_bytes(b"")
    told = ("--ref-labels", "2023-gli", "--pred-labels", "2023-gli")
    assert run("-ref", folders[0], "-pred", folders[1], "--skip-invalid", *told) == 0
    assert "2 of 2 cases may be training cases" in capsys.readouterr().out
    files = [folder / f"{NAMES[1]}.nii.gz" for folder in folders]
    assert run("-ref", files[0], "-pred", files[1], *told) == 0
    assert "this case may be a training case" in capsys.readouterr().out


@pytest.mark.parametrize("warnings", ["a training case?", 7, None, [7]])
def test_notes_of_another_form_are_no_notes(folders, capsys, warnings):
    note(folders[1], **{NAMES[0]: warnings})
    assert run("-ref", folders[0], "-pred", folders[1], "--ref-labels", "2023-gli") == 0
    assert "training case" not in capsys.readouterr().out


# ---- penalties ----


def penalties(capsys, folders, *arguments):
    assert run("-ref", folders[0], "-pred", folders[1], *arguments) == 0
    return [line for line in capsys.readouterr().out.splitlines() if "stands for" in line]


def test_cases_with_the_penalty_are_counted_by_region(folders, capsys):
    assert penalties(capsys, folders) == []
    write(folders[1] / f"{NAMES[0]}.nii.gz", cube(2))  # all oedema: TC and ET are missed
    write(folders[1] / f"{NAMES[1]}.nii.gz", cube(1))  # ET is missed
    of_regions, of_lesions = penalties(capsys, folders)
    assert of_regions == ("HD95: 374 mm stands for a region that was missed or invented: TC in 1, ET in 2 of 3 cases")
    assert of_lesions == "Lesion-wise HD95: 374 mm stands for each missed and each false lesion"
    assert penalties(capsys, folders, "--empty-regions", "nan") == [of_lesions]
    (of_2021,) = penalties(
        capsys, folders, "--protocol", "brats2021", "--pred-labels", "2023-gli", "--ref-labels", "2023-gli"
    )
    assert of_2021.startswith("HD95: the diagonal of the image stands") and "TC in 1, ET in 2 of 3" in of_2021
    (of_2026,) = penalties(capsys, folders, "--protocol", "brats2026-goat")
    assert of_2026.startswith("HD95: 373 mm") and "or is all elsewhere: TC in 1, ET in 2 of 3" in of_2026
    one = [folder / f"{NAMES[1]}.nii.gz" for folder in folders]
    assert penalties(capsys, one)[0].endswith("invented: ET")


@pytest.mark.parametrize(
    ("protocol", "dice", "hd95", "volumes", "is_penalty"),
    [
        ("brats2023-gli", 0.0, 374.0, (9, 0), True),
        ("brats2023-gli", 0.0, 373.9, (9, 9), False),  # as far apart as that
        ("brats2023-gli", 0.0, 420.0, (9, 9), False),  # in a larger image
        ("brats2023-gli", 1.0, 0.0, (0, 0), False),
        ("brats2021", 0.0, 374.2, (0, 9), True),
        ("brats2021", 0.0, 300.0, (9, 9), False),
        ("brats2021", 1.0, 0.0, (0, 0), False),  # both are empty
        ("brats2021", 0.0, math.nan, (0, 9), False),
    ],
)
def test_a_penalty_is_told_from_a_distance(protocol, dice, hd95, volumes, is_penalty):
    metrics = {"dice": dice, "hd95": hd95, "reference_volume": volumes[0], "prediction_volume": volumes[1]}
    assert has_penalty(metrics, PROTOCOLS[protocol]) == is_penalty


def test_a_lesion_too_small_to_count_is_a_missed_region(folders, capsys):
    """MEN-RT drops predicted lesions of at most 50 mm³; its penalty is the diagonal of the image."""
    small = np.zeros((10, 10, 10), np.uint8)
    small[1:4, 1:4, 1:4] = 1
    for name in NAMES:
        write(folders[0] / f"{name}.nii.gz", cube(1))
        write(folders[1] / f"{name}.nii.gz", small)
    found = evaluate(*folders, "brats2024-menrt")
    assert {of["GTV"]["hd95"] for of in found.cases.values()} == {np.sqrt(300)}
    assert "GTV in 3 of 3 cases" in penalties(capsys, folders, "--protocol", "brats2024-menrt")[0]


# ---- by which rules ----


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("2021", ["brats2021"]),
        ("BraTS 2021", ["brats2021"]),
        ("2023", [name for name in PROTOCOLS if name.startswith("brats2023")]),
        ("MET", [name for name in PROTOCOLS if name.endswith("-met")]),
        ("2024-GLI", ["brats2024-gli"]),
        ("men-rt", ["brats2024-menrt", "brats2025-menrt"]),
        ("2022", []),
        ("brats", []),
        ("", []),
    ],
)
def test_protocols_near_a_name(name, near):
    assert near_protocols(name) == near


def test_an_edition_for_a_protocol_is_answered_with_the_near_one(folders, capsys):
    assert run("-ref", folders[0], "-pred", folders[1], "--protocol", "2021") == 2
    error = capsys.readouterr().err
    assert "'2021' is not known; near it: brats2021; see resunet-ds evaluate --help" in error


@pytest.mark.parametrize(
    ("labels", "hint"),
    [
        ("2021", "; --protocol brats2021 for those of 2021"),
        ("2023-gli", ""),
        ("2024-met", "; --protocol brats2024-met for those of 2024 MET"),
        ("protocol", "; --protocol brats2021 for those of 2021"),
    ],
)
def test_the_rules_are_named_and_how_to_choose_others(folders, capsys, labels, hint):
    compared = ("-ref", folders[0], "-pred", folders[1], "--ref-labels", labels, "--pred-labels", "2023-gli")
    for folder in folders:
        for name in NAMES:
            write(folder / f"{name}.nii.gz", cube(1))
    assert run(*compared) == 0
    assert f"\nscored by the rules of BraTS 2023 GLI, 3 cases{hint}\n" in capsys.readouterr().out
    assert run(*compared, "--protocol", "brats2023-gli") == 0
    assert "\nscored by the rules of BraTS 2023 GLI, 3 cases\n" in capsys.readouterr().out


# ---- what run.json says, and what lies there ----


def noted(folder, labels, made_with=lambda case: ["weights"]):
    """Write a run.json as predict does, with the identity of each label map and of the weights that made it."""
    cases = {
        case: {
            "file": f"{case}.nii.gz",
            "written": identity_of(folder / f"{case}.nii.gz"),
            "made_with": made_with(case),
            "warnings": [OF_TRAINING],
        }
        for case in NAMES
    }
    (folder / "run.json").write_text(json.dumps({"made_by": "resunet-ds predict", "labels": labels, "cases": cases}))


def test_a_label_map_that_replaced_one_in_nnunets_values_is_spoken_of(folders, capsys):
    """Nothing says that it has such values, nor that a training case was predicted."""
    noted(folders[1], "nnunet")
    write(folders[1] / f"{NAMES[1]}.nii.gz", cube(at=2))
    assert run("-ref", folders[0], "-pred", folders[1]) == 0
    said = capsys.readouterr()
    assert f"1 of 3 label maps, such as {NAMES[1]}.nii.gz, have changed since it was written" in said.err
    assert "2 of 3 cases may be training cases" in said.out + said.err


def test_label_maps_as_they_were_written_are_not_spoken_of(folders, tmp_path, capsys):
    noted(folders[1], "nnunet")
    assert run("-ref", folders[0], "-pred", folders[1], "-o", tmp_path / "metrics.json") == 0
    said = capsys.readouterr()
    assert "have changed" not in said.err and "models" not in said.out
    assert json.loads((tmp_path / "metrics.json").read_text())["made_with"] == ["weights"]


def test_label_maps_of_several_models_are_spoken_of(folders, tmp_path, capsys):
    noted(folders[1], "nnunet", lambda case: ["a", "b"] if case == NAMES[0] else ["c"])
    assert run("-ref", folders[0], "-pred", folders[1], "-o", tmp_path / "metrics.json") == 0
    assert "were made by 2 models (2, 1 cases)" in capsys.readouterr().out
    assert json.loads((tmp_path / "metrics.json").read_text())["made_with"] == []
