"""``predict --allow-missing``: cases without a sequence are predicted with zeros for it, and everything says so."""

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from brats_files import CASES, MODALITIES, replace_one, values_of
from models import predict

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.commands import predict as predict_command
from nnunet_resunet_ds.evaluation.sequences import absent_sequences
from nnunet_resunet_ds.inference import Predictor, on_workers
from nnunet_resunet_ds.inference.load_model import load_model

FIRST, SECOND = CASES
NAMES = dict(zip(MODALITIES, ("T1", "T1ce", "T2", "FLAIR"), strict=True))


def file_of(cohort, case, modality):
    return cohort / case / f"{case}_{modality}.nii.gz"


def images_of(cohort, case, without=()):
    """(C, Z, Y, X), zeros in the place of what is left out."""
    return np.stack([values_of(file_of(cohort, case, m)) * (m not in without) for m in MODALITIES])


def by_hand(model, images):
    """Zeros after nnU-Net's normalisation, through the networks by hand: one tile, no flips."""
    loaded = load_model(model)
    scaled = []
    brain = (images != 0).any(axis=0)
    for image in images.astype(np.float32):
        inside = image[brain]
        scaled.append(np.where(brain, (image - inside.mean()) / max(inside.std(), 1e-8), 0))
    data = np.zeros((4, 16, 16, 16), np.float32)
    data[:, 5:11, 4:11, 4:12] = scaled
    outputs = []
    for weights in loaded.weights.values():
        network = loaded.build_network()
        network.load_state_dict(weights)
        with torch.no_grad():
            outputs.append(network(torch.from_numpy(data)[None])[0].sigmoid().numpy())
    return np.mean(outputs, axis=0)[:, 5:11, 4:11, 4:12]


def entries(folder):
    return json.loads((folder / "run.json").read_text())["cases"]


def expected(model, images, absent):
    return Predictor.from_model_folder(model, use_mirroring=False).predict_case(images, (1, 1, 1), absent)[0]


def test_an_absent_sequence_is_zero_for_the_network(cohort, model):
    images = images_of(cohort, FIRST, without=("t2",))
    predictor = Predictor.from_model_folder(model, use_mirroring=False, precision="fp32")
    _, probabilities = predictor.predict_case(images, (1, 1, 1), absent=["T2"])
    np.testing.assert_allclose(probabilities, by_hand(model, images), atol=1e-5)
    whole = images_of(cohort, FIRST)
    _, with_all = predictor.predict_case(whole, (1, 1, 1))
    np.testing.assert_allclose(with_all, by_hand(model, whole), atol=1e-5)
    assert np.abs(with_all - probabilities).max() > 1e-3


def test_from_python_arrays_and_files_lack_the_same(cohort, model):
    predictor = Predictor.from_model_folder(model, use_mirroring=False)
    files = [file_of(cohort, FIRST, m) for m in MODALITIES if m != "t1"]
    zeros = images_of(cohort, FIRST, without=("t1",))
    found, there = predictor.predict_case(files, absent=("T1",)), predictor.predict_case(zeros, (1, 1, 1), ("T1",))
    np.testing.assert_array_equal(found[1], there[1])


@pytest.mark.parametrize(
    ("without", "absent", "said"),
    [
        (("t2",), (), "T2 is zero everywhere"),
        ((), ("T2",), "T2 is named as absent, and its image is not zero"),
        (("t2",), ("PET",), "absent are PET, and the model reads T1, T1ce, T2, FLAIR"),
        (MODALITIES, ("T1", "T1ce", "T2", "FLAIR"), "name some of these, and not all"),
    ],
)
def test_a_zero_image_is_allowed_where_it_is_named_and_nowhere_else(cohort, model, without, absent, said):
    predictor = Predictor.from_model_folder(model)
    with pytest.raises(InputError, match=said):
        predictor.predict_case(images_of(cohort, FIRST, without), (1, 1, 1), absent)
    with pytest.raises(InputError, match="one file a channel"):
        predictor.predict_case([file_of(cohort, FIRST, m) for m in MODALITIES], absent=("T2",))


