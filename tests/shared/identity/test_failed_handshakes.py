"""What a log says of TLS handshakes that failed."""

from __future__ import annotations

import logging
import ssl

import pytest

from shared.identity.failed_handshakes import FailedHandshakes, describe_failure


def failure(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, "[SSL] what OpenSSL says beside it")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "whoever dialled has no certificate"),
        ("UNSUPPORTED_PROTOCOL", "whoever dialled speaks no TLS 1.3"),
        ("NO_PROTOCOLS_AVAILABLE", "whoever dialled speaks no TLS 1.3"),
        ("TLSV1_ALERT_UNKNOWN_CA", "does not accept this node's certificate"),
        ("WRONG_VERSION_NUMBER", "speaks no TLS that this node understands (wrong version number)"),
    ],
)
def test_a_failed_handshake_is_told_in_an_owners_words(reason: str, words: str) -> None:
    assert words in describe_failure(failure(reason), "node")


def test_a_certificate_that_is_not_good_is_told_by_why() -> None:
    error = ssl.SSLCertVerificationError(1, "failed")
    error.verify_message = "certificate has expired"
    assert describe_failure(error, "node").endswith("not good here: certificate has expired")


def test_a_failure_that_names_no_reason_is_told_in_openssls_words() -> None:
    error = ssl.SSLError(1, "Unexpected_EOF")
    error.reason = None  # type: ignore[assignment]  # as OpenSSL leaves it at times
    assert "(unexpected eof)" in describe_failure(error, "node")


def test_a_machine_that_has_just_started_tells_of_the_first_one_too(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock counts from 0."""
    monkeypatch.setattr("shared.identity.failed_handshakes.time.monotonic", lambda: 0.0)
    FailedHandshakes(logging.getLogger("fedsms.node"), "node")(failure("WRONG_VERSION_NUMBER"))
    assert "wrong version number" in caplog.text


def test_each_reason_is_told_once_a_minute(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.WARNING, "fedsms.node")
    now = [1000.0]
    monkeypatch.setattr("shared.identity.failed_handshakes.time.monotonic", lambda: now[0])
    tell = FailedHandshakes(logging.getLogger("fedsms.node"), "node")
    for moment, reason in (
        (1000.0, "UNSUPPORTED_PROTOCOL"),
        (1000.0, "WRONG_VERSION_NUMBER"),
        (1059.9, "UNSUPPORTED_PROTOCOL"),
        (1060.0, "UNSUPPORTED_PROTOCOL"),
        (1061.0, "UNSUPPORTED_PROTOCOL"),
    ):
        now[0] = moment
        tell(failure(reason))
    told = [record.getMessage() for record in caplog.records]
    assert [("1.3" in one) for one in told] == [True, False, True]
