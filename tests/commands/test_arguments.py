"""``-d`` takes a number or a name, as nnU-Net's commands do."""

import pytest

from nnunet_resunet_ds.cli import main
from nnunet_resunet_ds.commands.arguments import id_and_name


def test_number_and_name():
    assert id_and_name("7") == (7, None) and id_and_name("137") == (137, None)
    assert id_and_name("Dataset007_Brats_2021") == (7, "Brats_2021")


def test_convert_and_splits_take_either(cohort, raw):
    assert main(["convert", str(cohort), "-d", "Dataset138_Mine"]) == 0
    assert (raw / "Dataset138_Mine" / "dataset.json").is_file()
    for given, folds in (("Dataset138_Mine", []), ("138", ["--overwrite"])):
        assert main(["splits", "-d", given, "--folds", "2", *folds]) == 0


def test_a_model_is_found_by_the_name_of_its_dataset(trained, capsys):
    model, _ = trained
    for given in ("137", "Dataset137_BraTS2021"):
        assert main(["tune", "-d", given, "--no-tta"]) == 0
    assert f"wrote {model / 'postprocessing.json'}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["splits", "-d", "Dataset137_Other"], "Dataset137_Other is not there; dataset 137 is Dataset137_BraTS2021"),
        (["splits", "-d", "BraTS2021"], "'BraTS2021' is no dataset; give its number"),
        (["splits", "-d", "-3"], "-d"),
        (["doctor", "-d", "Dataset137"], "'Dataset137' is no dataset"),
    ],
)
def test_what_is_no_dataset_is_named(dataset, capsys, words, message):
    with pytest.raises(SystemExit) as raised:
        main(words)
    assert raised.value.code == 2 and message in capsys.readouterr().err


def test_two_names_are_refused(cohort, raw, capsys):
    assert main(["convert", str(cohort), "-d", "Dataset138_Mine", "-n", "Yours"]) == 2
    assert "names the dataset Mine, and -n Yours" in capsys.readouterr().err
