"""``resunet-ds submission --container``: the folder holds all that a container needs, and nothing that it does not."""

import ast
import json
import re
import subprocess
import sys
import zipfile
from importlib.metadata import distribution, version
from pathlib import Path

import pytest
import torch
from brats_files import CASES
from models import predict, small_plans, write_model

from dataset_conversion.editions import EDITIONS
from dataset_conversion.write import write_dataset_json
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.container import entry_point
from nnunet_resunet_ds.container.made_up_cases import ids_of
from nnunet_resunet_ds.container.pins import pins
from nnunet_resunet_ds.container.wheel import write_wheel
from nnunet_resunet_ds.container.write_container import write_container
from nnunet_resunet_ds.inference.load_model import load_model
from nnunet_resunet_ds.training.checkpoint.checkpoints import read_checkpoint
from nnunet_resunet_ds.training.checkpoint.safe_weights import write_safe_weights

PROJECT = Path(__file__).parents[2]


def container(folder, model, *flags):
    return main(["submission", "--container", str(folder), "-m", str(model), *flags])


def train_on(model):
    """Let checkpoints hold what those of a training do, beyond weights."""
    for file in model.glob("fold_*/checkpoint_final.pth"):
        content = torch.load(file)
        content["optimizer_state"] = {"state": torch.zeros(100_000)}
        content["init_args"] |= {"fold": 0, "dataset_json": {}}
        torch.save(content, file)


def test_the_folder_holds_what_a_container_needs(model, tmp_path, capsys):
    assert container(tmp_path / "out", model, "--edition", "2023-gli", "--no-tta", "--allow-missing", "T2,FLAIR") == 0
    assert "wrote a container for BraTS 2023 GLI" in capsys.readouterr().out
    (wheel,) = (tmp_path / "out").glob("*.whl")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        "Dockerfile", "apptainer.def", "README.md", "requirements.txt", "container.json", "entrypoint.py", "models",
        wheel.name,
    }  # fmt: skip
    told = json.loads((tmp_path / "out" / "container.json").read_text())
    assert told["edition"] == "2023-gli" and told["flags"] == ["--allow-missing", "T2,FLAIR", "--no-tta"]
    for name in ("Dockerfile", "apptainer.def"):  # every file that is copied into the image is there
        text = (tmp_path / "out" / name).read_text()
        assert "{{" not in text and f"python:{sys.version.split()[0]}-slim" in text
        for copied in ("requirements.txt", wheel.name, "entrypoint.py", "container.json", "models"):
            assert copied in text
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "1 NCR, 2 ED, 3 ET" in readme and "A case may lack T2 or FLAIR" in readme and "--network none" in readme
    assert str(tmp_path) not in "".join(p.read_text() for p in (tmp_path / "out").glob("*[!l]") if p.is_file())


def test_the_copy_of_a_model_predicts_the_same_and_is_smaller(cohort, model, tmp_path):
    train_on(model)
    (model / "postprocessing.json").write_text('{"wt": 0.6}')
    write_container(tmp_path / "out", [load_model(model)], "2021")
    copy = tmp_path / "out" / "models" / "1"
    for folder, name in ((model, "a"), (copy, "b")):
        assert predict(cohort, tmp_path / name, folder) == 0
    for case in CASES:
        one, other = (tmp_path / name / f"{case}.nii.gz" for name in "ab")
        assert one.read_bytes() == other.read_bytes()
    assert load_model(copy).identities == load_model(model).identities
    size = {folder: (folder / "fold_0" / "checkpoint_final.pth").stat().st_size for folder in (model, copy)}
    assert size[copy] < size[model] - 300_000


def test_an_ensemble_of_chosen_folds(model, tmp_path):
    flags = ("-m", str(model), "--edition", "goat", "-f", "1")
    assert container(tmp_path / "out", model, *flags) == 0
    folds = [[path.name for path in sorted((tmp_path / "out" / "models" / n).glob("fold_*"))] for n in "12"]
    assert folds == [["fold_1"], ["fold_1"]]


