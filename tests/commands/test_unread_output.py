"""Behind ``| head`` nobody reads on: the work is done all the same, and its files are written."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from brats_files import write

COMMAND = Path(sys.executable).parent / "resunet-ds"


def test_evaluate_writes_its_file_when_nobody_reads_what_it_prints(tmp_path):
    for name in ("reference", "predicted"):
        write(tmp_path / name / "case.nii.gz", np.full((4, 4, 4), 1, np.uint8))
    read_end, write_end = os.pipe()
    os.close(read_end)
    words = ["evaluate", "-ref", "reference", "-pred", "predicted", "-o", "metrics.json"]
    done = subprocess.run(
        [COMMAND, *words], cwd=tmp_path, stdout=write_end, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write_end)
    assert done.returncode == 0 and "Broken pipe" not in done.stderr, done.stderr
    assert json.loads((tmp_path / "metrics.json").read_text())["cases"]
