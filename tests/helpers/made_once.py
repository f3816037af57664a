"""What takes minutes to make, made once for all processes of a run of pytest."""

import fcntl
import json
import os


def made_once(tmp_path_factory, name, make):
    """Return what ``make(folder)`` returns, as JSON; the first process to ask makes it, and the others wait."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder, result = root / name, root / f"{name}.json"
    with (root / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not result.is_file():
            folder.mkdir(exist_ok=True)
            result.write_text(json.dumps(make(folder)))
    return folder, json.loads(result.read_text())
