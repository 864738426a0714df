"""
The plan of the house: who may import whom.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import socksproxy

PACKAGE = Path(socksproxy.__file__).parent

FLOORS = (
    ("wire",),
    ("errors", "deadlines", "daemonpool", "hubconnection", "udpsocket"),
    ("interfaces",),
    ("gsslayer", "secured"),
    ("auth", "access", "client", "outbound", "relay"),
    ("server",),
    ("monitor",),
    ("service",),
    ("tls",),
    ("worker",),
    ("workers",),
    ("command",),
    ("options",),
    ("tap",),
)
"""
Each room imports from itself and from floors above its own, never from beside
it or from below.
"""

BESIDE = (("outbound", "client"),)
"""
Who may import from a room on its own floor all the same: the way to the target
can lead through other proxies.
"""

EVERYWHERE = ("testing", "__init__", "test")
"""
Not rooms: these see all of them.
"""


def modules(package: Path) -> list[Path]:
    """
    The package's modules, but for its tests.
    """
    return [
        path
        for path in sorted(package.rglob("*.py"))
        if path.relative_to(package).parts[0] != "test"
    ]


def room(parts: tuple[str, ...]) -> str:
    """
    The room of a module, by its path below the package.
    """
    return parts[0].removesuffix(".py")


def imports(tree: ast.AST) -> list[tuple[int, str]]:
    """
    The line and the full name of everything that is imported at run time.
    """
    found = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found += [
                (node.lineno, f"{node.module}.{alias.name}") for alias in node.names
            ]
        found += imports(node)
    return found


def breaches(package: Path) -> list[str]:
    """
    Every import that goes through a wall.
    """
    floorOf = {name: number for number, floor in enumerate(FLOORS) for name in floor}
    found = []
    for path in modules(package):
        parts = path.relative_to(package).parts
        here = room(parts)
        if here in EVERYWHERE:
            continue
        if here not in floorOf:
            found.append(f"{here}: is on no floor")
            continue
        for line, name in imports(ast.parse(path.read_text())):
            where = f"{'/'.join(parts)}:{line}: {name}"
            top, _, rest = name.partition(".")
            if top != "socksproxy":
                if here == "wire" and top not in sys.stdlib_module_names:
                    found.append(f"{where}: wire has the standard library only")
                if name == "twisted.internet.reactor" and here != "tap":
                    found.append(f"{where}: only tap has the global reactor")
                continue
            there = rest.partition(".")[0]
            if there == here or (here == "tap" and there == "__version__"):
                continue
            if (here, there) in BESIDE:
                continue
            if floorOf.get(there, len(FLOORS)) >= floorOf[here]:
                found.append(f"{where}: not above {here}")
    return found


def circles(package: Path) -> list[str]:
    """
    Modules that import each other, on whatever way.
    """
    names = {
        ".".join(("socksproxy", *path.relative_to(package).with_suffix("").parts)): path
        for path in modules(package)
    }
    graph: dict[str, set[str]] = {}
    for module, path in names.items():
        wanted = [name for _, name in imports(ast.parse(path.read_text()))]
        graph[module] = {
            other
            for name in wanted
            for other in (name, name.rpartition(".")[0])
            if other in names
        }
    found: list[str] = []
    done: set[str] = set()

    def walk(module: str, way: tuple[str, ...]) -> None:
        if module in way:
            found.append(" -> ".join((*way[way.index(module) :], module)))
        elif module not in done:
            for other in sorted(graph[module]):
                walk(other, (*way, module))
            done.add(module)

    for module in sorted(graph):
        walk(module, ())
    return found


class WallTests(SynchronousTestCase):
    """
    The walls stand.
    """

    def test_importsGoUp(self) -> None:
        """
        A room imports from those above it only.
        """
        self.assertEqual(breaches(PACKAGE), [])

    def test_noCircles(self) -> None:
        """
        No module imports itself by way of others.
        """
        self.assertEqual(circles(PACKAGE), [])

    def test_breachesAreSeen(self) -> None:
        """
        This test would notice: a wall that is broken in every way there is.
        """
        broken = Path(self.mktemp()) / "socksproxy"
        for name, text in (
            ("wire/a.py", "import zope.interface\nfrom socksproxy.errors import X\n"),
            ("client/a.py", "from socksproxy.outbound import direct\n"),
            ("outbound/a.py", "from socksproxy.client import login\n"),
            ("auth/b.py", "def f():\n    from socksproxy.relay import relay\n"),
            ("relay/c.py", "from twisted.internet import reactor\n"),
            ("cellar/d.py", ""),
            ("server/e.py", "from socksproxy.server.f import g\n"),
            ("server/f.py", "from socksproxy.server import e\n"),
        ):
            path = broken / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.assertEqual(
            breaches(broken),
            [
                "auth/b.py:2: socksproxy.relay.relay: not above auth",
                "cellar: is on no floor",
                "client/a.py:1: socksproxy.outbound.direct: not above client",
                "relay/c.py:1: twisted.internet.reactor: only tap has the global "
                "reactor",
                "wire/a.py:1: zope.interface: wire has the standard library only",
                "wire/a.py:2: socksproxy.errors.X: not above wire",
            ],
        )
        self.assertEqual(
            circles(broken),
            ["socksproxy.server.e -> socksproxy.server.f -> socksproxy.server.e"],
        )

    def test_exports(self) -> None:
        """
        What the front door names is there, and every module says what is its
        own.
        """
        for name in socksproxy.__all__:
            self.assertTrue(hasattr(socksproxy, name), name)
        for path in modules(PACKAGE):
            if path.name != "__init__.py":
                self.assertIn("__all__", path.read_text(), path)
