"""Run a command as a container runs it: no network, all read-only but the output, little shared memory, with limits.

Linux alone can do this, by namespaces. Where a step is not allowed, as in many containers, the run goes without it, and
`Confinement` says so.
"""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

SHARED_MEMORY = "64m"
"""Of /dev/shm: what Docker gives without being asked."""
_READ_ONLY = f"""
set -e
mount --bind "$1" "$1"
mount --bind "$2" "$2"
mount -t tmpfs -o size={SHARED_MEMORY} tmpfs /dev/shm
mount -o remount,bind,ro "$1"
while read -r _ _ _ _ target _; do
    case "$target" in "$2"|/proc*|/sys*|/dev*) ;; *) mount -o remount,bind,ro "$target" 2>/dev/null || true ;; esac
done < /proc/self/mountinfo
mount -o remount,bind,ro /
"""
"""With the folders of input and output. Other mounts are remounted, too, where that is allowed."""
_SHOW_WRITABLE = """
for folder in /tmp /var/tmp /home /root /opt /mnt; do
    probe="$folder/.resunet-ds-probe-$$"
    if ( : > "$probe" ) 2>/dev/null; then rm -f "$probe"; echo "$folder"; fi
done
"""
_LIMITED = """
if [ "$3" -gt 0 ]; then ulimit -d "$3"; fi
shift 3
exec "$@"
"""
"""With the memory in KiB, and the command."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a run may take."""

    memory_gib: float | None
    """Of data; None is no limit, for a GPU's driver reserves far more addresses than it uses."""
    seconds: float


@dataclass(frozen=True)
class Confinement:
    """What can be taken away from a command on this machine."""

    namespaces: tuple[str, ...]
    """The words of ``unshare``; none where it is not allowed."""
    is_read_only: bool
    """Whether the root and the input are."""
    writable: tuple[str, ...] = ()
    """Usual folders that can be written to all the same: mounts of their own."""

    @property
    def has_no_network(self) -> bool:
        """Tell whether the command sees no network."""
        return bool(self.namespaces)


@dataclass(frozen=True)
class Run:
    """What came of a command."""

    code: int | None
    """Its exit code; None where the time was over."""
    seconds: float
    peak_gib: float
    """Most memory of one of its processes."""
    output: str
    """What it printed."""


def possible_confinement(inputs: Path, output: Path) -> Confinement:
    """Return what is allowed here, the most of it."""
    if shutil.which("unshare"):
        words: tuple[str, ...]
        for words in (("unshare", "--net", "--mount"), ("unshare", "--map-root-user", "--net", "--mount")):
            confinement = Confinement(words, is_read_only=True)
            if _works(confined(confinement, ["true"], inputs, output)):
                return replace(confinement, writable=_writable(confinement, inputs, output))
        for words in (("unshare", "--net"), ("unshare", "--map-root-user", "--net")):
            if _works([*words, "true"]):
                return Confinement(words, is_read_only=False)
    return Confinement((), is_read_only=False)


def _writable(confinement: Confinement, inputs: Path, output: Path) -> tuple[str, ...]:
    words = confined(confinement, ["sh", "-c", _SHOW_WRITABLE], inputs, output)
    shown = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False).stdout
    return tuple(shown.split())


def _works(words: Sequence[str]) -> bool:
    return subprocess.run(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0


def confined(
    confinement: Confinement, words: Sequence[str], inputs: Path, output: Path, memory_gib: float | None = None
) -> list[str]:
    """Return the command that runs another one so confined."""
    script = (_READ_ONLY if confinement.is_read_only else "") + _LIMITED
    kib = int((memory_gib or 0) * 2**20)
    return [*confinement.namespaces, "sh", "-c", script, "sh", str(inputs), str(output), str(kib), *words]


def run_confined(words: Sequence[str], environment: Mapping[str, str], log: Path, seconds: float) -> Run:
    """Run a command and whatever it starts; end all of it where the time is over.

    Args:
        words: the command, see `confined`.
        environment: all its variables.
        log: file for what it prints.
        seconds: that it may take.
    """
    start = time.monotonic()
    with (
        log.open("wb") as stream,
        subprocess.Popen(
            words,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            code = process.wait(seconds)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError):  # usually all of it has ended
                os.killpg(process.pid, signal.SIGKILL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    return Run(code, time.monotonic() - start, peak, log.read_text(encoding="utf-8", errors="replace"))
