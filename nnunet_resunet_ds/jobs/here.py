"""Jobs one after the other, in this process's own session."""

from collections.abc import Sequence

from nnunet_resunet_ds.errors import InputError
from nnunet_resunet_ds.jobs.job import Job
from nnunet_resunet_ds.jobs.process import CommandError, log_of, run_command, settings_for, shell_line
from nnunet_resunet_ds.jobs.progress import epoch_bar
from nnunet_resunet_ds.log import LOG


def run_here(jobs: Sequence[Job], device: str) -> dict[str, str]:
    """Run all jobs; one that fails does not stop the others.

    Args:
        jobs: in this order.
        device: as nnU-Net's ``-device``.

    Returns:
        What went wrong, by the name of the job.
    """
    failures = {}
    variables = settings_for(device)
    with epoch_bar(jobs) as bar:
        for job in jobs:
            bar.say(job.name)
            LOG.info("$ %s", shell_line(job.command, variables))
            try:
                with log_of(job.folder) as log:
                    run_command(job.command, variables, log, bar.look)
            except (CommandError, InputError) as error:
                failures[job.name] = str(error)
                LOG.error("failed: %s: %s", job.name, error)
    return failures
