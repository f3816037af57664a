"""Fixtures shared by the tests."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported: its kernels then run on the CPU

from bad_input import Recorder
from brats_files import CASES, MODALITIES, make_case
from hypothesis import settings
from made_once import made_once
from models import small_plans, write_model
from stock_runs import preprocessed_dataset

from dataset_conversion import convert
from dataset_conversion.editions import EDITIONS
from dataset_conversion.write import write_dataset_json
from nnunet_resunet_ds.demo.phantom import make_cohort

# Without deadlines, for other work may run on the same cores; in CI the same examples each time, so that it does not
# fail for what nobody has changed.
settings.register_profile("project", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("project")

RESAMPLING = {
    f"resampling_fn_{what}{suffix}": value
    for what, order in (("data", 3), ("seg", 1), ("probabilities", 1))
    for suffix, value in (
        ("", "resample_data_or_seg_to_shape"),
        ("_kwargs", {"is_seg": what == "seg", "order": order, "order_z": 0, "force_separate_z": None}),
    )
}
"""nnU-Net's own, as its plans name them."""

LONGEST_FIRST = (
    "test_demo", "test_releases_whole_way", "test_training_run", "test_ablation_run", "test_prediction_end_to_end",
    "test_faults", "test_cluster", "test_training_on_device", "test_train_on_a_cluster", "test_ending_of_the_command",
    "test_whole_way", "test_load", "test_discovery", "test_hostile_files", "test_resumable", "test_doctor",
    "test_starter_training", "test_one_line_errors", "test_kept_weights", "test_average_model", "test_comparison",
    "test_work_counted", "test_predict",
)  # fmt: skip
"""Files that begin before the others, so that no process is left alone with one of them at the end. The prediction with
what the demo has made comes when one of two processes has made it, while the other did the files between them."""