def test_what_an_edition_does_not_guarantee_may_be_absent(dataset, tmp_path):
    plans, _, folder = dataset
    (folder / "dataset.json").unlink()
    write_dataset_json(folder, EDITIONS["2026-met"], n_training=5)
    model = write_model(tmp_path / "met", small_plans(plans), json.loads((folder / "dataset.json").read_text()))
    settings = write_container(tmp_path / "out", [load_model(model)], "2026-met")
    assert settings.absent == ("T2",) and settings.flags == ("--allow-missing", "T2")


def test_a_container_is_replaced_as_a_whole(model, tmp_path):
    out = tmp_path / "out"
    write_container(out, [load_model(model)] * 2, "2023-gli")
    write_container(out, [load_model(model)], "2023-ssa")
    assert not (out / "models" / "2").exists()
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_files_of_the_user_in_its_folder_are_never_removed(model, tmp_path):
    out = tmp_path / "out"
    write_container(out, [load_model(model)], "2023-gli")
    (out / "output").mkdir()
    (out / "output" / "tumour.nii.gz").write_text("mine")
    with pytest.raises(InputError, match="holds other files than those of a container, such as output"):
        write_container(out, [load_model(model)], "2023-ssa")
    assert (out / "output" / "tumour.nii.gz").read_text() == "mine"


def test_where_the_new_one_cannot_take_its_place_the_old_one_stays(model, tmp_path, monkeypatch):
    out = tmp_path / "out"
    write_container(out, [load_model(model)], "2023-gli")
    replace, moves = Path.replace, []

    def fail_second(path, target):
        if path.parent == tmp_path:
            moves.append(path)
            if len(moves) == 2:
                raise OSError(16, "Device or resource busy", str(path))
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", fail_second)
    with pytest.raises(OSError, match="busy"):
        write_container(out, [load_model(model)], "2023-ssa")
    assert json.loads((out / "container.json").read_text())["edition"] == "2023-gli"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_a_model_of_safe_weights_is_copied_as_well(model, tmp_path):
    for fold in ("fold_0", "fold_1"):
        file = model / fold / "checkpoint_final.pth"
        write_safe_weights(read_checkpoint(file), file.with_suffix(".safetensors"), half=False)
        file.unlink()
    before = load_model(model)
    write_container(tmp_path / "out", [before], "2023-gli")
    assert load_model(tmp_path / "out" / "models" / "1").identities == before.identities


def model_of(dataset, edition, folder):
    plans, _, preprocessed = dataset
    (preprocessed / "dataset.json").unlink()
    write_dataset_json(preprocessed, EDITIONS[edition], n_training=5)
    return load_model(write_model(folder, small_plans(plans), json.loads((preprocessed / "dataset.json").read_text())))


def test_labels_are_compared_by_what_they_mean(dataset, tmp_path, caplog):
    """4 is the cystic component in PED, and the resection cavity in GLI."""
    model = model_of(dataset, "2024-ped", tmp_path / "ped")
    with pytest.raises(InputError, match="segments cystic component, which BraTS 2024 GLI does not have"):
        write_container(tmp_path / "out", [model], "2024-gli")


def test_a_region_that_is_never_painted_is_named(model, tmp_path, caplog):
    with caplog.at_level("WARNING"):
        write_container(tmp_path / "out", [load_model(model)], "2024-gli")
    assert "never paints resection cavity, which BraTS 2024 GLI asks for" in caplog.text


@pytest.mark.parametrize("key", [key for key, edition in EDITIONS.items() if not edition.folders])
def test_there_are_made_up_ids_of_every_edition(key):
    ids = ids_of(EDITIONS[key])
    assert len(ids) >= 2 and all(EDITIONS[key].case_id.fullmatch(case_id) for case_id in ids)


# ---- the wheel, and the versions ----


