"""
The proxies that are measured, and what they take from the machine.
"""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

__all__ = ["KNOWN", "PASSWORD", "USER", "Proxy", "Running", "running"]

USER, PASSWORD = "benchmark", "correct-horse"

PATIENCE = 20.0
"""
Seconds that a proxy has to start, and to stop.
"""


@dataclass(frozen=True, slots=True)
class Proxy:
    """
    A proxy that can be started.

    @ivar login: the command that starts it with a login.
    @ivar program: what has to be installed.
    @ivar package: the Debian package that has it.
    """

    name: str
    command: str
    login: str | None = None
    program: str | None = None
    package: str | None = None


TWISTD = shlex.join(
    [os.path.join(sysconfig.get_path("scripts"), "twistd"), "-n", "--pidfile="]
)

DANTE = """
errorlog: /dev/null
internal: 127.0.0.1 port = {port}
external: lo
clientmethod: none
socksmethod: none
client pass { from: 0/0 to: 0/0 }
socks pass { from: 0/0 to: 0/0 }
"""

KNOWN = {
    "ours": Proxy(
        "ours",
        "exec {twistd} socks5 --port {port}",
        "exec {twistd} socks5 --port {port} --auth memory:{user}:{password}",
    ),
    "microsocks": Proxy(
        "microsocks",
        "exec microsocks -i 127.0.0.1 -p {port}",
        "exec microsocks -i 127.0.0.1 -p {port} -u {user} -P {password}",
        "microsocks",
        "microsocks",
    ),
    # Its logins are those of the system's users.
    "dante": Proxy(
        "dante",
        f"printf %s {shlex.quote(DANTE)} > conf && exec danted -N 1 -f conf -p pid",
        None,
        "danted",
        "dante-server",
    ),
}


class Running:
    """
    A proxy that runs, with all the processes that it started.

    Processor time and memory are sums over them, from F{/proc}.

    @ivar startSeconds: how long it took until it accepted connections.
    """

    def __init__(self, command: str, directory: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        filled = command.replace("{port}", str(self.port)).replace("{twistd}", TWISTD)
        filled = filled.replace("{user}", USER).replace("{password}", PASSWORD)
        started = time.monotonic()
        with open(os.path.join(directory, "errors"), "w+") as errors:
            self._process = subprocess.Popen(
                filled,
                shell=True,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                start_new_session=True,
            )
            while not self._accepts():
                if (
                    self._process.poll() is not None
                    or time.monotonic() - started > PATIENCE
                ):
                    self.stop()
                    errors.seek(0)
                    sys.exit(f"does not start: {filled}\n{errors.read()}")
                time.sleep(0.002)
        self.startSeconds = time.monotonic() - started

    def _accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True

    def stop(self) -> None:
        """
        End it, and its processes.
        """
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
                self._process.wait(PATIENCE)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass

    def settle(self) -> None:
        """
        Wait until it is at rest: it has cleared up after the last load.
        """
        end = time.monotonic() + PATIENCE
        before, used = -1.0, self.cpuSeconds
        while used != before and time.monotonic() < end:
            time.sleep(0.1)
            before, used = used, self.cpuSeconds

    @property
    def cpuSeconds(self) -> float:
        """
        Processor time so far, that of children that have ended included.
        """
        ticks = self._total(lambda process: sum(map(int, _stat(process)[11:15])))
        return ticks / os.sysconf("SC_CLK_TCK")

    @property
    def memoryKiB(self) -> int:
        """
        Memory, of which what is shared counts by its share.
        """
        return self._total(_pssKiB)

    @property
    def descriptors(self) -> int:
        """
        How many are open.
        """
        return self._total(lambda process: len(os.listdir(process / "fd")))

    def _total(self, read: Callable[[Path], int]) -> int:
        total = 0
        for process in self._processes():
            try:
                total += read(process)
            except (FileNotFoundError, ProcessLookupError):
                pass  # It has just ended.
        return total

    def _processes(self) -> list[Path]:
        """
        The process that was started and all that descend from it.
        """
        children: dict[str, list[str]] = {}
        for path in Path("/proc").glob("[0-9]*"):
            try:
                children.setdefault(_stat(path)[1], []).append(path.name)
            except (FileNotFoundError, ProcessLookupError):
                pass
        found = [str(self._process.pid)]
        for pid in found:
            found += children.get(pid, [])
        return [Path("/proc", pid) for pid in found]


def _stat(process: Path) -> list[str]:
    """
    The fields of F{/proc/PID/stat} from the third on.
    """
    return (process / "stat").read_text().rpartition(")")[2].split()


def _pssKiB(process: Path) -> int:
    found = (process / "smaps_rollup").read_text().partition("\nPss:")[2]
    return int(found.split()[0]) if found else 0


@contextmanager
def running(command: str) -> Iterator[Running]:
    """
    Start a proxy in a directory of its own; stop it at the end.
    """
    with tempfile.TemporaryDirectory() as directory:
        proxy = Running(command, directory)
        try:
            yield proxy
        finally:
            proxy.stop()
