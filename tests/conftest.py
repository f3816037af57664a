"""Fixtures shared by the tests."""

from pathlib import Path

import pytest
from brats_files import make_case

REAL_CASES = Path(__file__).parents[2] / "shared" / "data" / "brats2021"


@pytest.fixture(scope="session")
def real_cases() -> Path:
    """Folder of real BraTS 2021 cases, where this machine has them."""
    if not REAL_CASES.is_dir():
        pytest.skip("no real BraTS cases beside the project")
    return REAL_CASES


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
    for number in (0, 3):
        make_case(folder, f"BraTS2021_{number:05d}", seed=number)
    return folder


@pytest.fixture
def raw(nnunet_folders):
    return nnunet_folders / "nnUNet_raw"
