"""Predict every case below INPUT, and write CASE.nii.gz of each to OUTPUT, and nothing else.

Usage: python entrypoint.py [INPUT [OUTPUT]]     (default: /input /output)

The file container.json next to this one says which edition the cases are of, and with which models they are predicted.
INPUT is only read. Other files are written to a temporary folder that is removed at the end: in TMPDIR or /tmp where
there is space, else in OUTPUT. Nothing is read from the home folder or the network. A label map is handed over as soon
as it is finished. Exit code 0: there is one for every case. This file needs nothing but Python; it starts resunet-ds.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENDING = ".nii.gz"
LEAST_FREE = 512 * 2**20
"""Bytes that a folder for temporary files must have free: unpacked images, and all label maps."""
_SECONDS_BETWEEN_LOOKS = 1.0
_CACHES = (
    *("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "MPLCONFIGDIR", "TORCH_HOME", "TRITON_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR"),
    *("CUDA_CACHE_PATH", "nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"),
)
"""Variables of folders that libraries write to, or ask for."""


def main(inputs: Path = Path("/input"), output: Path = Path("/output")) -> int:
    """Predict, and return the exit code."""
    settings = json.loads((HERE / "container.json").read_text(encoding="utf-8"))
    output.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".resunet-ds-", dir=folder_for_temporary_files(output)))
    try:
        hand_over = _HandOver(scratch / "labels", output, settings["suffix"])
        code = _run(command(settings, inputs, hand_over.source), environment(scratch), scratch, hand_over)
        if code == 0 and (left := unanswered(inputs, hand_over.case_ids)):
            message = f"no label map for the images in {', '.join(map(str, left))}: their names are of another edition"
            raise SystemExit(message)
        return code
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def folder_for_temporary_files(output: Path) -> Path:
    """Return the first folder that can be written to and has space; the output where no other has."""
    for name in (os.environ.get("TMPDIR"), "/tmp", "/var/tmp"):
        try:
            if name and shutil.disk_usage(name).free >= LEAST_FREE:
                with tempfile.TemporaryFile(dir=name):
                    return Path(name)
        except OSError:
            continue  # it is not there, or read-only
    return output


def command(settings: Mapping[str, Sequence[str]], inputs: Path, labels: Path) -> list[str]:
    """Return the command that predicts the cases into a folder of its own."""
    models = [word for name in settings["models"] for word in ("-m", str(HERE / name))]
    edition = str(settings["edition"])
    cases = ["-i", str(inputs), "-o", str(labels), "--edition", edition, "--labels", edition]
    return [sys.executable, "-m", "nnunet_resunet_ds.cli", "predict", *cases, *models, *settings["flags"]]


def environment(scratch: Path) -> dict[str, str]:
    """Return the variables of the command: all that it writes beyond label maps goes below one folder."""
    folders = {name: str(scratch / name) for name in ("HOME", "TMPDIR", *_CACHES)}
    for folder in folders.values():
        Path(folder).mkdir()
    users = {name: os.environ.get(name, "resunet-ds") for name in ("USER", "LOGNAME")}
    return {**os.environ, **users, **folders, "PYTHONDONTWRITEBYTECODE": "1"}


class _HandOver:
    """Copies each finished label map to the output, once and whole.

    Args:
        source: where they appear under their final name when they are whole.
        output: where they go.
        suffix: what their name gets after the case id.
    """

    def __init__(self, source: Path, output: Path, suffix: str) -> None:
        self.source = source
        self.case_ids: set[str] = set()
        self._output = output
        self._suffix = suffix

    def __call__(self) -> None:
        for file in sorted(self.source.glob(f"[!.]*{ENDING}")):
            case_id = file.name.removesuffix(ENDING)
            if case_id not in self.case_ids:
                self._copy(file, self._output / f"{case_id}{self._suffix}{ENDING}")
                self.case_ids.add(case_id)

    @staticmethod
    def _copy(file: Path, target: Path) -> None:
        temporary = target.with_name(f".{target.name}")
        try:
            shutil.copyfile(file, temporary)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)


def _run(words: Sequence[str], variables: Mapping[str, str], folder: Path, hand_over: _HandOver) -> int:
    """Run the command, hand over what it finishes, and return its exit code."""
    with subprocess.Popen(words, env=variables, cwd=folder) as process:
        earlier = signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        try:
            while (code := _code_within(process, _SECONDS_BETWEEN_LOOKS)) is None:
                hand_over()
        finally:
            signal.signal(signal.SIGTERM, earlier)
    hand_over()
    if code < 0:
        message = f"resunet-ds predict was ended by signal {-code} (9: the memory was not enough, or the time was over)"
        raise SystemExit(message)
    return code


def _code_within(process: "subprocess.Popen[bytes]", seconds: float) -> int | None:
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None


def unanswered(inputs: Path, case_ids: set[str]) -> list[Path]:
    """Return the folders with an image that is of no case that is written; hidden ones do not count."""
    begins = tuple(f"{case_id}{sign}" for case_id in case_ids for sign in "-_.")
    left = []
    for folder, below, names in os.walk(inputs):
        below[:] = [name for name in below if not name.startswith(".")]
        images = [name for name in names if name.lower().endswith((ENDING, ".nii")) and not name.startswith(".")]
        if not all(name.startswith(begins) for name in images):
            left.append(Path(folder))
    return left


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:3])))
