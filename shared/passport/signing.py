"""Signatures of JSON values, and whose count: holders of certificates of one federation's CA.

What is signed is one encoding of the values (keys in order, no blanks, ASCII), after a line that
says what it is, so that a signature of one thing is none of another. The same keys sign TLS
handshakes, requests, audit anchors and secure sums, which all begin otherwise. ECDSA with SHA-256.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from pydantic import BaseModel, ConfigDict, Field

from shared.errors import NotProven
from shared.identity.certificates import (
    CURVES,
    Name,
    UnfitCertificate,
    certificate_from_pem,
    describe,
    federation_of,
    is_issued_by,
    moment_in_words,
    name_of,
    to_pem,
)
from shared.identity.folder import Identity, read_key

Purpose = Literal["passport", "countersignature", "forgotten"]


class Signature(BaseModel):
    """certificate: of whoever signed, in PEM. signature: base64."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    certificate: str = Field(max_length=16_384)
    signature: str = Field(max_length=256)


def canonical(values: Mapping[str, Any]) -> bytes:
    """The one encoding of JSON values. Raises ValueError for numbers that are not finite."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return text.encode("ascii")


def _signed(purpose: Purpose, values: Mapping[str, Any]) -> bytes:
    return f"fedsms {purpose} 1\n".encode() + canonical(values)


def sign(purpose: Purpose, values: Mapping[str, Any], identity: Identity) -> Signature:
    """Raises IdentityError and StorageError as reading the identity's key does."""
    data = _signed(purpose, values)
    made = read_key(identity.folder).sign(data, ec.ECDSA(hashes.SHA256()))
    pem = to_pem(identity.certificate).decode()
    return Signature(certificate=pem, signature=base64.b64encode(made).decode())


def parse_json(data: bytes) -> dict[str, Any]:
    """A JSON object in which no key stands twice: two readers could see two things.

    Raises:
        ValueError: it is none.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(pairs)
        if len(made) != len(pairs):
            raise ValueError("a key stands there twice")
        return made

    try:
        found = json.loads(data, object_pairs_hook=once)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it holds no table")  # noqa: TRY004 - of a file, as of JSON that is none
    return found


@dataclass(frozen=True)
class Trusted:
    """Whose certificates count.

    ca: the federation's. crl: its list of revoked certificates; None looks at none.
    """

    ca: x509.Certificate
    crl: x509.CertificateRevocationList | None = None

    def check(
        self,
        purpose: Purpose,
        values: Mapping[str, Any],
        signature: Signature,
        signer: Name,
        at: datetime,
    ) -> x509.Certificate:
        """The certificate of `signer`, who signed the values at that time.

        A certificate that has ended since was good then, and so is what it signed. One that was
        revoked before proves nothing; one revoked later does, if its key was not lost by then.

        Raises:
            NotProven: with what is wrong.
        """
        whose = f"the signature of {signer}"
        try:
            certificate = certificate_from_pem(signature.certificate.encode())
            name, key = name_of(certificate), certificate.public_key()
        except UnfitCertificate as error:
            raise NotProven(f"{whose} has no certificate that can be read", str(error)) from error
        if not is_issued_by(certificate, self.ca):
            why = f"{describe(certificate)}; trusted here is {federation_of(self.ca)} alone"
            raise NotProven(f"{whose} was made with a certificate of an unknown CA", why)
        if name != signer:
            raise NotProven(f"{whose} is another's", f"it was made by {name}")
        if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in CURVES:
            raise NotProven(f"{whose} was made with a key of another kind")
        self._check_time(certificate, whose, at)
        try:
            data = base64.b64decode(signature.signature, validate=True)
            key.verify(data, _signed(purpose, values), ec.ECDSA(hashes.SHA256()))
        except (InvalidSignature, ValueError):
            raise NotProven(f"{whose} does not fit", "what was signed was changed since") from None
        return certificate

    def _check_time(self, certificate: x509.Certificate, whose: str, at: datetime) -> None:
        since, until = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if not since <= at <= until:
            why = f"it says {moment_in_words(at)}, and {describe(certificate)}"
            raise NotProven(f"{whose} was not made while its certificate was valid", why)
        if self.crl is None:
            return
        revoked = self.crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
        if revoked is not None and revoked.revocation_date_utc <= at:
            when = moment_in_words(revoked.revocation_date_utc)
            raise NotProven(f"{whose} was made after its certificate was revoked", f"at {when}")
