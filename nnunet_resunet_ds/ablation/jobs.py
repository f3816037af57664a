"""An ablation as jobs for other machines: each run by the command itself, restricted to that run."""

from collections.abc import Sequence

from nnunet_resunet_ds.ablation.run_folder import Run
from nnunet_resunet_ds.ablation.rungs import Rung
from nnunet_resunet_ds.ablation.settings import Settings
from nnunet_resunet_ds.ablation.training import Training
from nnunet_resunet_ds.jobs.job import Job
from nnunet_resunet_ds.training.recipe import recipe_words


def jobs_of(runs: Sequence[Run], rungs: Sequence[Rung], device: str) -> list[Job]:
    """Return a job for each run that is not finished.

    Args:
        runs: no two of the same training, seed and fold.
        rungs: that they are of.
        device: as nnU-Net's ``-device``.
    """
    return [_job(run, rungs, device) for run in runs if not run.is_finished]


def _job(run: Run, rungs: Sequence[Rung], device: str) -> Job:
    names = [rung.name for rung in rungs if Training.of(rung) == run.training]
    command = [
        "resunet-ds", "ablation", *settings_words(run.settings), "--only", *names, "--seeds", str(run.seed),
        "-f", str(run.fold), "-device", device,
    ]  # fmt: skip
    return Job(run.name, tuple(command), run.folder / "job", run.epochs, lambda: run.epochs_done)


def settings_words(settings: Settings) -> list[str]:
    """Return the words of the command that give these settings."""
    patch_size = [] if settings.patch_size is None else ["--patch-size", *map(str, settings.patch_size)]
    return [
        "-d", str(settings.dataset_id), "--name", settings.name, "-c", settings.configuration,
        "-p", settings.stock_plans, *patch_size, "--batch-size", str(settings.batch_size),
        "--width", str(settings.width), "--protocol", settings.protocol,
        *([] if settings.use_mirroring else ["--no-tta"]), *recipe_words(settings.recipe),
    ]  # fmt: skip
