"""Learn which Dice to expect of a model, from the cases that tuning has stored."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.parallel import for_each, results_and_problems
from nnunet_resunet_ds.base.regions import Region
from nnunet_resunet_ds.base.text_table import aligned
from nnunet_resunet_ds.evaluation.dice import region_dice
from nnunet_resunet_ds.tuning.stored_case import read_stored_case
from nnunet_resunet_ds.uncertainty.expected_dice import EXPECTED_DICE, ExpectedDiceModel
from nnunet_resunet_ds.uncertainty.learn_expected_dice import LEAST_CASES, KnownCase, learn_expected_dice
from nnunet_resunet_ds.uncertainty.region_certainty import certainty_of_regions
from postprocessing.case import postprocess
from postprocessing.config import PostprocessingConfig


def learn_from_stored(
    files: Sequence[Path],
    parts: Sequence[str],
    config: PostprocessingConfig,
    regions: Sequence[Region],
    executor: Executor | None = None,
) -> ExpectedDiceModel:
    """Learn from stored cases which Dice to expect under the settings that were chosen for a model.

    Args:
        files: stored cases, at least one.
        parts: the fold, or part of it, of each.
        config: the chosen settings, with the weights that they were tuned on.
        regions: of the dataset, in the order of the outputs.
        executor: who looks at the cases; None is a thread for each core.

    Raises:
        InputError: a stored case is damaged.
    """
    work = partial(stored_known_case, config=config, regions=regions)
    outcomes = for_each(list(zip(files, parts, strict=True)), work, "expected Dice", executor, name=_name)
    known, problems = results_and_problems(outcomes)
    if problems:
        raise InputError("\n".join(problems))
    return learn_expected_dice(known, config.tuned_on)


def _name(case: tuple[Path, str]) -> str:
    return case[0].stem


def stored_known_case(
    file_and_part: tuple[Path, str], config: PostprocessingConfig, regions: Sequence[Region]
) -> KnownCase:
    """Return what is known of a stored case under settings."""
    file, part = file_and_part
    case = read_stored_case(file)
    labels = postprocess(case.probabilities, config, case.voxel_volume)
    return known_case(part, labels, case.probabilities, case.reference, regions, case.voxel_volume)


def known_case(
    part: str,
    labels: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    reference: NDArray[np.integer],
    regions: Sequence[Region],
    voxel_volume: float,
) -> KnownCase:
    """Return what is known of a case: certainty, Dice, and volumes of the reference.

    Args:
        part: fold, or part of it.
        labels: (Z, Y, X) in nnU-Net's values, post-processed.
        probabilities: (R, Z, Y, X), of the regions in their order.
        reference: (Z, Y, X) in nnU-Net's values.
        regions: of the first outputs.
        voxel_volume: in mm³.
    """
    return KnownCase(
        part,
        certainty_of_regions(labels, probabilities, regions, voxel_volume),
        region_dice(reference, labels, regions),
        {region.name: float(region.mask(reference).sum()) * voxel_volume for region in regions},
    )


def keep_expected_dice(model: ExpectedDiceModel, folder: Path) -> None:
    """Write what was learnt into a model folder; where nothing was, what an earlier tuning has left does not stay."""
    if model.regions:
        model.write(folder)
    else:
        (folder / EXPECTED_DICE).unlink(missing_ok=True)


def learnt_lines(model: ExpectedDiceModel) -> Iterator[str]:
    """Yield what was learnt, as a table; or why nothing was."""
    if not model.regions:
        yield f"no Dice to expect is learnt: that takes {LEAST_CASES} predictions that have the region"
        return
    yield "Dice to expect, learnt from these cases with the chosen settings"
    header = ("region", "cases", "mean error on the other folds", "reference within the volume limits")
    rows = [
        (name, f"{learnt.n_cases}", f"{learnt.error:.3f}", f"{learnt.volume_held:.0%}")
        for name, learnt in model.regions.items()
    ]
    yield from aligned([header, *rows], numbers_from=1)
