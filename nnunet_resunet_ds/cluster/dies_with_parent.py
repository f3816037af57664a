"""Run a command that gets SIGTERM when the process that started it is gone: ``python -m … COMMAND`` (Linux).

Without this, the training of a worker that is killed would go on, at the same time as its own rerun.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
"""Of prctl(2); what is set outlives the call of another program."""

if __name__ == "__main__":
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os.execvp(sys.argv[1], sys.argv[1:])
