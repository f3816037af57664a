"""Take the probabilities that nnU-Net's validation saved, for tuning."""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from operator import itemgetter
from pathlib import Path

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.files import file_state
from nnunet_resunet_ds.base.model_id import fold_folder
from nnunet_resunet_ds.base.parallel import for_each, results_and_problems
from nnunet_resunet_ds.training.checkpoint.checkpoint_names import VALIDATION
from nnunet_resunet_ds.training.fold.fold_record import VALIDATED, read_record
from nnunet_resunet_ds.tuning.stored_case import CACHE, CaseStore
from nnunet_resunet_ds.tuning.validation_data import checked_references, input_states


def stored_validation_npz(
    folder: Path,
    ids: Mapping[str, Sequence[str]],
    weights: Iterable[tuple[str, str]],
    executor: Executor | None = None,
) -> dict[str, list[Path]]:
    """Store what ``nnUNetv2_train … --npz`` wrote of the validation cases; see `predict_validation`.

    Args:
        folder: of the model.
        ids: fold → its validation cases.
        weights: fold and identity of the weights to tune on.
        executor: who stores; None is a thread for each core.

    Raises:
        InputError: a file is missing or damaged, or of the validation of other weights than these.
    """
    for fold, identity in weights:
        _check_validated_weights(fold_folder(folder, fold), identity)
    references = checked_references(folder)
    found: dict[str, list[Path]] = {}
    for fold, case_ids in ids.items():
        store = CaseStore(folder / CACHE / f"fold_{fold}_npz", references)
        sources = {case_id: fold_folder(folder, fold) / VALIDATION / f"{case_id}.npz" for case_id in case_ids}
        missing = [path for path in sources.values() if not path.is_file()]
        if missing:
            msg = f"{missing[0]}: missing; make it with nnUNetv2_train … {fold} --val --npz, or leave out --npz"
            raise InputError(msg)
        inputs = {case_id: input_states(None, store, case_id) for case_id in case_ids}
        store.open({"npz": {case_id: file_state(path) for case_id, path in sources.items()}, "inputs": inputs})
        to_keep = [item for item in sources.items() if not store.has(item[0])]
        keep = partial(_keep, store=store, model=folder)
        _, problems = results_and_problems(for_each(to_keep, keep, f"fold {fold}", executor, name=itemgetter(0)))
        if problems:
            raise InputError("\n".join(problems))
        found[fold] = [store.file(case_id) for case_id in case_ids]
    return found


def _check_validated_weights(fold: Path, weights: str) -> None:
    """Refuse a validation of other weights than those that are tuned on, such as those of the best epoch.

    Raises:
        InputError: the record of the fold says that it is one; trainers of others write none.
    """
    validated = read_record(fold).get(VALIDATED, weights)
    if validated != weights:
        msg = (
            f"{fold / VALIDATION}: is of the weights {validated}, and the checkpoint to tune on has {weights}; "
            "validate that with nnUNetv2_train … --val --npz, or leave --npz out"
        )
        raise InputError(msg)


def _keep(case: tuple[str, Path], store: CaseStore, model: Path) -> None:
    case_id, probabilities = case
    store.keep_saved(case_id, probabilities, model)
