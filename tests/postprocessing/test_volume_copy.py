"""A copy of a volume changes on its own, and finds no components again."""

import cc3d
import numpy as np

from postprocessing.volume import Moves, Volume


def test_a_copy_changes_on_its_own_and_knows_the_components(monkeypatch):
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 1, 1:3], labels[3, 3, 3] = 3, 1
    volume = Volume(labels, np.ones((3, *labels.shape), np.float32), 6)
    found = volume.components("WT")
    monkeypatch.setattr(cc3d, "connected_components", None)
    other = volume.copy()
    assert other.components("WT") is found
    other.take(Moves("ET", left=volume.voxels("ET")))
    assert len(other.voxels("ET")) == 0 and len(volume.voxels("ET")) == 2
    np.testing.assert_array_equal(volume.labels, labels)
    np.testing.assert_array_equal(np.unique(other.labels), [0, 1, 2])
