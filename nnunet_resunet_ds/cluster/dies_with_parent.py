"""Run a command that gets SIGTERM when the process that started it is gone: ``python -m … COMMAND`` (Linux).

A worker of a cluster that is killed could not tell its training otherwise, which would go on beside its own rerun.
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