def test_raw_cases_that_lack_a_sequence_are_predicted_where_it_is_allowed(cohort, model, tmp_path, capsys):
    labels = expected(model, images_of(cohort, FIRST, ("t2",)), ("T2",))
    file_of(cohort, FIRST, "t2").unlink()
    assert predict(cohort, tmp_path / "refused", model) == 2
    assert "_t2.nii.gz: missing; all of T1, T1ce, T2, FLAIR are needed" in capsys.readouterr().err
    assert predict(cohort, tmp_path / "out", model, "--allow-missing", "T2") == 0
    printed = capsys.readouterr()
    assert f"without T2: 1 case, {FIRST}; zeros stand for it" in printed.out
    assert f"{FIRST}: has T1, T1ce, FLAIR and no T2" in printed.err
    assert printed.err.count("was not trained with absent sequences, as ResUNetDSTrainerModalityDropout does") == 1
    np.testing.assert_array_equal(values_of(tmp_path / "out" / f"{FIRST}.nii.gz"), labels)
    found = entries(tmp_path / "out")
    assert found[FIRST]["absent"] == ["T2"] and sorted(found[FIRST]["images"]) == ["FLAIR", "T1", "T1ce"]
    assert found[SECOND]["absent"] == []
    assert not any("modalities cover" in line or "unlike training: T2" in line for line in found[FIRST]["warnings"])


def test_every_later_step_knows_which_sequences_were_absent_and_what_was_odd(cohort, model, tmp_path, capsys):
    """evaluate --by-sequences and report took such a case for a complete one after postprocess."""
    file_of(cohort, FIRST, "t2").unlink()
    folder = {name: str(tmp_path / name) for name in ("out", "post", "joined", "handed_in")}
    assert predict(cohort, folder["out"], model, "--allow-missing", "T2", "--save-probabilities") == 0
    assert main(["postprocess", "-i", folder["out"], "-o", folder["post"]]) == 0
    assert main(["ensemble", folder["out"], folder["post"], "-o", folder["joined"], "--method", "majority"]) == 0
    assert main(["submission", "-i", folder["joined"], "-o", folder["handed_in"]]) == 0
    predicted = entries(tmp_path / "out")
    assert predicted[FIRST]["image_warnings"]
    for name in ("post", "joined", "handed_in"):
        files = {case: tmp_path / name / f"{case}.nii.gz" for case in CASES}
        assert absent_sequences(files) == {FIRST: ("T2",), SECOND: ()}
        for case in CASES:
            assert set(predicted[case]["image_warnings"]) <= set(entries(tmp_path / name)[case]["warnings"])


def test_where_all_are_there_nothing_changes(cohort, model, tmp_path):
    assert predict(cohort, tmp_path / "plain", model, "--save-probabilities") == 0
    assert predict(cohort, tmp_path / "allowed", model, "--save-probabilities", "--allow-missing", "T1,T2") == 0
    for case in CASES:
        for ending in (".nii.gz", ".npz"):
            one, other = (tmp_path / folder / f"{case}{ending}" for folder in ("plain", "allowed"))
            assert one.read_bytes() == other.read_bytes()
    again = ("--save-probabilities", "--allow-missing", "T2", "--continue")
    assert predict(cohort, tmp_path / "plain", model, *again) == 0  # the flag is no other setting


NO_SUCH_SEQUENCE = "absent: no such sequence"


def test_a_case_must_have_a_sequence_and_others_are_not_excused(cohort, model, tmp_path, capsys, bad_input):
    for modality in MODALITIES:
        file_of(cohort, FIRST, modality).unlink()
    file_of(cohort, SECOND, "flair").unlink()
    assert predict(cohort, tmp_path / "out", model, "--allow-missing", "T2") == 2
    assert f"{SECOND}_flair.nii.gz: missing" in capsys.readouterr().err
    assert predict(cohort, tmp_path / "out", model, "--allow-missing", "PET") == 2
    answer = capsys.readouterr().err
    assert "--allow-missing PET: no such sequence" in answer
    bad_input("predict", NO_SUCH_SEQUENCE, answer)


@pytest.mark.parametrize("how", ["a file that is not there", "an image of zeros"])
def test_nnunet_s_files_may_lack_a_channel_or_hold_zeros(images_ts, cohort, model, tmp_path, how):
    labels = expected(model, images_of(cohort, FIRST, ("t1",)), ("T1",))
    file = images_ts / f"{FIRST}_0000.nii.gz"
    if how == "an image of zeros":
        replace_one(cohort / FIRST, "t1", np.zeros((6, 7, 8), np.int16))
        file.write_bytes(file_of(cohort, FIRST, "t1").read_bytes())
    else:
        file.unlink()
    out = tmp_path / "out"
    assert predict(images_ts, tmp_path / "refused", model) == 2
    assert predict(images_ts, out, model, "--allow-missing", "T1") == 0
    np.testing.assert_array_equal(values_of(out / f"{FIRST}.nii.gz"), labels)
    assert entries(out)[FIRST]["absent"] == ["T1"]
    before = (out / f"{FIRST}.nii.gz").stat().st_mtime_ns
    assert predict(images_ts, out, model, "--allow-missing", "T1", "--continue") == 0
    assert (out / f"{FIRST}.nii.gz").stat().st_mtime_ns == before


