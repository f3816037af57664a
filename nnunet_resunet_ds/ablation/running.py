"""Running what is missing of an ablation: plans, training, prediction, post-processing, evaluation."""

from collections.abc import Callable, Iterator, Sequence

from nnunet_resunet_ds import __version__
from nnunet_resunet_ds.ablation.run_folder import Run
from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.jobs.here import run_each
from nnunet_resunet_ds.jobs.process import log_of, run_command, settings_for, shell_line


def commands_of(run: Run, device: str) -> Iterator[list[str]]:
    """Yield what is still to be done, each command when those before it are done."""
    if run.is_finished:
        return
    if not run.plans_file.is_file():
        yield run.training.plan_command(run.settings, run.seed)
    if not run.is_trained:
        yield run.train_command(device)
    yield run.predict_command(device)
    yield from run.score_commands()


def run_all(runs: Sequence[Run], device: str) -> dict[str, str]:
    """Run what is missing; a run that fails does not stop the others.

    Args:
        runs: in this order.
        device: ``cpu`` or ``cuda``, as nnU-Net's ``-device``.

    Returns:
        What went wrong, by the name of the run.
    """
    return run_each(runs, lambda run, look: _run(run, device, look))


def _run(run: Run, device: str, look: Callable[[], object]) -> None:
    if run.is_finished:
        run.remove_probabilities()  # if it was killed before it could
        return
    check_version(run)
    variables = settings_for(device)
    with log_of(run.folder) as log:
        for command in commands_of(run, device):
            if command == run.predict_command(device):
                run.link_images()
            LOG.info("$ %s", shell_line(command, variables))
            run_command(command, variables, log, look)
        run.remove_probabilities()


def check_version(run: Run) -> None:
    """Refuse to go on with what another version of this package has begun.

    Raises:
        InputError: the training is half finished, and another version, or an unknown one, began it.
    """
    if not run.is_begun or run.is_trained:
        return
    begun_by = run.record.get("versions", {}).get("nnunet-resunet-ds", "an unknown version")
    if begun_by != __version__:
        msg = (
            f"{run.fold_folder}: is half trained by {begun_by} of this package, and this is {__version__}: finish it "
            "with that version, or remove the folder to train it anew"
        )
        raise InputError(msg)
