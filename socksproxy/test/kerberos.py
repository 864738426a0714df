"""
A Kerberos realm of one's own: a KDC in a process, on loopback, that is gone with
its test.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable
from functools import reduce
from operator import or_
from typing import Any, TypeVar
from unittest import skipIf

from twisted.python.failure import Failure

from socksproxy.test.processes import PATIENCE, ProcessTestCase, needs
from socksproxy.wire.buffer import ReceiveBuffer

try:
    import gssapi
except ImportError:
    gssapi = None  # type: ignore[assignment]

__all__ = [
    "Acceptor",
    "Initiator",
    "KerberosTestCase",
    "NegotiationTestCase",
    "Realm",
    "Threads",
    "needsKerberos",
]

PROGRAMS = ("krb5kdc", "kdb5_util", "kadmin.local", "kinit")

_T = TypeVar("_T", bound=Callable[..., object])

REALM = "EXAMPLE.TEST"

SERVICES = ("rcmd/localhost", "rcmd/127.0.0.1")

_CONFIGURATION = f"""\
[libdefaults]
    default_realm = {REALM}
    dns_lookup_kdc = false
    dns_lookup_realm = false
    dns_canonicalize_hostname = false
    rdns = false
    udp_preference_limit = 1
[realms]
    {REALM} = {{
        kdc = 127.0.0.1:%(port)d
    }}
"""

_KDC = f"""\
[kdcdefaults]
    kdc_listen = ""
    kdc_tcp_listen = 127.0.0.1:%(port)d
[realms]
    {REALM} = {{
        database_name = %(directory)s/principal
        key_stash_file = %(directory)s/stash
        acl_file = %(directory)s/acl
    }}
