import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from nnunet_resunet_ds.evaluation.lesions import lesion_dice

GOLDEN = Path(__file__).parents[2] / "shared" / "golden"
REGIONS = {"WT": (1, 2, 3), "TC": (1, 3), "ET": (3,)}


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="no official numbers beside the project")
def test_it_is_the_official_number():
    compared = 0
    for file in GOLDEN.glob("[0-9]*.json"):
        official = json.loads(file.read_text())
        scores = official.get("brats2023", {}).get("BraTS-GLI")
        if not scores:
            continue
        arrays = np.load(file.with_suffix(".npz"))
        volume = float(np.prod(official["spacing_mm"]))
        for region, labels in REGIONS.items():
            found = lesion_dice(np.isin(arrays["gt"], labels), np.isin(arrays["pred"], labels), volume)
            assert found == pytest.approx(scores[region]["LesionWise_Score_Dice"], abs=1e-9), (file.name, region)
            compared += 1
    assert compared >= 9


def by_the_book(reference, prediction, dilations, min_volume):
    """The algorithm as described, lesion by lesion."""
    neighbours, corners = ndimage.generate_binary_structure(3, 2), np.ones((3, 3, 3))

    def dilate(mask):
        return ndimage.binary_dilation(mask, neighbours, iterations=dilations) if dilations else mask

    zones, n_zones = ndimage.label(dilate(reference), corners)
    components, n_components = ndimage.label(prediction, corners)
    matched, scores = set(), []
    for zone in range(1, n_zones + 1):
        lesion = reference & (zones == zone)
        ids = set(np.unique(components[dilate(lesion)])) - {0}
        matched |= ids
        if lesion.sum() > min_volume:
            union = np.isin(components, list(ids))
            scores.append(2 * (lesion & union).sum() / (lesion.sum() + union.sum()))
    n = len(scores) + n_components - len(matched)
    return sum(scores) / n if n else 1.0


sparse = hnp.arrays(np.bool_, (9, 8, 12), elements=st.sampled_from([False] * 12 + [True]))


@settings(max_examples=80)
@given(sparse, sparse, st.integers(0, 2), st.integers(0, 3))
def test_it_equals_the_description_lesion_by_lesion(reference, prediction, dilations, min_volume):
    # the volume ends where dilation would go on: both stop there
    assert lesion_dice(reference, prediction, 1.0, dilations, min_volume) == pytest.approx(
        by_the_book(np.pad(reference, 3), np.pad(prediction, 3), dilations, min_volume)
    )


def test_empty_regions():
    none, some = np.zeros((5, 5, 5), bool), np.zeros((5, 5, 5), bool)
    some[2] = True
    assert lesion_dice(none, none, 1) == 1
    assert lesion_dice(none, some, 1) == 0
    assert lesion_dice(some, none, 1) == 1  # 25 mm³ are too few to count
    assert lesion_dice(some, none, 3) == 0
    assert lesion_dice(some, some, 3) == 1