REAL_CASES = Path(__file__).parents[2] / "shared" / "data" / "brats2021"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the long files: with ``-n 2 --dist loadfile``, each file is run by one process."""
    rank = {name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(scope="module")
def two_threads():
    """With one thread, or one small image, PyTorch takes convolutions that leave channels last."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keep what commands keep for this user in a folder of this run; the processes that tests start get it, too."""
    caches = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    with pytest.MonkeyPatch.context() as patch:
        # the usual one, as listing all fonts takes seconds
        patch.setenv("MPLCONFIGDIR", os.environ.get("MPLCONFIGDIR", str(caches / "matplotlib")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def real_cases() -> Path:
    """Folder of real BraTS 2021 cases, where this machine has them."""
    if not REAL_CASES.is_dir():
        pytest.skip("no real BraTS cases beside the project")
    return REAL_CASES


@pytest.fixture(scope="session")
def bad_input():
    """Takes command, kind and answer of each kind of bad input: they must stand in docs/reference/bad_input.md."""
    recorder = Recorder()
    yield recorder
    recorder.write()


@pytest.fixture
def nnunet_folders(tmp_path, monkeypatch):
    """Point nnU-Net's three variables below a temporary folder and return that."""
    for kind in ("raw", "preprocessed", "results"):
        folder = tmp_path / f"nnUNet_{kind}"
        folder.mkdir()
        monkeypatch.setenv(f"nnUNet_{kind}", str(folder))
    return tmp_path


@pytest.fixture
def cohort(tmp_path):
    """Two labelled cases of BraTS 2021."""
    folder = tmp_path / "train"
    for seed, case in zip((0, 3), CASES, strict=True):
        make_case(folder, case, seed=seed)
    return folder


@pytest.fixture
def images_ts(cohort, tmp_path):
    """The cohort by nnU-Net's names."""
    folder = tmp_path / "imagesTs"
    folder.mkdir()
    for case in CASES:
        for channel, modality in enumerate(MODALITIES):
            shutil.copy(cohort / case / f"{case}_{modality}.nii.gz", folder / f"{case}_{channel:04d}.nii.gz")
    return folder


@pytest.fixture
def raw(nnunet_folders):
    return nnunet_folders / "nnUNet_raw"


@pytest.fixture
def dataset(nnunet_folders):
    """What the trainer reads of a preprocessed BraTS dataset, in nnU-Net's formats: (plans, dataset_json, folder)."""
    folder = nnunet_folders / "nnUNet_preprocessed" / "Dataset137_BraTS2021"
    folder.mkdir()
    write_dataset_json(folder, EDITIONS["2021"], n_training=5)
    fingerprint = {"spacings": [[1.0, 1.0, 1.0]] * 5, "shapes_after_crop": [[135, 163, 137]] * 5}
    (folder / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    plans = {
        "continue_training": False,
        "dataset_name": folder.name,
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {
            str(channel): {"percentile_00_5": 50.0, "percentile_99_5": 2000.0, "mean": 500.0, "std": 200.0}
            for channel in range(4)
        },
        "configurations": {
            "2d": {"patch_size": [192, 160], "spacing": [1.0, 1.0], "median_image_size_in_voxels": [163.0, 137.0]},
            "3d_fullres": {
                "data_identifier": "nnUNetPlans_3d_fullres",
                "preprocessor_name": "DefaultPreprocessor",
                "patch_size": [128, 160, 112],
                "batch_size": 2,
                "batch_dice": False,
                "median_image_size_in_voxels": [135.0, 163.0, 137.0],
                "spacing": [1.0, 1.0, 1.0],
                "normalization_schemes": ["ZScoreNormalization"] * 4,
                "use_mask_for_norm": [True] * 4,
                **RESAMPLING,
                "architecture": {"network_class_name": "stock", "arch_kwargs": {}, "_kw_requires_import": []},
            },
        },
    }
    return plans, json.loads((folder / "dataset.json").read_text()), folder


@pytest.fixture
def model(dataset, tmp_path):
    """A model folder of two folds, a small network with random weights."""
    plans, dataset_json, _ = dataset
    return write_model(tmp_path / "model", small_plans(plans), dataset_json, folds=(0, 1))


@pytest.fixture
def trained(dataset, tmp_path, nnunet_folders):
    """A dataset of six cases and a model of two folds: (model folder, ids of all cases)."""
    plans, dataset_json, preprocessed = dataset
    ids = [f"BraTS2021_{number:05d}" for number in range(6)]
    for number, case in enumerate(ids):
        make_case(tmp_path / "train", case, seed=number)
    raw = convert([tmp_path / "train"], 137)
    assert raw.name == preprocessed.name
    (preprocessed / "gt_segmentations").mkdir()
    for case in ids:
        (preprocessed / "gt_segmentations" / f"{case}.nii.gz").symlink_to(raw / "labelsTr" / f"{case}.nii.gz")
    splits = [{"train": ids[3:], "val": ids[:3]}, {"train": ids[:3], "val": ids[3:]}]
    (preprocessed / "splits_final.json").write_text(json.dumps(splits))
    folder = nnunet_folders / "nnUNet_results" / raw.name / "ResUNetDSTrainer__nnUNetPlans__3d_fullres"
    return write_model(folder, small_plans(plans), dataset_json, folds=(0, 1)), ids


@pytest.fixture(scope="session")
def stock_dataset(tmp_path_factory):
    """Dataset 137 as nnU-Net's own script makes it, preprocessed: environment variables for its commands."""
    return {**os.environ, **made_once(tmp_path_factory, "stock", preprocessed_dataset)[1]}


@pytest.fixture(scope="session")
def demo(tmp_path_factory) -> tuple[Path, str]:
    """Run the demo as its user does, from another folder: (output folder, what it printed)."""
    folder, printed = made_once(tmp_path_factory, "demo", run_demo)
    return folder / "out", printed


def run_demo(folder: Path) -> str:
    _, case, _ = make_cohort(folder / "real", 0, 1)  # stands for a real case
    environment = {name: value for name, value in os.environ.items() if not name.startswith("nnUNet_")}
    done = subprocess.run(
        [Path(sys.executable).parent / "resunet-ds", "demo", "-o", "out", "--case", case],
        cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:]
    return done.stdout
