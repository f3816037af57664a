"""The rungs of the ablation: what each trains, what is refused, and what is run and skipped."""

import json
import logging
import sys
from itertools import pairwise

import pytest
from ablations import finish, run_of, settings

from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import read_json
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.cluster.jobs import CommandError, shell_line
from nnunet_resunet_ds.experiments.ablation import run_ladder
from nnunet_resunet_ds.experiments.ablation.outcomes import finished_rows
from nnunet_resunet_ds.experiments.ablation.run_ladder import check, commands, run_all
from nnunet_resunet_ds.experiments.ablation.rungs import (
    FACTORS,
    LADDER,
    RUNGS,
    SYSTEMS,
    Training,
    check_rungs,
    rungs_named,
    written_plans,
)
from nnunet_resunet_ds.experiments.ablation.settings import check_settings, keep_settings
from nnunet_resunet_ds.experiments.ablation.training_runs import commands_left, link_images, plan_command, runs_of
from nnunet_resunet_ds.training.planning.adapted_plans import with_res_unet_ds

# ---- rungs ----


def test_the_ladder_is_the_paper_s():
    assert [rung.name for rung in LADDER] == [
        "baseline", "+deep-supervision", "+depth", "+channels", "+salient-channel", "+focal-loss", "+residual",
        "+post-processing",
    ]  # fmt: skip
    for lower, upper in pairwise(LADDER):
        assert lower.factors < upper.factors and len(upper.factors - lower.factors) == 1
        assert upper.neighbour == lower.name
    assert LADDER[-1].factors == set(FACTORS)
    assert [rung.trainer for rung in SYSTEMS] == [
        "BraTSUNetTrainer", "BraTSResUNetVAETrainer", "BraTSAttentionUNetTrainer", "BraTSUNETRTrainer"
    ]  # fmt: skip


def test_rungs_are_named_singly_or_by_group_and_come_in_the_order_of_the_table():
    assert rungs_named(["UNETR", "+depth", "baseline"]) == [RUNGS[name] for name in ("baseline", "+depth", "UNETR")]
    assert rungs_named(["ladder", "+depth"]) == list(LADDER)
    assert len(rungs_named(["ladder", "alone", "systems"])) == 8 + 6 + 4
    assert [rung.name for rung in rungs_named(["alone"])] == ["+deep-supervision", *FACTORS[1:]]
    with pytest.raises(InputError, match=r"no rung 'deep'; valid are ladder, alone, systems, baseline, \+deep-sup"):
        rungs_named(["deep"])


def test_the_whole_method_is_what_the_trainer_makes_of_stock_plans(dataset):
    of = settings(dataset, patch_size=None, width=1.0, recipe={})
    plans = written_plans(Training.of(RUNGS["+post-processing"]), of, seed=3)
    default = with_res_unet_ds(dataset[0], "3d_fullres").plans
    assert plans["configurations"] == json.loads(json.dumps(default["configurations"]))
    assert plans["resunet_ds"] == {"gamma": 2.0, "seed": 3}


