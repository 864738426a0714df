#!/usr/bin/env python3
"""
Does the time of a refusal tell whether there is such a user?  Measure logins by
C{--auth htpasswd:} with a wrong password: of a user who is in the file and of one who
is not, in turn, for each kind of hash.

    logins.py --tries 200 [-- OPTIONS of twistd socks5]

Printed are the medians in milliseconds, and the known users' divided by the others'.
The last column tells how much of that is chance: it is the known users' with even
numbers divided by those with odd ones.
"""

from __future__ import annotations

import argparse
import shlex
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import bcrypt
from argon2 import PasswordHasher
from passlib.hash import sha512_crypt
from proxies import running

PATIENCE = 60.0
"""
Seconds for one login.
"""

KINDS: dict[str, Callable[[bytes], bytes]] = {
    "bcrypt, cost 5": lambda word: bcrypt.hashpw(word, bcrypt.gensalt(5)),
    "bcrypt, cost 10": lambda word: bcrypt.hashpw(word, bcrypt.gensalt(10)),
    "argon2id": lambda word: PasswordHasher().hash(word).encode(),
    "SHA-512 crypt": lambda word: sha512_crypt.using(rounds=5000).hash(word).encode(),
}
"""
How to make each hash, at the cost that the programs choose which write it.
"""


def refused(port: int, name: bytes) -> float:
    """
    Log in as C{name} with a wrong password.

    @return: the milliseconds until the answer.
    """
    password = b"wrong-password"
    login = bytes((1, len(name))) + name + bytes((len(password),)) + password
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as client:
        client.sendall(b"\x05\x01\x02")
        if client.recv(2) != b"\x05\x02":
            sys.exit("the proxy wants no login")
        begun = time.perf_counter()
        client.sendall(login)
        answer = client.recv(2)
        taken = time.perf_counter() - begun
    if answer != b"\x01\x01":
        sys.exit(f"a wrong password was answered with {answer!r}")
    return taken * 1000


def measured(kind: str, tries: int, options: list[str]) -> list[str]:
    """
    A row of the table.
    """
    known: list[float] = []
    unknown: list[float] = []
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "users"
        stored = KINDS[kind](b"right-password")
        path.write_bytes(b"".join(b"user%d:%b\n" % (n, stored) for n in range(10)))
        command = ["socks5", "--port", "{port}", "--auth", f"htpasswd:{path}"]
        # All of them are wrong.
        command += ["--login-pause-after", "0", "--login-ban-after", "0", *options]
        with running(f"exec {{twistd}} {shlex.join(command)}") as proxy:
            for number in range(10):
                refused(proxy.port, b"user%d" % number)
            for number in range(tries):
                known.append(refused(proxy.port, b"user%d" % (number % 10)))
                unknown.append(refused(proxy.port, b"nobody%d" % (number % 10)))
    median = statistics.median
    halves = median(known[::2]) / median(known[1::2]) if tries > 1 else 1.0
    return [
        *(kind, f"{median(known):.2f}", f"{median(unknown):.2f}"),
        *(f"{median(known) / median(unknown):.3f}", f"{halves:.3f}"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tries", type=int, default=200, help="of each sort")
    parser.add_argument("options", nargs="*", help="of twistd socks5, behind --")
    arguments = parser.parse_args()
    rows = [["hash", "known", "unknown", "ratio", "noise"]]
    for kind in KINDS:
        rows.append(measured(kind, max(1, arguments.tries), arguments.options))
    for row in rows:
        print(f"{row[0]:<16}", *(f"{cell:>9}" for cell in row[1:]))


if __name__ == "__main__":
    main()
