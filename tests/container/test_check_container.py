"""``resunet-ds submission --check-container``: a good container passes as a whole, and each fault fails by its line."""

import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import SimpleITK as sitk
from models import small_plans, write_model

from dataset_conversion.editions import EDITIONS
from dataset_conversion.write import write_dataset_json
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.container import check_container as check_module
from nnunet_resunet_ds.container.check_container import check_container
from nnunet_resunet_ds.container.confinement import (
    Confinement,
    Limits,
    Run,
    confined,
    possible_confinement,
    run_confined,
)
from nnunet_resunet_ds.container.made_up_cases import make_up_cases
from nnunet_resunet_ds.container.write_container import write_container
from nnunet_resunet_ds.inference.load_model import load_model

LIMITS = Limits(memory_gib=8, seconds=300)


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("kept")


@pytest.fixture
def met(dataset, tmp_path, kept):
    """A container of 2026 MET, made once: a further region, T2 not guaranteed, ids of four forms."""
    if not (kept / "container").exists():
        _make_met(dataset, tmp_path, kept / "container")
    return kept / "container"


def _make_met(dataset, tmp_path, out):
    plans, _, folder = dataset
    (folder / "dataset.json").unlink()
    write_dataset_json(folder, EDITIONS["2026-met"], n_training=5)
    plans = small_plans(plans, (32, 32, 32))
    model = write_model(tmp_path / "model", plans, json.loads((folder / "dataset.json").read_text()))
    write_container(out, [load_model(model)], "2026-met", no_tta=True)


@pytest.fixture
def cases(kept, monkeypatch):
    """The made-up cases are made once, and copied for each test."""
    made = kept / "input"
    known = make_up_cases(made, EDITIONS["2026-met"], ("T2",)) if not made.exists() else KNOWN[made]
    KNOWN[made] = known

    def copied(folder, *_):
        shutil.copytree(made, folder)
        return [
            replace(case, images={name: folder / file.relative_to(made) for name, file in case.images.items()})
            for case in known
        ]

    monkeypatch.setattr(check_module, "make_up_cases", copied)


KNOWN = {}


def test_a_good_container_passes(met, capsys):
    """The only test that runs the whole of it: the wheel's code, the entry point, predict, and what is allowed here."""
    code = main(["submission", "--check-container", str(met), "--memory", "8"])
    printed = capsys.readouterr()
    assert code == 0, printed.out + printed.err
    lines = printed.out.splitlines()
    assert not any(line.startswith("fail") for line in lines)
    assert sum("BraTS-MET-" in line and line.startswith("ok") for line in lines) == 4
    assert "ok    exit code: 0" in lines and "ok    input: unchanged" in lines
    assert any("without T2" in line for line in lines) and any("Site A - part 2/" in line for line in lines)
    assert "none fails. Next: docker build" in lines[-1]


def ran(monkeypatch, spoil=lambda *_: None, code=0):
    """Let label maps be written without a network, and then spoiled."""

    def run(folder, work, limits):
        (work / "output").mkdir()
        images = [sorted(path.iterdir())[0] for path in (work / "input").rglob("BraTS-*") if path.is_dir()]
        for image in images:
            case = image.parent.name
            labels = sitk.Cast(sitk.ReadImage(str(image)) > 500, sitk.sitkUInt8)
            sitk.WriteImage(labels, str(work / "output" / f"{case}.nii.gz"))
        spoil(work, work / "output" / "BraTS-MET-00001-001.nii.gz")
        return Confinement((), is_read_only=False), Run(code, 3.0, 0.5, "one\ntwo\nit hurts")

    monkeypatch.setattr(check_module, "_run", run)


def shift(_, file):
    image = sitk.ReadImage(str(file))
    image.SetOrigin([value + 1 for value in image.GetOrigin()])
    sitk.WriteImage(image, str(file))


def paint(_, file):
    image = sitk.ReadImage(str(file))
    values = sitk.GetArrayFromImage(image)
    values[0, 0, 0] = 7
    other = sitk.GetImageFromArray(values)
    other.CopyInformation(image)
    sitk.WriteImage(other, str(file))


CASE = "BraTS-MET-00001-001"
FAULTS = {
    "no label map": (lambda _, file: file.unlink(), CASE, "no BraTS-MET-00001-001.nii.gz in the output"),
    "another name": (lambda _, file: file.rename(file.with_name("x.nii.gz")), CASE, "in the output"),
    "elsewhere": (shift, CASE, "lies elsewhere than its images: origin"),
    "values": (paint, CASE, "has values [7] that BraTS 2026 MET does not have"),
    "no image": (lambda _, file: file.write_bytes(b"none"), CASE, "is not a NIfTI image"),
    "other files": (
        lambda w, _: (w / "output/run.json").write_text("{}"),
        "output",
        "holds other things, too: run.json",
    ),
    "hidden folder": (lambda w, _: (w / "output/.x").mkdir(), "output", "holds other things, too: .x"),
    "input changed": (lambda w, _: next((w / "input").rglob("*t1c*")).write_bytes(b"x"), "input", "must only be read"),
    "input removed": (lambda w, _: shutil.rmtree(w / "input/nested"), "input", "must only be read"),
}


