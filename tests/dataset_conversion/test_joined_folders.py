"""Cases whose files lie in several folders: the same result as where they lie in one."""

import gzip
import json
import shutil

import numpy as np
import pytest
from brats_files import CASES, make_case
from models import predict

from dataset_conversion import EDITIONS, check, convert
from dataset_conversion.find_cases import find_cases, same_content
from dataset_conversion.image_cases import find_prediction_cases
from nnunet_resunet_ds.cli import main


def structural_and_segm(path):
    """Where UPENN-GBM keeps its files."""
    case = path.name[:15]
    return f"images_segm/{path.name}" if "_seg" in path.name else f"images_structural/{case}/{path.name}"


def folder_a_role(path):
    return f"{path.name[16:].removesuffix('.nii.gz')}/{path.name}"


def folder_a_role_and_case(path):
    return f"{path.name[16:].removesuffix('.nii.gz')}/{path.name[:15]}/{path.name}"


ONE_MISSING = "a folder a modality, one missing"
LAYOUTS = [structural_and_segm, folder_a_role, folder_a_role_and_case]


def spread(cohort, root, layout):
    for path in cohort.rglob("*.nii.gz"):
        destination = root / layout(path)
        destination.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, destination)
    return root


def contents(folder, pattern="*.nii.gz"):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob(pattern)}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_converted_to_the_same_bytes(cohort, raw, tmp_path, layout):
    together = convert([cohort], 1)
    apart = convert([spread(cohort, tmp_path / "apart", layout)], 137)
    assert contents(apart) == contents(together) and len(contents(apart)) == 10
    entries = json.loads((apart / "conversion.json").read_text())["cases"].values()
    assert [entry["repairs"] for entry in entries] == [[], []]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_predicted_to_the_same_bytes(cohort, model, tmp_path, layout):
    spread(cohort, tmp_path / "apart", layout)
    for folder, out in ((cohort, "together"), (tmp_path / "apart", "out")):
        assert predict(folder, tmp_path / out, model) == 0
    assert contents(tmp_path / "out") == contents(tmp_path / "together") and len(contents(tmp_path / "out")) == 2


def test_folders_of_one_case_may_be_inputs_of_their_own(cohort, raw, tmp_path):
    apart = spread(cohort, tmp_path / "apart", folder_a_role)
    assert len(contents(convert(sorted(apart.iterdir()), 137))) == 10


@pytest.mark.parametrize("layout", LAYOUTS)
def test_training_and_test_sets_stay_apart(cohort, raw, tmp_path, layout):
    make_case(tmp_path / "unlabelled", "BraTS2021_00007", labelled=False)
    spread(cohort, tmp_path / "all" / "train", layout)
    spread(tmp_path / "unlabelled", tmp_path / "all" / "val", layout)
    dataset = convert([tmp_path / "all"], 137)
    assert {path.name[:15] for path in (dataset / "imagesTs").iterdir()} == {"BraTS2021_00007"}
    assert len(list((dataset / "labelsTr").iterdir())) == 2


def test_a_labelled_case_whose_images_are_also_in_a_test_set_is_of_the_training_set(cohort, raw, tmp_path):
    """The test set, which comes first by its name, stays one for its other cases."""
    shutil.copytree(cohort, tmp_path / "all" / "train")
    for case in ("BraTS2021_00007", CASES[0]):
        make_case(tmp_path / "all" / "a_test", case, labelled=False)
    dataset = convert([tmp_path / "all"], 137)
    assert {path.name[:15] for path in (dataset / "imagesTs").iterdir()} == {"BraTS2021_00007"}
    notes = json.loads((dataset / "conversion.json").read_text())["cases"][CASES[0]]["repairs"]
    assert len(notes) == 4 and all("a_test" in note and "a copy is there" in note for note in notes)


def test_what_is_in_no_folder_is_said_to_be_missing_from_all(cohort, raw, tmp_path, capsys, bad_input):
    apart = spread(cohort, tmp_path / "apart", folder_a_role)
    (apart / "t2" / f"{CASES[1]}_t2.nii.gz").unlink()
    assert main(["convert", str(apart), "-d", "137"]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert f"apart: no {CASES[1]}_t2.nii.gz in it or below; all of T1, T1ce, T2, FLAIR are needed" in line
    bad_input("convert", ONE_MISSING, line)


def test_what_differs_between_two_folders_is_one_line_a_case(cohort, raw, tmp_path):
    other = tmp_path / "all" / "other" / CASES[0]
    shutil.copytree(cohort, tmp_path / "all" / "one")
    shutil.copytree(cohort / CASES[0], other)
    new = make_case(tmp_path / "new", CASES[0], seed=9)
    for name in (f"{CASES[0]}_{modality}.nii.gz" for modality in ("t1", "flair")):
        shutil.copyfile(new / name, other / name)
    (line,) = check([tmp_path / "all"]).problems[CASES[0]]
    one = tmp_path / "all" / "one" / CASES[0]
    assert line == (
        f"{one}/{CASES[0]}_t1.nii.gz and {other}/{CASES[0]}_t1.nii.gz are both T1 of case {CASES[0]} and differ, so do "
        f"{one}/{CASES[0]}_flair.nii.gz and {other}/{CASES[0]}_flair.nii.gz (FLAIR): keep the right one and move the "
        "other out of the inputs"
    )


def test_two_segmentations_do_not_stop_a_prediction(cohort):
    packed = cohort / CASES[0] / f"{CASES[0]}_seg.nii.gz"
    packed.with_suffix("").write_bytes(b"another")
    assert check([cohort]).problems
    assert find_prediction_cases([cohort], ["T1", "T1ce", "T2", "FLAIR"]).problems == {}


def test_cases_of_an_edition_with_folders_are_not_joined(tmp_path):
    for folder in ("imagesTr", "imagesTs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "BRATS_001.nii.gz").write_bytes(folder.encode())
    assert len(find_cases([tmp_path], EDITIONS["msd"])) == 2
    problems = check([tmp_path], "msd").problems["BRATS_001"]
    assert any("both have case BRATS_001, and their files differ: keep the right ones" in line for line in problems)


# ---- copies ----


def test_copies_are_told_by_what_is_packed(tmp_path):
    content = np.random.default_rng(0).bytes(5000)
    files = {
        "packed": gzip.compress(content),
        "packed otherwise": gzip.compress(content, 1, mtime=3),
        "members": gzip.compress(content[:3000]) + gzip.compress(content[3000:]),
        "plain": content,
        "changed": content[:-1] + bytes([content[-1] ^ 1]),
        "damaged": gzip.compress(content)[:-30],
    }
    paths = {name: tmp_path / name for name in files}
    for name, path in paths.items():
        path.write_bytes(files[name])
    for name in ("packed", "packed otherwise", "members"):
        assert same_content(paths[name], paths["plain"]) and same_content(paths["plain"], paths[name])
        assert not same_content(paths[name], paths["changed"])
    assert not same_content(paths["damaged"], paths["plain"])
    assert not same_content(paths["plain"], tmp_path / "nowhere")