def test_one_case_by_its_files(cohort, model, tmp_path, capsys):
    words = [word for m in ("t1ce", "flair") for word in (f"--{m}", str(file_of(cohort, FIRST, m)))]
    arguments = ["predict", *words, "-o", str(tmp_path / "a.nii.gz"), "-m", str(model), "--no-tta"]
    assert main(arguments) == 2
    assert "T1, T2 is missing" in capsys.readouterr().err
    assert main([*arguments, "--allow-missing", "T1,T2"]) == 0
    labels = expected(model, images_of(cohort, FIRST, ("t1", "t2")), ("T1", "T2"))
    np.testing.assert_array_equal(values_of(tmp_path / "a.nii.gz"), labels)


# ---- going on ----


def test_a_sequence_that_has_appeared_or_gone_since_is_noticed(cohort, model, tmp_path, capsys):
    file, out = file_of(cohort, FIRST, "t2"), tmp_path / "out"
    content = file.read_bytes()
    file.unlink()
    predict(cohort, out, model, "--allow-missing", "T2")
    file.write_bytes(content)
    capsys.readouterr()
    assert predict(cohort, out, model, "--allow-missing", "T2", "--continue") == 0
    printed = capsys.readouterr()
    assert f"{FIRST}: its images have changed since" in printed.err and "1 was there" in printed.out
    predict(cohort, tmp_path / "whole", model)
    one, other = (values_of(folder / f"{FIRST}.nii.gz") for folder in (out, tmp_path / "whole"))
    np.testing.assert_array_equal(one, other)
    assert entries(out)[FIRST]["absent"] == []
    file.unlink()
    assert predict(cohort, out, model, "--allow-missing", "T2", "--continue") == 0
    assert entries(out)[FIRST]["absent"] == ["T2"]


# ---- models that know absent sequences, and workers ----


def test_a_model_trained_with_absent_sequences_is_known(model):
    """By the recipe in its plans, which another trainer may follow as well."""
    assert not load_model(model).knows_absent_channels
    plans = json.loads((model / "plans.json").read_text())
    for probability in (0, 0.5):
        (model / "plans.json").write_text(json.dumps({**plans, "resunet_ds": {"modality_dropout": probability}}))
        assert load_model(model).knows_absent_channels is (probability > 0)


def test_a_fold_that_was_trained_without_absent_sequences_counts(model):
    """plans.json of the model is that of the fold that was trained last."""
    plans = {**json.loads((model / "plans.json").read_text()), "resunet_ds": {"modality_dropout": 0.5}}
    (model / "plans.json").write_text(json.dumps(plans))
    file = model / "fold_0" / "checkpoint_final.pth"
    content = torch.load(file, weights_only=False)
    for probability in (0.5, 0.0):
        own = {**plans, "resunet_ds": {"modality_dropout": probability}}
        torch.save({**content, "init_args": {**content["init_args"], "plans": own}}, file)
        assert load_model(model).knows_absent_channels is (probability > 0)


def test_workers_do_the_same(cohort, model, tmp_path, monkeypatch, capsys):
    labels = expected(model, images_of(cohort, FIRST, ("t2",)), ("T2",))
    file_of(cohort, FIRST, "t2").unlink()
    monkeypatch.setattr(on_workers, "_kept", [])
    with ThreadPoolExecutor(1) as pool:
        monkeypatch.setattr(predict_command, "chosen_executor", lambda *_: nullcontext(pool))
        flags = ("--allow-missing", "T2", "--scheduler", "local:1", "-device", "cpu")
        assert predict(cohort, tmp_path / "out", model, *flags) == 0
    assert f"without T2: 1 case, {FIRST}; zeros stand for it" in capsys.readouterr().out
    assert entries(tmp_path / "out")[FIRST]["absent"] == ["T2"]
    np.testing.assert_array_equal(values_of(tmp_path / "out" / f"{FIRST}.nii.gz"), labels)
