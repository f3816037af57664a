"""Settings that differ are told in words and with the flag that sets them."""

import pytest

from nnunet_resunet_ds.base.setting_changes import told_changes
from nnunet_resunet_ds.cli import COMMANDS, _parser
from nnunet_resunet_ds.inference.prediction_settings import PredictionSettings

MODEL = {"name": "A", "checkpoint": "checkpoint_final.pth", "weights": {"0": "x", "1": "y"}}
STEP = {"step": "components", "region": "ET", "voxels": 16, "probability": 0.9}
POST = "post-processing (--config, --preset or a flag of it): "
TOLD = {
    "flips": ("use_mirroring", True, False, "flips (--no-tta): then with, now without"),
    "average": ("average", "logits", "probabilities", "average (--average): then logits, now probabilities"),
    "tiles": ("tiles", "whole", "overlapping", "tiles (--tiles): then whole, now overlapping"),
    "step": ("tile_step", 0.5, 0.25, "step between tiles (--tile-step): then 0.5, now 0.25"),
    "model": ("models", [MODEL], [MODEL | {"name": "B"}], "model (-d, -tr, -p, -c or -m): then A, now B"),
    "ensemble": ("models", [MODEL], [MODEL, MODEL], "model (-d, -tr, -p, -c or -m): then A, now A and A"),
    "file": ("models", [MODEL], [MODEL | {"checkpoint": "b.pth"}],
             "file of weights (-chk): then checkpoint_final.pth, now b.pth"),
    "folds": ("models", [MODEL], [MODEL | {"weights": {"0": "x"}}], "folds (-f): then 0, 1, now 0"),
    "weights": ("models", [MODEL], [MODEL | {"weights": {"0": "x", "1": "z"}}],
                "weights of the model: trained again since then"),
    "threshold": ("postprocessing", {"wt": 0.45, "tc": 0.4}, {"wt": 0.2, "tc": 0.4}, f"{POST}wt then 0.45, now 0.2"),
    "number": ("postprocessing", {"steps": [STEP]}, {"steps": [STEP | {"voxels": 30}]},
               f"{POST}ET components voxels then 16, now 30"),
    "a step less": ("postprocessing", {"steps": [STEP]}, {"steps": []},
                    f"{POST}ET components voxels then 16, now off, ET components probability then 0.9, now off"),
    "order": ("postprocessing", {"steps": [STEP, STEP | {"region": "WT"}]},
              {"steps": [STEP | {"region": "WT"}, STEP]}, f"{POST}another order of steps then"),
    "labels": ("labels", "2021", "nnunet", "label values (--labels, of submission --edition): then 2021, now nnunet"),
    "edition": ("custom_edition", None, {"a": 1}, "custom edition (--edition-file): then none, now another"),
    "command": ("made_by", "resunet-ds predict", "resunet-ds postprocess",
                "command: then resunet-ds predict, now resunet-ds postprocess"),
    "regions": ("regions", {"GTV": [1]}, {"GTV": [1], "RC": [2]}, "regions: then GTV, now GTV, RC"),
    "unknown": ("of_a_later_version", 1, 2, "of_a_later_version: then 1, now 2"),
    "long": ("of_a_later_version", "a" * 99, "b" * 99, "of_a_later_version: another then"),
    "damaged": ("postprocessing", 1, {"wt": 0.2}, f"{POST}another then"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TOLD)
def test_a_setting_is_told_in_words(kind):
    name, then, now, told = TOLD[kind]
    assert told_changes({name: then}, {name: now}) == told


def test_every_setting_of_a_prediction_has_words_and_its_flags_are_there(capsys):
    known = {name for name, *_ in TOLD.values()}
    assert PredictionSettings(models=()).recorded([]).keys() <= known
    with pytest.raises(SystemExit):
        _parser().parse_args(["predict", "--help"])
    flags = capsys.readouterr().out
    for flag in ("--no-tta", "--average", "--tiles", "--tile-step", "--config", "--preset", "-chk", "-f", "-tr", "-p"):
        assert f"{flag} " in flags or f"{flag}\n" in flags
    assert "predict" in COMMANDS
