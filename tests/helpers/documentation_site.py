"""The documentation as a site, built as make docs builds it."""

import os
import subprocess
import sys

from code_blocks import PROJECT


def build_site(folder, site):
    """Build as make docs does, in another folder, and return what came of it."""
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", site],
        cwd=folder,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
