"""BraTS' metrics as they are described, step by step on the whole image, and slow: what ours must equal.

Distances are measured by distance transforms, components by scipy, areas by MONAI's table.
"""

from functools import lru_cache, partial

import numpy as np
from monai.metrics.utils import create_table_neighbour_code_to_surface_area
from scipy import ndimage

NEIGHBOURS, CORNERS = ndimage.generate_binary_structure(3, 2), np.ones((3, 3, 3))
KERNEL = np.array([[[128, 64], [32, 16]], [[8, 4], [2, 1]]])


@lru_cache
def pattern_areas(spacing):
    return np.asarray(create_table_neighbour_code_to_surface_area(tuple(map(float, spacing)))[0])


def hd95(reference, prediction, spacing, percent=95):
    codes = [
        ndimage.correlate(np.pad(mask, 1).astype(np.uint8), KERNEL, mode="constant") for mask in (reference, prediction)
    ]
    borders = [(code != 0) & (code != 255) for code in codes]
    directed = []
    for this, other in ((0, 1), (1, 0)):
        distances = ndimage.distance_transform_edt(~borders[other], sampling=spacing)[borders[this]]
        pairs = sorted(zip(distances, pattern_areas(spacing)[codes[this]][borders[this]], strict=True))
        so_far = np.cumsum([area for _, area in pairs])
        directed.append(pairs[min(np.searchsorted(so_far / so_far[-1], percent / 100), len(pairs) - 1)][0])
    return max(directed)


def voxel_distances(reference, prediction, spacing):
    """How far each surface voxel of one is from those of the other, for both: MedPy's description."""
    cross = ndimage.generate_binary_structure(3, 1)
    surfaces = [mask & ~ndimage.binary_erosion(mask, cross) for mask in (reference, prediction)]
    return [
        ndimage.distance_transform_edt(~surfaces[other], sampling=spacing)[surfaces[this]]
        for this, other in ((0, 1), (1, 0))
    ]


def pooled_hd95(reference, prediction, spacing):
    return np.percentile(np.concatenate(voxel_distances(reference, prediction, spacing)), 95)


def nsd(reference, prediction, spacing, tolerance):
    return np.mean([(of <= tolerance + 1e-9).mean() for of in voxel_distances(reference, prediction, spacing)])


def dilate(mask, n):
    return ndimage.binary_dilation(mask, NEIGHBOURS, iterations=n) if n else mask


def merged(mask, dilations):
    """Components that merge when dilated."""
    zones, n = ndimage.label(dilate(mask, dilations), CORNERS)
    return np.where(mask, zones, 0), n


def without_small(lesions, max_voxels):
    for number in np.unique(lesions):
        if number and (lesions == number).sum() <= max_voxels:
            lesions = np.where(lesions == number, 0, lesions)
    return lesions


def join(lesions, other):
    """Every lesion takes the number of the smallest-numbered lesion of the other tissue that it touches."""
    joined, start = lesions.copy(), max(lesions.max(), other.max()) + 1
    for a in set(np.unique(lesions)) - {0}:
        touched = set(np.unique(other[dilate(lesions == a, 1)])) - {0}
        if touched:
            joined[lesions == a] = start + min(touched)
    return joined


def lesions_of(labels, protocol, voxel_volume, *, is_prediction):
    rules = protocol.rules
    alone = {}
    for name, rule in rules.items():
        mask = np.isin(labels, rule.labels)
        if is_prediction and protocol.prediction_filter.value == "none":
            alone[name] = ndimage.label(mask, CORNERS)[0]
            continue
        alone[name] = merged(mask, rule.dilations)[0]
        if is_prediction:
            unit = voxel_volume if protocol.prediction_filter.value == "mm3" else 1
            alone[name] = without_small(alone[name], rule.min_size / unit)
    joined = dict(alone)
    for name, rule in rules.items():
        for other in rule.joined_by:
            joined[name] = join(joined[name], alone[other])
    return joined


def lesion_metrics(reference, prediction, rule, spacing, false_lesions_count, measures):
    """Lesion-wise scores from numbered lesions; measures: name → (function of masks and spacing, of a lost lesion)."""
    matched, dices, n_tp, n_fn = set(), [], 0, 0
    values = {name: [] for name in measures}
    for number in set(np.unique(reference)) - {0}:
        lesion = reference == number
        ids = set(np.unique(prediction[dilate(lesion, rule.dilations)])) - {0}
        matched |= ids
        if lesion.sum() * np.prod(spacing) <= rule.min_size:
            continue
        union = np.isin(prediction, list(ids))
        dices.append(2 * (lesion & union).sum() / (lesion.sum() + union.sum()))
        for name, (measure, without) in measures.items():
            values[name].append(measure(lesion, union, spacing) if ids else without)
        n_tp, n_fn = n_tp + bool(ids), n_fn + (not ids)
    n_fp = len(set(np.unique(prediction)) - {0} - matched)
    n = len(dices) + (n_fp if false_lesions_count else 0)
    nothing = {name: 0.0 if name == "hd95" else 1.0 for name in measures}
    return {
        "lesion_dice": sum(dices) / n if n else 1.0,
        **{
            f"lesion_{name}": (sum(values[name]) + without * (n - len(dices))) / n if n else nothing[name]
            for name, (_, without) in measures.items()
        },
        "n_tp": n_tp,
        "n_fp": n_fp,
        "n_fn": n_fn,
    }


def evaluate(reference, prediction, spacing, protocol, distance=hd95):
    """All metrics of all regions."""
    volume = float(np.prod(spacing))
    penalty = np.linalg.norm(reference.shape) if protocol.penalty is None else protocol.penalty
    measures = {"hd95": (distance, penalty)} | {
        f"nsd_{tolerance}": (partial(nsd, tolerance=tolerance), 0.0) for tolerance in protocol.nsd_tolerances
    }
    first = lesions_of(reference, protocol, volume, is_prediction=False)
    second = lesions_of(prediction, protocol, volume, is_prediction=True)
    result = {}
    for name, rule in protocol.regions.items():
        a, b = first[name] > 0, second[name] > 0
        total, common = a.sum() + b.sum(), (a & b).sum()
        result[name] = {
            "dice": 2 * common / total if total else 1.0,
            **{
                key: measure(a, b, spacing) if a.any() and b.any() else without if total else float(key != "hd95")
                for key, (measure, without) in measures.items()
            },
            "sensitivity": common / a.sum() if a.any() else float(not b.any()),
            "specificity": (~a & ~b).sum() / (~a).sum() if (~a).any() else 0.0,
            **lesion_metrics(first[name], second[name], rule, spacing, protocol.false_lesions_count, measures),
            "reference_volume": a.sum() * volume,
            "prediction_volume": np.isin(prediction, rule.labels).sum() * volume,
        }
    return result
