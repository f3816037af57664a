"""Ablations on made-up plans, and runs as they lie on disk, for the tests."""

import json

from nnunet_resunet_ds.evaluation.protocols import protocol_named
from nnunet_resunet_ds.experiments.ablation.rungs import RUNGS, Training
from nnunet_resunet_ds.experiments.ablation.settings import Settings
from nnunet_resunet_ds.experiments.ablation.training_runs import Run

SMALL = {"patch_size": [16, 16, 128], "width": 0.125, "recipe": {"epochs": 3}}


def settings(dataset, **others):
    plans, _, folder = dataset
    (folder / "nnUNetPlans.json").write_text(json.dumps(plans))
    for name in ("imagesTr", "labelsTr"):
        (folder.parents[1] / "nnUNet_raw" / folder.name / name).mkdir(parents=True, exist_ok=True)
    return Settings(dataset_id=137, **{**SMALL, **others})


def run_of(of, rung, seed=1, fold=0):
    return Run(of, Training.of(RUNGS[rung]), seed, fold)


def finish(run, dice, epochs=3):
    """Leave what a finished run leaves; dice: case → Dice in all regions, or one a preset and case."""
    for preset in run.presets:
        write_metrics(run.metrics(preset), dice.get(preset, dice))
    run.predictions.mkdir(parents=True, exist_ok=True)
    cases = {case: {"network_seconds": 2.0} for case in dice.get("none", dice)}
    (run.predictions / "run.json").write_text(json.dumps({"cases": cases}))
    run.fold_folder.mkdir(parents=True, exist_ok=True)
    record = {
        "versions": {"nnunet-resunet-ds": "9.9"}, "machine": "2 cores of test", "epochs": epochs,
        "seconds_per_epoch": 7.5, "peak_memory_mib": {"process": 900.0, "gpu": None},
    }  # fmt: skip
    (run.fold_folder / "run.json").write_text(json.dumps(record))
    rows = [f"{epoch},{1 / (epoch + run.seed)},{0.5},{0.5}" for epoch in range(epochs)]
    (run.fold_folder / "heads.csv").write_text("\n".join(["epoch,loss_1,loss_total,dice_1", *rows]) + "\n")


def write_metrics(path, dice):
    protocol = protocol_named("brats2023-gli")
    cases = {
        case: {region: {**dict.fromkeys(protocol.metrics, 1.0), "dice": value} for region in protocol.regions}
        for case, value in dice.items()
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"protocol": protocol.name, "cases": cases}))
