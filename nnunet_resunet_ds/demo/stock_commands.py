"""Run the commands that a user would type, with nnU-Net's three folders below one folder; each is printed."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nnunet_resunet_ds.base.log import LOG
from nnunet_resunet_ds.base.nnunet_folders import NNUNET_FOLDERS
from nnunet_resunet_ds.discovery import OPT_OUT_VARIABLE

SMALL_MACHINE = {"nnUNet_def_n_proc": "2", "nnUNet_n_proc_DA": "1"}
"""Unless the user has set them: nnU-Net starts eight to twelve processes that each import PyTorch, which costs a small
machine more than it gives. (Its planner does not take 0 processes for augmentation.)"""


@dataclass(frozen=True)
class StockCommands:
    """Runs commands one after the other, and ends with the first that fails."""

    folder: Path

    def make_folders(self) -> None:
        """Make nnU-Net's folders, and show the lines that set their variables."""
        for variable, folder in self.nnunet_folders.items():
            Path(folder).mkdir(parents=True, exist_ok=True)
            LOG.info("$ export %s=%s", variable, shlex.quote(folder))

    @property
    def nnunet_folders(self) -> dict[str, str]:
        """Variable → folder."""
        return {variable: str(self.folder / variable) for variable in NNUNET_FOLDERS}

    def run(self, *command: str, settings: Mapping[str, str] = SMALL_MACHINE) -> None:
        """Run a command and wait for it.

        Args:
            command: its words.
            settings: variables, where the user has not set them.

        Raises:
            RuntimeError: it failed.
        """
        LOG.info("\n$ %s", shlex.join(command))
        done = subprocess.run(command, env=self._environment(settings), check=False)
        if done.returncode != 0:
            msg = f"{command[0]} failed with exit code {done.returncode}; its own message is above"
            raise RuntimeError(msg)

    @contextmanager
    def variables_set(self) -> Iterator[None]:
        """Set nnU-Net's variables in this process until the block ends."""
        before = {variable: os.environ.get(variable) for variable in self.nnunet_folders}
        os.environ.update(self.nnunet_folders)
        try:
            yield
        finally:
            for variable, value in before.items():
                os.environ.pop(variable)
                os.environ.update({} if value is None else {variable: value})

    def _environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        # the commands of this Python, also when its environment is not activated
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        environment = {**settings, **os.environ, **self.nnunet_folders, "PATH": path, "PYTHONUNBUFFERED": "1"}
        environment.pop(OPT_OUT_VARIABLE, None)
        return environment
