"""How well the Dice to expect tells spoilt cases apart: the corruptions, and what is made of outcomes."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from nnunet_resunet_ds.demo.phantom import make_phantom
from nnunet_resunet_ds.experiments.calibration import __main__ as command
from nnunet_resunet_ds.experiments.calibration.corruptions import CORRUPTIONS, MOST_CUT, MOST_NOISE
from nnunet_resunet_ds.experiments.calibration.measure import Outcome, area_under_curve, learn, outcomes, table
from postprocessing import PostprocessingConfig, postprocess


@pytest.fixture(scope="module")
def images():
    return make_phantom(1).images.astype(np.float64)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_degree_0_changes_nothing_and_more_changes_more(images, name):
    def changed(degree):
        return np.abs(CORRUPTIONS[name](images, degree, np.random.default_rng(3)) - images).mean()

    assert changed(0) == pytest.approx(0, abs=1e-9)
    assert 0 < changed(0.5) < changed(1)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_the_background_stays_and_so_do_the_images_that_were_given(images, name):
    before = images.copy()
    spoilt = CORRUPTIONS[name](images, 1.0, np.random.default_rng(3))
    assert spoilt.shape == images.shape and not spoilt[:, ~(images != 0).any(axis=0)].any()
    np.testing.assert_array_equal(images, before)


def test_corruptions_are_of_the_size_that_they_say(images):
    random = np.random.default_rng
    brain = images != 0
    added = (CORRUPTIONS["noise"](images, 0.5, random(1)) - images)[brain]
    assert added.std() == pytest.approx(0.5 * MOST_NOISE * images[brain].std(), rel=0.01)
    half = CORRUPTIONS["wrong modality"](images, 0.5, random(1))
    assert sum((one == other).all() for one, other in zip(half, images, strict=True)) == 2
    all_of_them = CORRUPTIONS["wrong modality"](images, 1.0, random(1))
    assert sorted(map(np.sum, all_of_them)) == sorted(map(np.sum, images))
    assert not any((one == other).all() for one, other in zip(all_of_them, images, strict=True))
    cut = CORRUPTIONS["cut field of view"](images, 1.0, random(1))
    extents = [
        [np.ptp(np.flatnonzero(volume.any(axis=tuple({0, 1, 2, 3} - {axis})))) + 1 for axis in (1, 2, 3)]
        for volume in (cut, images)
    ]
    assert min(a / b for a, b in zip(*extents, strict=True)) == pytest.approx(1 - MOST_CUT, abs=0.03)


class SeesContrast:
    """Stands for a predictor: the noisier the images, the less it sees of the tumour that T1ce and FLAIR show."""

    def predict_case(self, images, spacing):
        assert spacing == (1.0, 1.0, 1.0) and images.dtype == np.float32
        brain = images[0] != 0
        z = [(gaussian_filter(image, 1) - image[brain].mean()) / image[brain].std() for image in images]
        sure = 4 / (1 + images[3][brain].std() / 200)
        probabilities = np.stack([1 / (1 + np.exp(-sure * (z[3] - limit))) for limit in (1.0, 1.5, 2.0)]) * brain
        return postprocess(probabilities, PostprocessingConfig.paper()), probabilities


def test_it_learns_from_clean_phantoms_and_measures_spoilt_ones():
    model = learn(SeesContrast(), 8)
    found = list(outcomes(SeesContrast(), model, [8, 9], degrees=(0.5, 1.0)))
    assert {one.corruption for one in found} == {"clean", *CORRUPTIONS}
    assert len([one for one in found if one.region == "WT"]) == 2 * (1 + 4 * 2)
    assert all(0 <= value <= 1 for one in found for value in (one.expected, one.reached))


def test_the_area_under_the_curve_counts_pairs_in_order(tmp_path):
    found = [
        Outcome("noise", "WT", expected, reached)
        for expected, reached in ((0.9, 0.8), (0.5, 0.9), (0.6, 0.3), (0.2, 0.1))
    ]
    assert (
        area_under_curve(found) == 3 / 4
    )  # of four pairs of a bad and a good one, 0.6 and 0.5 stand the wrong way round
    found += [Outcome("clean", region, expected, expected) for region in ("TC", "ET") for expected in (0.9, 0.1)]
    _, *rows = table(found)
    assert [row.split()[0] for row in rows] == ["WT", "TC", "ET", "all"]
    assert rows[0].split()[1:] == ["4", "2", "0.750", "0.225"] and rows[1].split()[1:] == ["2", "1", "1.000", "0.000"]
    command.draw(found, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")


def test_too_few_cases_are_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["calibration", "model", "-n", "3"])
    with pytest.raises(SystemExit):
        command.main()
    assert "nothing is learnt from fewer than 8 cases" in capsys.readouterr().err
