"""Make golden2026/ with the official package; golden2026/README.md says how to run this."""

import csv
import hashlib
import json
import math
import re
import tempfile
from pathlib import Path

import numpy as np

GOLDEN = Path(__file__).parent / "golden2026"
SHAPE = (30, 26, 22)
ISOTROPIC, NATIVE, THICK = (1.0, 1.0, 1.0), (0.5, 0.5, 1.0), (0.9, 0.9, 1.5)
CASES = {
    "one-to-one": {"seed": 1, "spacing": ISOTROPIC},
    "many": {"seed": 2, "spacing": ISOTROPIC, "n_lesions": 14},
    "small": {"seed": 3, "spacing": ISOTROPIC, "n_lesions": 10, "radii": (0.6, 2.2)},
    "none predicted": {"seed": 4, "spacing": ISOTROPIC, "kept": 0.0, "n_false": 0},
    "all false": {"seed": 5, "spacing": ISOTROPIC, "n_lesions": 0, "n_false": 3},
    "nothing": {"seed": 6, "spacing": ISOTROPIC, "n_lesions": 0, "n_false": 0},
    "perfect": {"seed": 7, "spacing": ISOTROPIC, "kept": 1.0, "moved": 0, "n_false": 0},
    "native": {"seed": 8, "spacing": NATIVE, "n_lesions": 8},
    "thick": {"seed": 9, "spacing": THICK, "n_lesions": 8},
    "crowded": {"seed": 10, "spacing": ISOTROPIC, "n_lesions": 40, "radii": (0.6, 3.0), "moved": 2},
}
CONFIGURATIONS = {"mets": (1, 2, 3, 4), "ped": (1, 2, 3, 4), "GoAT": (1, 2, 3)}
"""Configuration of the package → label values."""


USED = re.compile(r"all_instance_(tp|fp|fn|f1)_|global_|lesionwise_\w+_mean_|small_instance_(tp|fn|f1)_")


def label_maps(seed, n_lesions=5, radii=(1.0, 4.0), kept=0.8, moved=1, n_false=2, **_):
    """A reference and a prediction (X, Y, Z) with values 0 to 4: balls in balls, some missed, moved or invented."""
    random = np.random.default_rng(seed)
    reference, prediction = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    for _ in range(n_lesions):
        centre, radius = random.uniform(2, np.subtract(SHAPE, 3)), random.uniform(*radii)
        paint(reference, centre, radius)
        if random.random() < kept:
            shift = random.integers(-moved, moved + 1, 3)
            paint(prediction, centre + shift, radius * (random.uniform(0.7, 1.2) if moved else 1))
    for _ in range(n_false):
        paint(prediction, random.uniform(2, np.subtract(SHAPE, 3)), random.uniform(*radii))
    if n_lesions:
        paint(reference, np.array([3.0, 3, 18]), 2.4, (4,))
        paint(prediction, np.array([3.0, 4, 18]), 2.1 if kept else 0, (4,))
    return reference, prediction


def paint(labels, centre, radius, values=(2, 3, 1)):
    """Paint balls in each other, the outermost first."""
    distance = np.linalg.norm(np.indices(labels.shape).T - centre, axis=-1).T
    for number, value in enumerate(values):
        labels[distance < radius * (1 - 0.35 * number)] = value


def official_numbers(cases):
    """Configuration → case → ``parsed`` and ``f1_area`` of the package."""
    import SimpleITK as sitk
    from brats_evaluation import config_path, evaluate_single_exam
    from brats_evaluation.metrics_parser import parse_mets_results, parse_seg_results
    from panoptica import Panoptica_Evaluator

    numbers = {}
    for configuration, values in CONFIGURATIONS.items():
        evaluator = Panoptica_Evaluator.load_from_config(str(config_path(configuration)))
        with tempfile.TemporaryDirectory() as folder:
            summary, table, areas = Path(folder, "summary.json"), Path(folder, "table.csv"), {}
            found = []
            for case, (reference, prediction, spacing) in cases.items():
                files = []
                for name, labels in (("pred", prediction), ("ref", reference)):
                    image = sitk.GetImageFromArray(np.where(np.isin(labels, values), labels, 0).T)
                    image.SetSpacing(spacing)
                    files.append(str(Path(folder, f"{name}.nii.gz")))
                    sitk.WriteImage(image, files[-1])
                found.append(evaluate_single_exam(*files, case, evaluator))
                areas[case] = {name: of.get_autc("rq") for name, of in evaluator.evaluate_autc(*files).items()}
            summary.write_text(json.dumps({"metrics": found, "missings": []}))
            if configuration == "mets":
                parse_mets_results(str(summary), 27, 0.2, str(table))
            else:
                parse_seg_results(str(summary), str(table))
            with table.open(newline="") as stream:
                rows = {row.pop("subject_id"): row for row in csv.DictReader(stream)}
        numbers[configuration] = {
            case: {
                "parsed": {key: number(text) for key, text in rows[case].items() if USED.match(key)},
                "f1_area": areas[case],
            }
            for case in cases
        }
    return numbers


def number(text):
    value = float(text) if text else math.nan
    return None if math.isnan(value) else value


def main():
    cases = {case: (*label_maps(**settings), settings["spacing"]) for case, settings in CASES.items()}
    numbers = official_numbers(cases)
    GOLDEN.mkdir(exist_ok=True)
    arrays = {
        f"{case}/{what}": labels
        for case, pair in cases.items()
        for what, labels in zip(("ref", "pred"), pair[:2], strict=True)
    }
    np.savez_compressed(GOLDEN / "label_maps.npz", **arrays)
    digest = hashlib.sha256(b"".join(arrays[key].tobytes() for key in sorted(arrays))).hexdigest()
    spacings = {case: spacing for case, (_, _, spacing) in cases.items()}
    content = {"label_maps_sha256": digest, "spacings": spacings, "numbers": numbers}
    (GOLDEN / "numbers.json").write_text(json.dumps(content, indent=0, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
