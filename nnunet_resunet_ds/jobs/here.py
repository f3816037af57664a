"""Jobs one after the other, in this process's own session."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from nnunet_resunet_ds.base.errors import InputError
from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.jobs.job import Job, Trained
from nnunet_resunet_ds.jobs.process import CommandError, log_of, run_command, settings_for, shell_line
from nnunet_resunet_ds.jobs.progress import epoch_bar

Training = TypeVar("Training", bound=Trained)


def run_each(trainings: Sequence[Training], run: Callable[[Training, Callable[[], object]], object]) -> dict[str, str]:
    """Run one training after the other, with a progress bar; one that fails does not stop the others.

    Args:
        trainings: in this order.
        run: runs one, and calls its second argument every few seconds meanwhile.

    Returns:
        What went wrong, by the name of the training.
    """
    failures = {}
    with epoch_bar(trainings) as bar:
        for number, training in enumerate(trainings, start=1):
            bar.say(f"{number}/{len(trainings)} {training.name}")
            try:
                run(training, bar.look)
            except (CommandError, InputError) as error:
                failures[training.name] = str(error)
                LOG.error("failed: %s: %s", training.name, error)
            bar.look()
    return failures


def run_here(jobs: Sequence[Job], device: str) -> dict[str, str]:
    """Run all jobs with `run_each`.

    Args:
        jobs: in this order.
        device: as nnU-Net's ``-device``.
    """
    variables = settings_for(device)

    def run(job: Job, look: Callable[[], object]) -> None:
        LOG.info("$ %s", shell_line(job.command, variables))
        with log_of(job.folder) as log:
            run_command(job.command, variables, log, look)

    return run_each(jobs, run)