"""


def _setVariable(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def needsKerberos(testCase: _T) -> _T:
    """
    Skip what is decorated, with a reason, where there is no Kerberos.
    """
    missing = skipIf(gssapi is None, "there is no package gssapi")
    return missing(needs(*PROGRAMS)(testCase))


class Realm:
    """
    A KDC that knows the user C{alice} and the services C{rcmd/localhost} and
    C{rcmd/127.0.0.1}.

    @ivar port: the KDC's.
    @ivar keytab: the path of the services' keys.
    @ivar environment: what programs want to know to be part of this realm;
        C{alice} has a ticket there.
    """

    def __init__(self) -> None:
        self._directory = tempfile.mkdtemp(prefix="socksproxy-realm-")
        self._kdc: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.keytab = self.path("keytab")
        self.environment = {
            "KRB5_CONFIG": self.path("krb5.conf"),
            "KRB5_KDC_PROFILE": self.path("kdc.conf"),
            "KRB5CCNAME": "FILE:" + self.path("tickets"),
            "KRB5RCACHEDIR": self._directory,
        }

    def path(self, name: str) -> str:
        """
        A file of the realm's.
        """
        return os.path.join(self._directory, name)

    def start(self) -> None:
        """
        Make the realm, and wait until it answers.
        """
        # A port that was free may be somebody else's by the time it is wanted.
        for _ in range(5):
            self._configure()
            if self._kdc is None:
                self._create()
            if self._serves():
                break
        else:
            raise AssertionError("the KDC does not listen")
        # One that could be handed on to others.
        self._run("kinit", "-f", "alice", given="secret\n")

    def renewKeys(self) -> None:
        """
        Give the services new keys, in the same file, and C{alice} new tickets.
        """
        for each in SERVICES:
            self._run("kadmin.local", given=f"ktadd -k {self.keytab} {each}\n")
        self._run("kinit", "alice", given="secret\n")

    def clientKeytab(self) -> str:
        """
        @return: the path of a file with the key of C{alice}, who has no password
            from now on.
        """
        keytab = self.path("alice.keytab")
        self._run("kadmin.local", given=f"ktadd -k {keytab} alice\n")
        return keytab

    def enter(self, addCleanup: Callable[..., object]) -> None:
        """
        Make this process part of it, until its test is over.
        """
        for name, value in self.environment.items():
            addCleanup(_setVariable, name, os.environ.get(name))
            _setVariable(name, value)

    def silence(self, silent: socket.socket) -> None:
        """
        Whoever asks the KDC from now on asks C{silent} instead.
        """
        path = self.path("krb5.conf")
        with open(path) as file:
            text = file.read()
        here, there = (f"127.0.0.1:{n}" for n in (self.port, silent.getsockname()[1]))
        with open(path, "w") as file:
            file.write(text.replace(here, there))

    def stopKDC(self) -> None:
        """
        Nobody answers any more.
        """
        if self._kdc is not None:
            self._kdc.kill()
            self._kdc.wait(PATIENCE)

    def stop(self) -> None:
        """
        Leave nothing.
        """
        self.stopKDC()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _configure(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        values = {"port": self.port, "directory": self._directory}
        for name, text in (("krb5.conf", _CONFIGURATION), ("kdc.conf", _KDC)):
            with open(self.path(name), "w") as file:
                file.write(text % values)

    def _create(self) -> None:
        self._run("kdb5_util", "create", "-s", "-P", "master")
        services = " ".join(SERVICES)
        self._run(
            "kadmin.local",
            given="addprinc -pw secret alice\n"
            + "".join(f"addprinc -randkey {each}\n" for each in SERVICES)
            + f"ktadd -k {self.keytab} {services}\n",
        )

    def _serves(self) -> bool:
        with open(self.path("log"), "wb") as log:
            self._kdc = subprocess.Popen(
                ["krb5kdc", "-n"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **self.environment},
            )
        end = time.monotonic() + PATIENCE
        while self._kdc.poll() is None and time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
            except OSError:
                time.sleep(0.02)
            else:
                # Somebody else could listen there: then it ends.
                time.sleep(0.02)
                return self._kdc.poll() is None
        return False

    def _run(self, *command: str, given: str = "") -> None:
        done = subprocess.run(
            command,
            input=given,
            capture_output=True,
            check=False,
            text=True,
            env={**os.environ, **self.environment},
            timeout=PATIENCE,
        )
        if done.returncode:
            raise AssertionError(f"{command}: {done.stdout} {done.stderr}")


class KerberosTestCase(ProcessTestCase):
    """
    Tests in a realm, which they and the processes that they start are part of.
    """

    def setUp(self) -> None:
        super().setUp()
        self.realm = realm = Realm()
        self.addCleanup(realm.stop)
        realm.start()
        realm.enter(self.addCleanup)


class _End:
    """
    One side of a security context and the frames around it, which know nothing of
    the package's own.

    @ivar context: a L{gssapi.SecurityContext}.
    """

    context: Any

    def frame(self, type: int, token: bytes) -> bytes:
        return struct.pack("!BBH", 1, type, len(token)) + token

    def token(self, answer: bytes | None = None) -> bytes:
        """
        The next frame for the context, nothing when there is none.

        @param answer: the last token of the other side.
        """
        token = self.context.step(answer)
        return self.frame(1, token) if token else b""

    def level(self, level: bytes, nec: bool = False) -> bytes:
        """
        The frame in which a level of protection is named.
        """
        return self.frame(2, level if nec else self.context.wrap(level, False).message)

    def wrap(self, data: bytes, encrypt: bool = True) -> bytes:
        """
        A frame with a message.
        """
        return self.frame(3, self.context.wrap(data, encrypt).message)

    def unwrap(self, frame: bytes) -> tuple[bytes, bool]:
        """
        The message that is in a frame, and whether it was encrypted.
        """
        result = self.context.unwrap(frame[4:])
        return result.message, result.encrypted


class Initiator(_End):
    """
    The client's.
    """

    def __init__(
        self,
        service: str = "rcmd@localhost",
        flags: tuple[str, ...] = ("mutual_authentication", "replay_detection"),
    ) -> None:
        self.context = gssapi.SecurityContext(
            name=gssapi.Name(service, gssapi.NameType.hostbased_service),
            mech=gssapi.MechType.kerberos,
            flags=reduce(or_, [gssapi.RequirementFlag[flag] for flag in flags]),
            usage="initiate",
        )


class Acceptor(_End):
    """
    The proxy's.
    """

    def __init__(self, realm: Realm) -> None:
        store: Any = {"keytab": realm.keytab}
        self.context = gssapi.SecurityContext(
            creds=gssapi.Credentials(usage="accept", store=store), usage="accept"
        )


class Threads:
    """
    A reactor's threads, which do something when the test says so.
    """

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def getThreadPool(self) -> Threads:
        return self

    def callFromThread(self, function: Callable[..., None], *arguments: Any) -> None:
        function(*arguments)

    def callInThreadWithCallback(
        self,
        onResult: Callable[[bool, Any], None],
        function: Callable[..., Any],
        *arguments: Any,
    ) -> None:
        def work() -> None:
            try:
                result = function(*arguments)
            except Exception:
                onResult(False, Failure())
            else:
                onResult(True, result)

        self.waiting.append(work)

    def work(self) -> None:
        """
        Do what waits.
        """
        waiting, self.waiting = self.waiting, []
        for work in waiting:
            work()


class NegotiationTestCase(KerberosTestCase):
    """
    Tests of negotiations, which go to threads now and then.
    """

    def setUp(self) -> None:
        super().setUp()
        self.threads = Threads()

    def advance(self, negotiation: Any, data: bytes = b"") -> Any:
        """
        The step after C{data}, of which nothing is left.
        """
        received = ReceiveBuffer(data)
        step = negotiation.advance(received)
        self.assertEqual(len(received), 0)
        if self.threads.waiting:
            self.assertNoResult(step)
            self.threads.work()
            return self.successResultOf(step)
        return step
