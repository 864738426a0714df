#!/usr/bin/env python3
"""
Measure SOCKS5 proxies side by side, in one run, on the same work.

Without arguments: this one, microsocks and Dante, as far as they are installed.
A proxy of any other name is given as NAME=COMMAND. A shell runs COMMAND, in which
{port} becomes the port to listen on, at 127.0.0.1 and without a login; with
--login NAME=COMMAND the same proxy is measured with one, {user} and {password}.

    compare.py ours microsocks 'poll=exec {twistd} --reactor=poll socks5 --port {port}'

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
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from proxies import KNOWN, PASSWORD, USER, Proxy, Running, running
from table import FAILED, Row, Table

SOURCE = Path(__file__).with_name("load.c")
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
                self._add(proxy, ("start", "ms"), process.startSeconds * 1000)
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
            self._add(proxy, ("idle", "KiB"), (process.memoryKiB - memory) / count)
            self._add(
                proxy,
                ("idle", "descriptors"),
                (process.descriptors - descriptors) / count,
            )
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


def machine(proxies: Sequence[Proxy], rounds: int) -> list[str]:
    """
    When, where and of what the figures are.
    """
    cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
    versions = [f"Python {platform.python_version()}"]
    try:
        versions += [f"{name} {version(name)}" for name in ("Twisted", "socksproxy")]
    except PackageNotFoundError as wrong:
        sys.exit(f"this wants a Python that has the project installed: {wrong}")
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
    """
    The command line.
    """
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
    """
    @return: the exit status.
    """
    options = parsedArguments()
    os.environ["PATH"] += ":/usr/sbin"
    if shutil.which("cc") is None:
        sys.exit("there is no C compiler: apt-get install gcc libc6-dev")
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
