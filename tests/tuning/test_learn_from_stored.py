"""Learning the Dice to expect from stored cases: the same numbers as of the whole image, and what is kept."""

import numpy as np
import pytest

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.regions import REGIONS
from nnunet_resunet_ds.evaluation.dice import region_dice
from nnunet_resunet_ds.tuning.learn_from_stored import (
    keep_expected_dice,
    learn_from_stored,
    learnt_lines,
    stored_known_case,
)
from nnunet_resunet_ds.tuning.stored_case import cropped_case, write_stored_case
from nnunet_resunet_ds.uncertainty.expected_dice import EXPECTED_DICE, ExpectedDiceModel, read_expected_dice
from nnunet_resunet_ds.uncertainty.region_certainty import certainty_of_regions
from postprocessing import PostprocessingConfig, postprocess

CONFIG = PostprocessingConfig(tuned_on=(("0", "aaaa"),))
SPACING = (1.0, 1.5, 2.0)


def made_up(seed, shape=(20, 22, 24)):
    """Probabilities (3, Z, Y, X) of a nested tumour in the middle, haze around it, and a reference a little off."""
    random = np.random.default_rng(seed)
    distance = np.linalg.norm(np.indices(shape).T - np.array(shape) / 2, axis=-1).T
    blur = random.uniform(0.3, 2)
    probabilities = np.stack([1 / (1 + np.exp((distance - radius) / blur)) for radius in (7, 5, 3)])
    reference = np.zeros(shape, np.uint8)
    for value, radius in ((1, 7), (2, 5), (3, 3)):
        reference[distance + blur * random.standard_normal(shape) < radius] = value
    return probabilities.astype(np.float32), reference


@pytest.fixture
def stored(tmp_path):
    files = [tmp_path / f"{number}.npz" for number in range(10)]
    for seed, file in enumerate(files):
        write_stored_case(cropped_case(*made_up(seed), (3.0, 1.0, 1.0)), file)
    return files


def test_a_stored_case_says_what_the_whole_image_does(stored):
    """Cropping must not change what is learnt: prediction looks at the whole image."""
    for seed, file in enumerate(stored):
        probabilities, reference = made_up(seed)
        labels = postprocess(probabilities, CONFIG)
        found = stored_known_case((file, "0"), CONFIG, REGIONS)
        whole = certainty_of_regions(labels, probabilities, REGIONS, 3.0)
        assert {name: numbers.to_mapping() for name, numbers in found.certainty.items()} == {
            name: numbers.to_mapping() for name, numbers in whole.items()
        }
        assert found.dice == region_dice(reference, labels)
        assert found.volumes == {region.name: region.mask(reference).sum() * 3.0 for region in REGIONS}


def test_what_is_learnt_is_kept_with_the_weights_and_told(stored, tmp_path):
    model = learn_from_stored(stored, ["0", "1"] * 5, CONFIG, REGIONS)
    assert list(model.regions) == ["WT", "TC", "ET"] and model.tuned_on == CONFIG.tuned_on
    keep_expected_dice(model, tmp_path)
    assert read_expected_dice(tmp_path) == model
    title, header, *rows = learnt_lines(model)
    assert "Dice to expect" in title and header.split()[:2] == ["region", "cases"] and len(rows) == 3
    assert rows[0].split()[:2] == ["WT", "10"]


def test_where_nothing_is_learnt_nothing_stays(stored, tmp_path):
    (tmp_path / EXPECTED_DICE).write_text("of an earlier tuning")
    model = learn_from_stored(stored[:5], ["0"] * 5, CONFIG, REGIONS)
    keep_expected_dice(model, tmp_path)
    assert model == ExpectedDiceModel({}, CONFIG.tuned_on) and not (tmp_path / EXPECTED_DICE).exists()
    assert list(learnt_lines(model)) == ["no Dice to expect is learnt: that takes 8 predictions that have the region"]


def test_a_damaged_case_is_named(stored):
    stored[3].write_bytes(b"PK")
    with pytest.raises(InputError, match=r"3\.npz: damaged .*it is made again"):
        learn_from_stored(stored, ["0"] * 10, CONFIG, REGIONS)
