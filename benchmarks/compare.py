#!/usr/bin/env python3
"""
Measure SOCKS5 proxies side by side, in one run, on the same work.

Without arguments: this one, microsocks and Dante, as far as they are installed.
A proxy of any other name is given as NAME=COMMAND. A shell runs COMMAND, in which
{port} becomes the port to listen on, at 127.0.0.1 and without a login; with
--login NAME=COMMAND the same proxy is measured with one, {user} and {password}.

    compare.py ours microsocks 'two workers={twistd} socks5 --port {port} --workers 2'

What the rows mean is told in README.rst beside this file. The exit status is 1
when something failed.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import resource
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

SOURCE = Path(__file__).with_name("load.c")
USER, PASSWORD = "benchmark", "correct-horse"
PATIENCE = 20.0
"""
Seconds that a proxy has to start, and to stop.
"""

Row = tuple[str, str]
"""
What is measured, and its unit.
"""

RATES = ("/s", "MiB/s")
"""
Units of which more is better; of all others it is less.
"""

FAILED = "failed"
"""
The unit of what went wrong.
"""

ROWS: list[Row] = [
    ("start", "s"),
    ("idle", "KiB"),
    ("idle", "descriptors"),
    ("session", "us cpu"),
    ("session", "/s"),
    ("name", "us cpu"),
    ("login", "us cpu"),
    ("growth", "times"),
    ("message", "us cpu"),
    ("message", "/s"),
    ("message", "us p99"),
    ("lone", "us p50"),
    ("bulk", "s/GiB cpu"),
    ("bulk", "MiB/s"),
    ("bulk8", "s/GiB cpu"),
    ("bulk8", "MiB/s"),
    ("upload", "s/GiB cpu"),
    ("upload", "MiB/s"),
]

CROWD = 5000
"""
Sessions that are held open for C{idle} and C{growth}.
"""


@dataclass(frozen=True, slots=True)
class Load:
    """
    What F{load.c} does for a row.

    @ivar amount: sessions or messages in all, or bytes for each session.
    """

    verb: str
    sessions: int
    amount: int
    host: str = "127.0.0.1"


LOADS = {
    "session": Load("open", 32, 8000),
    "name": Load("open", 32, 8000, "localhost"),
    "message": Load("ping", 32, 100_000),
    "lone": Load("ping", 1, 20_000),
    "bulk": Load("down", 1, 2 << 30),
    "bulk8": Load("down", 8, 2 << 27),
    "upload": Load("up", 1, 2 << 30),
}


# The proxies.


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


# The measuring.


@dataclass(frozen=True, slots=True)
class Done:
    """
    What came of a load.

    @ivar cpu: seconds of processor time that the proxy took.
    @ivar p50: microseconds; C{p99} too.
    """

    done: int
    failed: int
    bytes: int
    seconds: float
    p50: float
    p99: float
    cpu: float = 0.0


class Bench:
    """
    Puts loads on proxies, and keeps the figures.

    @ivar figures: by proxy and row, one of each round.
    """

    def __init__(self, loader: str, scale: float) -> None:
        """
        @param loader: the compiled F{load.c}.
        @param scale: what to multiply all amounts with.
        """
        self._loader = loader
        self._scale = scale
        self.figures: dict[str, dict[Row, list[float]]] = {}

    def measure(self, proxies: Sequence[Proxy]) -> None:
        """
        One round: each proxy is started anew, and they take turns.
        """
        with ExitStack() as stack:
            started = {p: stack.enter_context(running(p.command)) for p in proxies}
            for proxy, process in started.items():
                self._add(proxy, ("start", "s"), process.startSeconds)
                crowded = self._crowd(proxy, process)
                alone = self._load(proxy, process, "session")
                if crowded and alone:
                    self._add(proxy, ("growth", "times"), crowded / alone)
            for name in LOADS:
                if name != "session":
                    for proxy, process in started.items():
                        self._load(proxy, process, name)
        for proxy in proxies:
            if proxy.login is not None:
                with running(proxy.login) as process:
                    self._load(proxy, process, "login", USER, PASSWORD)

    def _add(self, proxy: Proxy, row: Row, figure: float) -> None:
        rows = self.figures.setdefault(proxy.name, {})
        rows.setdefault(row, []).append(figure)

    def _amount(self, full: int) -> int:
        return max(1, int(full * self._scale))

    def _crowd(self, proxy: Proxy, process: Running) -> float:
        """
        Hold many sessions open.

        @return: the processor time of one session among them.
        """
        count = self._amount(CROWD)
        process.settle()
        memory, descriptors = process.memoryKiB, process.descriptors
        with subprocess.Popen(
            [self._loader, "hold", str(process.port), str(count), "0"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as holder:
            assert holder.stdout is not None
            holder.stdout.readline()
            process.settle()
            self._add(proxy, ROWS[1], (process.memoryKiB - memory) / count)
            self._add(proxy, ROWS[2], (process.descriptors - descriptors) / count)
            among = self._run(process, LOADS["session"])
            said, _ = holder.communicate()
        process.settle()
        held = _parsed(said)
        self._check(proxy, "idle", held, count, count)
        self._check(proxy, "growth", among, self._amount(LOADS["session"].amount))
        return among.cpu / among.done if among.done else 0.0

    def _load(
        self, proxy: Proxy, process: Running, name: str, *login: str
    ) -> float | None:
        """
        @return: seconds of processor time for each unit that was done.
        """
        load = LOADS["session" if login else name]
        result = self._run(process, load, *login)
        amount = self._amount(load.amount)
        if load.verb in ("down", "up"):
            self._check(proxy, name, result, load.sessions, load.sessions * amount)
            if result.bytes:
                gibibytes = result.bytes / 2**30
                self._add(proxy, (name, "s/GiB cpu"), result.cpu / gibibytes)
                self._add(proxy, (name, "MiB/s"), 1024 * gibibytes / result.seconds)
        else:
            self._check(proxy, name, result, amount)
            if result.done:
                self._add(proxy, (name, "us cpu"), result.cpu / result.done * 1e6)
                self._add(proxy, (name, "/s"), result.done / result.seconds)
                self._add(proxy, (name, "us p50"), result.p50)
                self._add(proxy, (name, "us p99"), result.p99)
        return result.cpu / result.done if result.done else None

    def _run(self, process: Running, load: Load, *login: str) -> Done:
        process.settle()
        before = process.cpuSeconds
        amount = str(self._amount(load.amount))
        command = [load.verb, str(process.port), str(load.sessions), amount]
        finished = subprocess.run(
            [self._loader, *command, load.host, *login],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        process.settle()
        return replace(_parsed(finished.stdout), cpu=process.cpuSeconds - before)

    def _check(
        self, proxy: Proxy, name: str, result: Done, units: int, size: int = 0
    ) -> None:
        """
        Count as failed what was not done, or not with all of its bytes.
        """
        missing = max(result.failed, units - result.done)
        if missing == 0 and result.bytes < size:
            missing = 1
        if missing > 0:
            self._add(proxy, (name, FAILED), missing)


def _parsed(output: str) -> Done:
    """
    The last line of what F{load.c} says.
    """
    try:
        return Done(**json.loads(output.splitlines()[-1]))
    except (IndexError, ValueError):
        return Done(0, 1, 0, 0.0, 0.0, 0.0)


# The table.


def printed(figure: float) -> str:
    """
    With three digits that mean something.
    """
    decimals = 0 if figure >= 100 else 1 if figure >= 10 else 2
    return f"{figure:,.{decimals}f}"


class Table:
    """
    What was measured: the medians, and how the first proxy compares with the
    others.
    """

    def __init__(self, figures: dict[str, dict[Row, list[float]]]) -> None:
        self._names = list(figures)
        self._medians = {
            name: {
                row: sum(each) if row[1] == FAILED else statistics.median(each)
                for row, each in rows.items()
            }
            for name, rows in figures.items()
        }
        # In the order in which they came.
        self._failed = list(
            dict.fromkeys(row for rows in figures.values() for row in rows)
        )
        self._failed = [row for row in self._failed if row[1] == FAILED]

    @property
    def isComplete(self) -> bool:
        """
        Whether nothing failed.
        """
        return not self._failed

    def _ratio(self, row: Row, other: str) -> float | None:
        mine = self._medians[self._names[0]].get(row)
        theirs = self._medians[other].get(row)
        return mine / theirs if mine is not None and theirs else None

    def lines(self, rst: bool) -> list[str]:
        """
        The table.
        """
        first, *others = self._names
        cells = [["", "", *self._names, *(f"{first} / {other}" for other in others)]]
        for row in ROWS + self._failed:
            line = list(row)
            for name in self._names:
                figure = self._medians[name].get(row)
                line.append("" if figure is None else printed(figure))
            for other in others:
                ratio = self._ratio(row, other) if row[1] != FAILED else None
                line.append("" if ratio is None else f"{ratio:.2f}")
            cells.append(line)
        if rst:
            # An empty first cell would be taken for the line before going on.
            cells[0][0] = "row"
            cells = [[cell or "\\" for cell in line] for line in cells]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        text = [
            "  ".join(
                cell.ljust(width) if number < 2 else cell.rjust(width)
                for number, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in cells
        ]
        if rst:
            border = "  ".join("=" * width for width in widths)
            text = [border, text[0], border, *text[1:], border]
        return text

    def behind(self) -> list[str]:
        """
        Where the first proxy is worse than another by more than a twentieth.
        """
        first, *others = self._names
        found = []
        for other in others:
            rows = []
            for row in ROWS:
                ratio = self._ratio(row, other)
                if ratio and (1 / ratio if row[1] in RATES else ratio) > 1.05:
                    rows.append(f"{' '.join(row)} ({ratio:.2f})")
            said = ", ".join(rows) or "nothing"
            found.append(f"{first} is behind {other} in: {said}.")
        return found


def machine(proxies: Sequence[Proxy], rounds: int) -> list[str]:
    """
    When, where and of what the figures are.
    """
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    versions = [f"{name} {version(name)}" for name in ("socksproxy", "twisted")] + [
        f"Python {platform.python_version()}"
    ]
    for proxy in proxies:
        if proxy.package is not None:
            asked = subprocess.run(
                ["dpkg-query", "-W", proxy.package],
                capture_output=True,
                text=True,
                check=False,
            )
            versions.append(" ".join(asked.stdout.split()) or proxy.name)
    return [
        f"{datetime.date.today()}: {cpu[1] if cpu else platform.machine()}, "
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()}, "
        f"load {os.getloadavg()[0]:.1f} before;",
        ", ".join(versions) + ";",
        f"medians of {rounds} rounds.",
    ]


# The command.


def chosen(servers: Sequence[str], logins: Sequence[str]) -> list[Proxy]:
    """
    The proxies that were asked for, but for those that are not installed.
    """
    withLogin = dict(login.split("=", 1) for login in logins)
    found = []
    for server in servers or KNOWN:
        name, _, command = server.partition("=")
        proxy = Proxy(name, command) if command else KNOWN.get(name)
        if proxy is None:
            sys.exit(f"{name}: give it as {name}=COMMAND")
        if proxy.program is not None and shutil.which(proxy.program) is None:
            print(f"{name} is left out: apt-get install {proxy.package}")
            continue
        found.append(replace(proxy, login=withLogin.get(name, proxy.login)))
    return found


def parsedArguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("servers", nargs="*", metavar="NAME[=COMMAND]")
    parser.add_argument("--login", action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--scale", type=float, default=1, help="multiply all amounts with this"
    )
    parser.add_argument("--rst", action="store_true", help="print reStructuredText")
    return parser.parse_args()


def main() -> int:
    options = parsedArguments()
    os.environ["PATH"] += ":/usr/sbin"
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    proxies = chosen(options.servers, options.login)
    heading = machine(proxies, options.rounds)
    with tempfile.TemporaryDirectory() as directory:
        loader = os.path.join(directory, "load")
        subprocess.run(
            ["cc", "-O2", "-Wall", "-Wextra", "-o", loader, str(SOURCE)], check=True
        )
        bench = Bench(loader, options.scale)
        for _ in range(options.rounds):
            bench.measure(proxies)
    table = Table(bench.figures)
    print(*heading, "", *table.lines(options.rst), "", *table.behind(), sep="\n")
    return 0 if table.isComplete else 1


if __name__ == "__main__":
    sys.exit(main())
