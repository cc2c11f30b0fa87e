"""Where metrics are served, and to whom."""

from __future__ import annotations

import socket

import pytest

from shared.errors import UsageError
from shared.prometheus import (
    OTHERS,
    Names,
    Place,
    amount,
    check_installed,
    new_registry,
    parse_place,
    serving_metrics,
)
from tests.helpers.scraping import fetched, parsed, scraped


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("9100", Place("127.0.0.1", 9100)),
        ("0", Place("127.0.0.1", 0)),
        ("0.0.0.0:9100", Place("0.0.0.0", 9100)),
        ("[::1]:9100", Place("::1", 9100)),
        ("node.example:65535", Place("node.example", 65535)),
    ],
)
def test_a_place_is_a_port_or_host_and_port(text: str, place: Place) -> None:
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["", "http", "65536", "-1", "host:", ":9100", "1e3", "٣", "a:b\n"])
def test_what_is_no_place_is_one_error(text: str) -> None:
    with pytest.raises(UsageError, match="is no port"):
        parse_place(text)


def test_it_answers_on_loopback_under_its_own_names_at_its_own_path_alone() -> None:
    told: list[str] = []
    registry = new_registry()
    with serving_metrics(registry, Place("127.0.0.1", 0), told.append):
        (address,) = told
        port = address.split(":")[2].removesuffix("/metrics")
        assert address == f"http://127.0.0.1:{port}/metrics"
        names = {name for name, _ in scraped(address)}
        assert {"process_resident_memory_bytes", "process_cpu_seconds_total"} <= names
        assert fetched(address, f"localhost:{port}")[0] == 200
        assert fetched(address, f"attacker.example:{port}")[0] == 403
        assert fetched(address, "127.0.0.1")[0] == 403
        assert fetched(address.replace("metrics", ""))[0] == 404
        assert fetched(address, method="POST")[0] == 404
        with socket.create_connection(("127.0.0.1", int(port))) as silent:  # holds up nobody
            silent.sendall(b"GET /metr")
            assert scraped(address)
    with pytest.raises(OSError, match="refused"):
        fetched(address)


def test_a_port_that_is_taken_is_one_error() -> None:
    registry = new_registry()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        place = Place("127.0.0.1", taken.getsockname()[1])
        with (
            pytest.raises(UsageError, match="metrics cannot be served at"),
            serving_metrics(registry, place, lambda _: None),
        ):
            raise AssertionError


def test_names_are_escaped_cut_and_bounded() -> None:
    names = Names(2)
    assert names.of('a"\n\x1b[31m') == 'a"\\n\\x1b[31m'
    assert len(names.of("b" * 10_000)) <= 103
    assert names.of("c") == OTHERS
    assert names.of("b" * 10_000) != OTHERS


def test_a_hostile_name_is_one_value_of_a_label_and_no_line_of_its_own() -> None:
    from prometheus_client import CollectorRegistry, Counter, generate_latest

    registry = CollectorRegistry()
    hostile = 'x"} 1\nfedsms_faked_total 7\n# "\\'
    Counter("fedsms_real", "Real.", ("node",), registry=registry).labels(hostile).inc()
    found = parsed(generate_latest(registry).decode())
    assert {name for name, _ in found if name.endswith("_total")} == {"fedsms_real_total"}


def test_claims_that_are_no_amounts_count_for_nothing() -> None:
    wrong = (float("nan"), float("inf"), -1.0, None, 0)
    assert [amount(one) for one in wrong] == [0.0] * len(wrong)
    assert amount(2.5) == 2.5


def test_without_the_package_there_is_one_error_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=r"pip install --no-deps -r requirements-metrics\.txt"):
        check_installed()