@pytest.mark.parametrize("kind", FAULTS)
def test_each_fault_fails_by_its_line(met, cases, monkeypatch, kind):
    spoil, subject, said = FAULTS[kind]
    ran(monkeypatch, spoil)
    failed = {finding.subject: finding.text for finding in check_container(met, LIMITS) if finding.level == "fail"}
    assert said in failed[subject]
    assert len(failed) == (2 if kind == "another name" else 1)


def test_without_a_fault_nothing_fails_and_what_was_not_withheld_is_a_warning(met, cases, monkeypatch):
    ran(monkeypatch)
    found = {finding.subject: finding for finding in check_container(met, LIMITS)}
    assert {name for name, finding in found.items() if finding.level == "warn"} == {"network", "file system"}
    assert not [finding for finding in found.values() if finding.level == "fail"]


@pytest.mark.parametrize(("code", "subject", "said"), [(2, "exit code", "2; it last said: one / two / it hurts"),
                                                       (None, "time", "was over after 300 s")])  # fmt: skip
def test_an_exit_code_and_an_end_of_time_are_told_with_the_last_words(
    met, cases, monkeypatch, capsys, code, subject, said
):
    ran(monkeypatch, code=code)
    failed = {finding.subject: finding.text for finding in check_container(met, LIMITS) if finding.level == "fail"}
    assert list(failed) == [subject] and said in failed[subject]
    assert main(["submission", "--check-container", str(met), "--seconds", "300"]) == 2
    assert "1 of " in capsys.readouterr().err


def test_made_up_cases_differ_in_place_grid_and_what_they_lack(tmp_path):
    cases = make_up_cases(tmp_path, EDITIONS["2026-met"], ("T2",))
    grids = {sitk.ReadImage(str(next(iter(case.images.values())))).GetDirection() for case in cases}
    assert len(grids) == 3 and len({len(case.folder.parts) for case in cases}) == 3
    assert [sorted(case.images) for case in cases][-1] == ["FLAIR", "T1", "T1ce"]
    (only, *_) = make_up_cases(tmp_path / "rt", EDITIONS["menrt"], ("T1ce",))
    assert list(only.images) == ["T1ce"]
    assert np.ptp(sitk.GetArrayFromImage(sitk.ReadImage(str(only.images["T1ce"])))) > 0


# ---- what is withheld ----


@pytest.fixture
def withheld(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "out").mkdir()
    return tmp_path / "in", tmp_path / "out", possible_confinement(tmp_path / "in", tmp_path / "out")


def run_python(code, withheld, tmp_path, seconds=60, memory_gib=None):
    inputs, output, confinement = withheld
    words = confined(confinement, [sys.executable, "-c", code, str(inputs), str(output)], inputs, output, memory_gib)
    return run_confined(words, {"PATH": "/usr/bin:/bin"}, tmp_path / "log.txt", seconds)


def test_there_is_no_network(withheld, tmp_path):
    if not withheld[2].has_no_network:
        pytest.skip("unshare --net is not allowed here")
    run = run_python("print(open('/proc/net/dev').read())", withheld, tmp_path)
    interfaces = [line.split(":")[0].strip() for line in run.output.splitlines() if ":" in line]
    assert run.code == 0 and interfaces == ["lo"]


def test_only_the_output_can_be_written_to(withheld, tmp_path):
    if not withheld[2].is_read_only:
        pytest.skip("mounting in a namespace is not allowed here")
    code = """
import os, pathlib, sys
for folder in (sys.argv[1], *READ_ONLY):
    try:
        pathlib.Path(folder, f"written-by-{os.getpid()}").write_text("x")
    except OSError as error:
        assert error.errno == 30, error
    else:
        raise SystemExit(f"{folder} can be written to")
pathlib.Path(sys.argv[2], "x").write_text("x")
"""
    folders = [name for name in ("/usr", "/opt", "/tmp", "/root") if name not in withheld[2].writable]
    run = run_python(f"READ_ONLY = {folders!r}\n{code}", withheld, tmp_path)
    assert run.code == 0, run.output
    assert (tmp_path / "out" / "x").read_text() == "x"


def test_memory_and_time_end(withheld, tmp_path):
    code = "x = bytearray(400 * 2**20); print('had it')"
    assert run_python(code, withheld, tmp_path).code == 0
    run = run_python(code, withheld, tmp_path, memory_gib=0.25)
    assert run.code != 0 and "MemoryError" in run.output
    assert run_python("import time; time.sleep(60)", withheld, tmp_path, seconds=0.5).code is None
