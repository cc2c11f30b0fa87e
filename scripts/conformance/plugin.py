"""A pytest plugin under which PySyft's own tests run unedited on fedsms's stack.

scripts/pysyft_conformance.py gives it to each pytest that it starts.
"""

from __future__ import annotations

import importlib
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

# mends syft, before the tests' own conftest imports it
importlib.import_module("shared.pysyft")

SEED = 25


def pytest_runtest_setup(item: pytest.Item) -> None:
    # Some of the tests share out or round random values that must fit, and one leaves its seed to
    # the next: with the same seed before each, a result says something about the stack.
    random.seed(SEED)
    torch.manual_seed(SEED)


def _self_signed() -> tuple[bytes, bytes]:
    """A certificate for localhost and its key, both PEM."""
    with tempfile.TemporaryDirectory() as folder:
        key, certificate = Path(folder, "key.pem"), Path(folder, "certificate.pem")
        subject = ["-subj", "/CN=localhost", "-days", "2"]
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *subject]
        command += ["-keyout", str(key), "-out", str(certificate)]
        subprocess.run(command, check=True, capture_output=True)  # nothing is given
        return certificate.read_bytes(), key.read_bytes()


def _open_ssl() -> ModuleType:
    """The few names of pyOpenSSL that one test makes a certificate with.

    It asks for an RSA key of 1024 bits signed with SHA-1, which today's OpenSSL refuses to serve.
    """

    class Anything:
        def __getattr__(self, name: str) -> Any:
            return lambda *_: None

    pair: list[bytes] = []

    def part(index: int) -> bytes:
        pair.extend([] if pair else _self_signed())
        return pair[index]

    crypto = ModuleType("OpenSSL.crypto")
    crypto.__dict__.update(
        PKey=Anything,
        X509=Anything,
        TYPE_RSA=6,
        FILETYPE_PEM=1,
        dump_certificate=lambda *_: part(0),
        dump_privatekey=lambda *_: part(1),
    )
    package = ModuleType("OpenSSL")
    package.__dict__.update(crypto=crypto, SSL=ModuleType("OpenSSL.SSL"))
    return package


sys.modules.setdefault("OpenSSL", _open_ssl())
