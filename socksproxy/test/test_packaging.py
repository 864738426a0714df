"""
What is installed is what works: the wheel and the editable install.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import socksproxy
from socksproxy.test.processes import Finished, ProcessTestCase, needs

_STARTED_IN = Path.cwd()
"""
trial works in a directory of its own within the one that it was started in.
"""


def _checkout() -> Path | None:
    """
    Where the project's files are: beside the package, or around the directory
    of the tests, when the package under test is an installed one.
    """

    def candidates() -> Iterator[Path]:
        yield Path(socksproxy.__file__).parent.parent
        for directory in (_STARTED_IN, Path.cwd()):
            yield directory
            yield from directory.parents

    for candidate in candidates():
        setup = candidate / "setup.cfg"
        if setup.is_file() and "name = socksproxy\n" in setup.read_text():
            return candidate
    return None


@needs("git")
class InstallTests(ProcessTestCase):
    """
    Each installation is made as a user makes it, by pip, with the dependencies
    from the package index, in an environment that has nothing else: one that
    borrowed the running environment's packages could find this package's
    plugin there.
    """

    def setUp(self) -> None:
        """
        Copy the files that are in git, or will be.
        """
        checkout = _checkout()
        if checkout is None:
            self.skipTest("these tests do not run from a checkout of the project")
        listed = self.run_(
            *("git", "-c", "safe.directory=*", "ls-files", "-z"),
            *("--cached", "--others", "--exclude-standard"),
            cwd=str(checkout),
        )
        if listed.status:
            self.skipTest(f"git does not list the project's files: {listed!r}")
        self.sources = os.path.join(self.directory(), "sources")
        for name in filter(None, listed.output.split("\0")):
            if (checkout / name).is_file():
                copy = os.path.join(self.sources, name)
                os.makedirs(os.path.dirname(copy), exist_ok=True)
                shutil.copyfile(checkout / name, copy)

    def environment(self) -> str:
        """
        Make an empty virtual environment.

        @return: the directory of its commands.
        """
        directory = os.path.join(self.directory(), "environment")
        made = self.run_(sys.executable, "-m", "venv", "--without-pip", directory)
        self.assertEqual(made.status, 0, repr(made))
        return os.path.join(directory, "bin")

    def pip(self, *arguments: str) -> None:
        """
        Run the running environment's pip.
        """
        finished = self.run_(
            *(sys.executable, "-m", "pip", "--disable-pip-version-check"),
            *arguments,
            timeout=300,
        )
        self.assertEqual(finished.status, 0, repr(finished))

    def isolated(self, *command: str) -> Finished:
        """
        Run C{command} in an empty directory, without the variables that
        could show it packages from elsewhere.
        """
        variables = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("PYTHON", "VIRTUAL_ENV", "COVERAGE"))
        }
        return Finished(
            subprocess.run(
                command,
                cwd=self.directory(),
                env=variables,
                capture_output=True,
                check=False,
                timeout=60,
            )
        )

    def assertInstalled(self, commands: str) -> None:
        """
        C{twistd} and C{twist} offer C{socks5}, and it can be started.
        """
        for command in ("twistd", "twist"):
            said = self.isolated(os.path.join(commands, command), "--help")
            self.assertEqual(said.status, 0, repr(said))
            self.assertRegex(said.output, r"\n +socks5 ", command)
        said = self.isolated(os.path.join(commands, "twistd"), "socks5", "--version")
        self.assertEqual(said.status, 0, repr(said))
        self.assertIn(socksproxy.__version__, said.output)

    def whereIs(self, commands: str) -> str:
        """
        Where an environment's Python finds the package.
        """
        found = self.isolated(
            os.path.join(commands, "python"),
            "-c",
            "import socksproxy; print(socksproxy.__file__)",
        )
        self.assertEqual(found.status, 0, repr(found))
        return os.path.realpath(found.output.strip())

    def test_wheel(self) -> None:
        """
        The wheel has all of it, and no file of Twisted's own.
        """
        wheels, commands = self.directory(), self.environment()
        self.pip("wheel", "--no-deps", "--wheel-dir", wheels, self.sources)
        (wheel,) = os.listdir(wheels)
        path = os.path.join(wheels, wheel)
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
        self.assertIn("socksproxy/py.typed", names)
        self.assertIn("twisted/plugins/socksproxy_plugin.py", names)
        self.assertIn("twisted/plugins/socksproxy_cred.py", names)
        self.assertNotIn("twisted/__init__.py", names)
        self.assertNotIn("twisted/plugins/__init__.py", names)
        packaged = {
            os.path.relpath(os.path.join(directory, name), self.sources)
            for directory, _, files in os.walk(os.path.join(self.sources, "socksproxy"))
            for name in files
            if name.endswith(".py")
        }
        self.assertEqual(packaged - names, set(), "not in the wheel")
        self.pip("--python", os.path.join(commands, "python"), "install", path)
        self.assertIn("site-packages", self.whereIs(commands))
        self.assertInstalled(commands)

    def test_editable(self) -> None:
        """
        The editable install finds the plugin as well.
        """
        commands = self.environment()
        python = os.path.join(commands, "python")
        self.pip("--python", python, "install", "--editable", self.sources)
        self.assertEqual(
            self.whereIs(commands),
            os.path.realpath(os.path.join(self.sources, "socksproxy", "__init__.py")),
        )
        self.assertInstalled(commands)
