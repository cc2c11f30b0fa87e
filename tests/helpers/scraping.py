"""Metrics as Prometheus fetches and reads them."""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
"""Values by name and labels."""


def fetched(address: str, host: str = "", method: str = "GET") -> tuple[int, str, str]:
    """Status, kind and body. Args: host: named in place of the address's."""
    parts = urlsplit(address)
    assert parts.hostname is not None
    line = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)
    try:
        line.request(method, parts.path, headers={"Host": host} if host else {})
        answer = line.getresponse()
        return answer.status, answer.headers.get("Content-Type", ""), answer.read().decode()
    finally:
        line.close()


def parsed(text: str) -> Samples:
    """Read with the parser of Prometheus' own client."""
    from prometheus_client.parser import text_string_to_metric_families

    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def scraped(address: str) -> Samples:
    status, kind, text = fetched(address)
    assert status == 200
    assert kind.startswith("text/plain")
    return parsed(text)


def values(found: Samples, name: str) -> dict[str, float]:
    """By the value of the only label; "" where there is none."""
    return {
        labels[0][1] if labels else "": value
        for (one, labels), value in found.items()
        if one == name
    }