def test_the_baseline_is_nnu_net_s_plain_u_net_with_one_output(dataset):
    plans = written_plans(Training.of(RUNGS["baseline"]), settings(dataset, patch_size=None, width=1.0), seed=1)
    network = plans["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    assert network["features_per_stage"] == [32, 64, 128, 256, 320, 320]
    assert (network["n_heads"], network["salient_channel"], network["residual"]) == (1, False, False)
    assert plans["resunet_ds"]["gamma"] == 0


CHANGES = {
    "deep-supervision": {"n_heads"},
    "depth": {"features_per_stage", "strides"},
    "channels": {"features_per_stage"},
    "salient-channel": {"salient_channel"},
    "focal-loss": {"gamma"},
    "residual": {"residual"},
    "post-processing": set(),
}


@pytest.mark.parametrize("rung", [rung for rung in RUNGS.values() if rung.neighbour], ids=lambda rung: rung.name)
def test_a_rung_differs_from_its_neighbour_in_its_factor_alone(dataset, rung):
    def parts(of):
        plans = written_plans(Training.of(of), settings(dataset), seed=1)
        configuration = plans["configurations"]["3d_fullres"]
        others = {key: value for key, value in configuration.items() if key != "architecture"}
        return configuration["architecture"]["arch_kwargs"] | plans["resunet_ds"], others

    (mine, rest), (other, other_rest) = parts(rung), parts(RUNGS[rung.neighbour])
    assert rest == other_rest
    assert {key for key in mine if mine[key] != other[key]} == CHANGES[rung.name.removeprefix("+")]


@pytest.mark.parametrize("rung", ["baseline", "+channels", "residual", "UNETR"])
def test_the_command_that_is_printed_writes_the_plans_that_were_checked(dataset, rung):
    recipe = {"epochs": 7, "initial_lr": 2e-3, "region_weights": [1.0, 1.5, 3.0], "precision": "fp32"}
    run = run_of(settings(dataset, recipe=recipe), rung, seed=5)
    assert main(plan_command(run)[1:]) == 0
    assert read_json(run.plans_file) == written_plans(run.training, run.settings, run.seed)


# ---- what is refused ----


def test_a_rung_that_would_train_what_its_neighbour_trains_is_refused(dataset):
    of = settings(dataset, patch_size=[64, 64, 64])
    with pytest.raises(InputError) as refused:
        check_rungs(list(LADDER), of)
    assert str(refused.value).splitlines() == [
        "+depth: has the plans of +deep-supervision, for the patch [64, 64, 64] fits 6 stages alone: give a patch with "
        "an axis of 128, or leave the rung out",
        "choose rungs with --only",
    ]
    check_rungs(rungs_named(["baseline", "+deep-supervision", "+post-processing", "post-processing"]), of)
    check_rungs(list(LADDER), settings(dataset))


def test_where_nothing_marks_the_brain_the_rung_of_the_channel_has_nothing_to_add(dataset):
    dataset[0]["configurations"]["3d_fullres"]["use_mask_for_norm"] = [False] * 4
    of = settings(dataset)
    with pytest.raises(InputError) as refused:
        check_rungs(list(RUNGS.values()), of)
    lines = str(refused.value).splitlines()
    assert [line.partition(" the plans of")[0] for line in lines[:-1]] == [
        "+salient-channel: has", "salient-channel: has"
    ]  # fmt: skip
    assert "+channels, for no zero background marks the brain: leave the rung out. The network gets no" in lines[0]
    check_rungs(rungs_named(["baseline", "+channels", "+focal-loss", "+post-processing"]), of)
    run = run_of(of, "+focal-loss")
    assert main(plan_command(run)[1:]) == 0
    assert read_json(run.plans_file) == written_plans(run.training, run.settings, run.seed)


def test_a_depth_that_does_not_fit_is_said_to_be_the_patch_s_fault_there_as_well(dataset):
    dataset[0]["configurations"]["3d_fullres"]["use_mask_for_norm"] = [False] * 4
    with pytest.raises(InputError, match=r"\+depth: .*for the patch \[64, 64, 64\] fits 6 stages alone"):
        check_rungs([RUNGS["+depth"]], settings(dataset, patch_size=[64, 64, 64]))


@pytest.fixture
def gtv(dataset):
    """The dataset with the one region of radiotherapy."""
    content = {**dataset[1], "labels": {"background": 0, "gross tumor volume": [1, 1]}, "regions_class_order": [1]}
    (dataset[2] / "dataset.json").write_text(json.dumps(content))
    return dataset


def test_of_other_regions_the_paper_s_post_processing_is_left_out(gtv):
    of = settings(gtv, protocol="brats2024-menrt")
    checked(of, "baseline", "+residual", "UNet")
    with pytest.raises(InputError) as refused:
        checked(of, "+post-processing", "post-processing")
    lines = str(refused.value).splitlines()
    assert len(lines) == 3
    assert all("are for WT, TC and ET, and this dataset has other regions" in line for line in lines[:2])
    run = run_of(of, "UNet")
    words = [word for command in commands_left(run, "cpu") for word in command]
    assert "none" in words and "paper" not in words
    finish(run, {"a": 0.5})
    assert [len(row.outcomes) for row in finished_rows(of) if row.rung.name == "UNet"] == [1]


def test_of_other_regions_the_protocol_must_have_the_regions(gtv):
    """Value 1 is NCR by the usual protocol, and a number of it would be wrong."""
    with pytest.raises(InputError, match=r"regions are gross tumor volume, and .* scores WT, TC, ET; choose"):
        checked(settings(gtv), "baseline")


def test_a_system_that_cannot_be_trained_is_named_with_what_would_do(dataset, monkeypatch):
    with pytest.raises(InputError, match=r"UNETR: UNETR's tokens .* \[16, 16, 128\] and \[32, 16, 128\]"):
        check_rungs(rungs_named(["systems"]), settings(dataset, patch_size=[24, 16, 128]))
    monkeypatch.setitem(sys.modules, "monai", None)
    with pytest.raises(InputError) as refused:
        check_rungs(rungs_named(["systems"]), settings(dataset))
    lines = str(refused.value).splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == ["ResUNetVAE", "AttentionUNet", "UNETR"]
    assert "pip install 'nnunet-resunet-ds[comparison]'" in lines[0]


def test_other_settings_or_another_format_are_not_gone_on_with(dataset):
    of = settings(dataset)
    keep_settings(of)
    check_settings(settings(dataset, patch_size=(16, 16, 128)))
    with pytest.raises(InputError, match=r"was begun with width 0\.125, not 0\.25: .* another --name"):
        check_settings(settings(dataset, width=0.25))
    (of.folder / "ablation.json").write_text('{"format": 0}')
    with pytest.raises(InputError, match="another version of this package"):
        checked(of, "baseline")


def test_a_split_that_was_changed_since_is_refused(dataset):
    of, file = settings(dataset), dataset[2] / "splits_final.json"
    keep_settings(of)  # before nnU-Net has made one
    file.write_text(json.dumps([{"train": ["a"], "val": ["b", "c"]}]))
    check_settings(of)
    keep_settings(of)
    file.write_text(json.dumps([{"train": ["a"], "val": ["c", "b"]}]))
    check_settings(of)
    file.write_text(json.dumps([{"train": ["b"], "val": ["a", "c"]}]))
    with pytest.raises(InputError, match=r"was begun with another split than splits_final\.json has now"):
        check_settings(of)


def test_a_protocol_of_other_labels_is_refused_before_anything_is_trained(dataset):
    with pytest.raises(InputError, match=r"labelsTr: label values .* have no counterpart in .* --protocol"):
        checked(settings(dataset, protocol="brats2024-menrt"), "baseline")


def checked(of, *names):
    rungs = [RUNGS[name] for name in names]
    return check(of, rungs, runs_of(of, rungs, [1], [0]))


def test_a_training_that_another_version_half_finished_is_refused(dataset):
    of = settings(dataset)
    run = run_of(of, "baseline")
    run.fold_folder.mkdir(parents=True)
    (run.fold_folder / "checkpoint_latest.pth").touch()
    with pytest.raises(InputError, match=rf"fold_0: is half trained by an unknown .* this is {__version__}"):
        checked(of, "baseline")
    (run.fold_folder / "run.json").write_text('{"versions": {"nnunet-resunet-ds": "0.0.7"}}')
    with pytest.raises(InputError, match=r"half trained by 0\.0\.7 .*finish it with that version, or remove"):
        checked(of, "baseline")
    (run.fold_folder / "checkpoint_final.pth").touch()
    checked(of, "baseline")


def test_plans_of_other_content_by_the_same_name_are_refused(dataset):
    of = settings(dataset)
    run = run_of(of, "baseline")
    main(plan_command(run)[1:])
    checked(of, "baseline", "+depth")
    run.plans_file.write_text(run.plans_file.read_text().replace('"batch_size": 2', '"batch_size": 4'))
    with pytest.raises(InputError, match=r"Ablation-baseline-seed1\.json: is not what would be trained now"):
        checked(of, "baseline")


def test_a_dataset_without_its_raw_files_is_refused(dataset):
    of = settings(dataset)
    (of.raw / "labelsTr").rmdir()
    with pytest.raises(InputError, match=r"labelsTr: is not there, .* bring it back"):
        checked(of, "baseline")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--only", "depht"], "there is no rung 'depht'; valid are ladder, alone, systems, baseline"),
        (["-f", "7"], "fold 7 is not there: nnU-Net makes folds 0 to 4"),
        (["--width", "0"], "the width must be a number from 0.015625 to 1; got 0.0"),
        (["--name", "a/b"], "the name of the ablation may have letters"),
        (["--epochs", "0"], "epochs must be a whole number of at least 1"),
        (["--protocol", "brats1999"], "brats1999"),
        (["-d", "138"], "no dataset with ID 138"),
        (["-p", "Other"], "Other.json: no such plans"),
        (["--seeds", "-1"], "seed must be a whole number from 0"),
    ],
)
def test_bad_input_is_one_line_and_code_2(dataset, capsys, flags, message):
    settings(dataset)
    assert main(["ablation", "-d", "137", "--only", "baseline", "--patch-size", "16", "16", "128", *flags]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert message in lines[0] and len(lines) <= 2
    assert not list((dataset[2].parents[1] / "nnUNet_results").iterdir())


# ---- what is run ----


def test_a_dry_run_names_every_command_and_writes_nothing(dataset, monkeypatch):
    for name in ("nnUNet_n_proc_DA", "nnUNet_def_n_proc"):
        monkeypatch.delenv(name, raising=False)
    of = settings(dataset)
    lines = list(commands(of, rungs_named(["baseline", "post-processing", "UNETR"]), [1, 2], [0], "cpu"))
    trained = [line for line in lines if "nnUNetv2_train" in line]
    assert len(trained) == 4 and len(lines) == 4 * 7  # post-processing shares the training of the baseline
    assert trained[0] == (
        "nnUNet_def_n_proc=2 nnUNet_n_proc_DA=0 nnUNetv2_train 137 3d_fullres 0 -tr ResUNetDSTrainer "
        "-p Ablation-baseline-seed1 -device cpu"
    )
    assert "-tr BraTSUNETRTrainer -p Ablation-full-seed2" in trained[-1]
    assert not of.results.exists()


@pytest.fixture
def stand_in(dataset, monkeypatch, nnunet_folders):
    """Commands that leave the files of the real ones: the words of each that was run, and a set of runs to fail."""
    of = settings(dataset)
    raw = nnunet_folders / "nnUNet_raw" / "Dataset137_BraTS2021"
    for case in ("a", "b"):
        for channel in range(4):
            (raw / "imagesTr" / f"{case}_{channel:04d}.nii.gz").touch()
    (dataset[2] / "splits_final.json").write_text(json.dumps([{"train": ["c"], "val": ["a", "b"]}]))
    ran, failing = [], set()

    def run_command(command, variables, log, look):
        ran.append(command)
        if command[1] == "plan":
            main(command[1:])
        elif command[0] == "nnUNetv2_train":
            plans = command[command.index("-p") + 1]
            if plans in failing:
                msg = f"nnUNetv2_train failed with {plans}"
                raise CommandError(msg)
            of = next(run for run in runs if run.plans_name == plans)
            finish(of, {"a": 0.5, "b": 0.75})
            for preset in ("none", "paper"):
                of.metrics(preset).unlink()
            (of.fold_folder / "checkpoint_final.pth").touch()
        elif command[1] == "predict":
            of = next(run for run in runs if str(run.predictions) in command)
            assert sorted(link.name for link in of.images.iterdir())[:2] == ["a_0000.nii.gz", "a_0001.nii.gz"]
            (of.predictions / "a.npz").touch()
        elif command[1] == "evaluate":
            of = next(run for run in runs for preset in ("none", "paper") if str(run.metrics(preset)) in command)
            metrics = {preset: of.metrics(preset).is_file() for preset in ("none", "paper")}
            finish(of, {"a": 0.5, "b": 0.75})
            if not metrics["none"]:
                of.metrics("paper").unlink()
        look()

    monkeypatch.setattr(run_ladder, "run_command", run_command)
    runs = runs_of(of, rungs_named(["baseline", "+deep-supervision"]), [1, 2], [0])
    return runs, ran, failing


def test_what_is_finished_is_skipped_and_a_failure_does_not_stop_the_others(stand_in, caplog):
    caplog.set_level(logging.INFO, LOG.name)
    runs, ran, failing = stand_in
    failing.add("Ablation-ds-seed1")
    failures = run_all(runs, "cpu")
    assert list(failures) == ["ResUNetDSTrainer ds, seed 1, fold 0"]
    trained = [command[command.index("-p") + 1] for command in ran if command[0] == "nnUNetv2_train"]
    assert trained == [f"Ablation-{name}-seed{seed}" for seed in (1, 2) for name in ("baseline", "ds")]
    assert "failed: " in caplog.text and f"$ {shell_line(ran[0], {})}" in caplog.messages
    assert not list(runs[0].folder.rglob("*.npz")) and not runs[0].images.exists()

    failing.clear()
    ran.clear()
    assert run_all(runs, "cpu") == {}
    assert [command[:2] for command in ran] == [
        ["nnUNetv2_train", "137"], ["resunet-ds", "predict"],
        *[["resunet-ds", "postprocess"], ["resunet-ds", "evaluate"]] * 2,
    ]  # fmt: skip
    ran.clear()
    assert run_all(runs, "cpu") == {} and ran == []


def test_a_begun_training_is_continued_and_a_finished_one_only_predicted(dataset):
    run = run_of(settings(dataset), "baseline")
    main(plan_command(run)[1:])
    run.fold_folder.mkdir(parents=True)
    (run.fold_folder / "checkpoint_best.pth").touch()
    assert next(words[-1] for words in commands_left(run, "cpu")) == "--c"
    (run.fold_folder / "checkpoint_final.pth").touch()
    assert next(words[1] for words in commands_left(run, "cpu")) == "predict"


def test_epochs_of_a_stopped_training_count_as_done(dataset):
    run = run_of(settings(dataset), "baseline")
    assert run.epochs_done == 0
    finish(run, {"a": 0.5}, epochs=2)
    for preset in ("none", "paper"):
        run.metrics(preset).unlink()
    assert run.epochs_done == 2
    (run.fold_folder / "checkpoint_final.pth").touch()
    assert run.epochs_done == 3


def test_images_of_a_fold_that_are_not_there_are_named(dataset):
    (dataset[2] / "splits_final.json").write_text(json.dumps([{"train": ["b"], "val": ["a"]}]))
    run = run_of(settings(dataset), "baseline")
    folder = run.settings.raw / "imagesTr"
    with pytest.raises(InputError, match=r"imagesTr: has no images of a, which fold 0 is validated on"):
        link_images(run)
    (folder / "a_0000.nii.gz").touch()
    link_images(run)
    link_images(run)  # again, as after a stop
    assert [link.name for link in run.images.iterdir()] == ["a_0000.nii.gz"]