def test_the_wheel_is_what_the_build_tool_makes(tmp_path):
    words = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "theirs")]
    subprocess.run(words, cwd=PROJECT, capture_output=True, check=True)
    (theirs,) = (tmp_path / "theirs").glob("*.whl")
    (tmp_path / "ours").mkdir()
    ours = write_wheel(tmp_path / "ours")
    with zipfile.ZipFile(theirs) as one, zipfile.ZipFile(ours) as other:
        assert sorted(one.namelist()) == sorted(other.namelist()) and other.testzip() is None
        for name in one.namelist():
            if ".dist-info/" not in name:
                assert one.read(name) == other.read(name), name
    assert write_wheel(tmp_path).read_bytes() == ours.read_bytes()


@pytest.mark.long
def test_pip_installs_the_wheel_and_nnunet_finds_the_trainers(tmp_path):
    wheel = write_wheel(tmp_path)
    subprocess.run([sys.executable, "-m", "venv", "--system-site-packages", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--no-deps", "--no-index", "--force-reinstall", wheel]
    subprocess.run(install, check=True, capture_output=True)
    code = "import nnunet_resunet_ds, os; print(nnunet_resunet_ds.__file__); print(os.environ['nnUNet_extTrainer'])"
    done = subprocess.run([python, "-c", code], env={}, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert all(str(tmp_path / "venv") in line for line in done.stdout.splitlines())


def test_all_that_is_needed_is_pinned_to_what_runs_here():
    pinned = dict(line.split("==") for line in pins(distribution("nnunet-resunet-ds")))
    assert {"nnunetv2", "torch", "simpleitk", "numpy", "nibabel"} <= pinned.keys() and list(pinned) == sorted(pinned)
    assert pinned["nnunetv2"] == version("nnunetv2") and "+" not in pinned["torch"]
    assert not any(name.startswith(("nvidia-", "triton")) for name in pinned)
    assert not {"ruff", "pytest", "monai", "nnunet-resunet-ds"} & pinned.keys()


def test_the_entry_point_needs_nothing_but_python():
    source = Path(entry_point.__file__).read_text()
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {node.module if isinstance(node, ast.ImportFrom) else node.names[0].name for node in nodes}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names


# ---- bad input ----


def _spoil(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("years of work")


BAD = {
    "nothing to do": ([], "give -i and -o to translate"),
    "label maps without output": (["-i", "labels"], "submission needs -o, too"),
    "container without a model": (["--container", "out", "--edition", "2023-gli"], "--container needs -m, too"),
    "container without an edition": (["--container", "out", "-m", "model"], "--container needs --edition, too"),
    "container of a year": (["--container", "out", "-m", "model", "--edition", "2024"], "choose from 2024-gli"),
    "container of other labels": (["--container", "out", "-m", "model", "--edition", "menrt"], "has no label for"),
    "container of MSD": (["--container", "out", "-m", "model", "--edition", "msd"], "a container is for one edition"),
    "container and label maps": (
        ["--container", "out", "-m", "model", "--edition", "2023-gli", "-i", "labels"],
        "-i does not go with --container",
    ),
    "container into a folder of other files": (
        ["--container", "full", "-m", "model", "--edition", "2023-gli"], "holds other files",
    ),
    "container and trial": (["--container", "out", "--check-container", "out"], "first write it, then try it"),
    "trial of no container": (["--check-container", "full"], "has no container.json"),
    "trial with a model": (["--check-container", "out", "-m", "model"], "-m does not go with --check-container"),
    "trial without time": (["--check-container", "out", "--seconds", "0"], "--seconds must be"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_handed_in_is_said_in_a_line(model, tmp_path, monkeypatch, capsys, kind, bad_input):
    _spoil(tmp_path)
    monkeypatch.chdir(tmp_path)
    words, said = BAD[kind]
    before = sorted(tmp_path.rglob("*"))
    assert main(["submission", *words]) == 2
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before
    bad_input("submission", kind, error)


DAMAGED = "damaged container.json"


def test_a_damaged_container_is_named(model, tmp_path, capsys, bad_input):
    write_container(tmp_path / "out", [load_model(model)], "2023-gli")
    (tmp_path / "out" / "container.json").write_text('{"edition": 3}')
    assert main(["submission", "--check-container", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert re.search(r"container\.json: damaged; it must have", error) and len(error.splitlines()) == 1
    bad_input("submission", DAMAGED, error)
