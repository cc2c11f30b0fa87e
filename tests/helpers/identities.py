"""Federations' identities for tests: good ones as the product makes them, and false ones."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from server.authority.enrolment import bundle, make_own, read_request
from server.authority.folder import Authority, make_authority
from shared.identity.certificates import (
    Name,
    certificate_from_pem,
    key_from_pem,
    name_of,
    to_pem,
)
from shared.identity.tls import blind_context
from worker_node.membership.enrolment import join, make_request

LONG_AGO = timedelta(days=400)


@dataclass(frozen=True)
class Federation:
    """A CA, and the identity folders of its members, all below one folder."""

    folder: Path
    authority: Authority

    def coordinator(self, name: str = "coordinator") -> Path:
        """The identity folder of a coordinator; made where there is none."""
        folder = self.folder / f"coordinator-{name}"
        if not folder.exists():
            make_own(self.authority, folder, Name("coordinator", name), days=365)
        return folder

    def node(self, node_id: str) -> Path:
        """The identity folder of a node that has joined; made where there is none."""
        folder = self.folder / f"node-{node_id}"
        if not folder.exists():
            request, _ = make_request(folder, node_id)
            issued = self.authority.issue(*read_request(request), days=365)
            answer = self.folder / f"{node_id}.pem"
            answer.write_bytes(bundle(self.authority, issued))
            join(answer, folder)
        return folder

    def ca_key_path(self) -> Path:
        return self.authority.folder / "ca-key.pem"

    def expire(self, folder: Path) -> Path:
        """Makes an identity's certificate one that ended long ago; all else stays."""
        now = datetime.now(UTC)
        return self.resign(folder, now - LONG_AGO, now - timedelta(days=1))

    def make_older(self, folder: Path) -> Path:
        """Makes an identity's certificate one of before nodes could dial: for one way alone."""
        good = certificate_from_pem((folder / "certificate.pem").read_bytes())
        is_node = name_of(good).role == "node"
        usage = ExtendedKeyUsageOID.SERVER_AUTH if is_node else ExtendedKeyUsageOID.CLIENT_AUTH
        since, until = good.not_valid_before_utc, good.not_valid_after_utc
        return self.resign(folder, since, until, x509.ExtendedKeyUsage([usage]))

    def resign(
        self,
        folder: Path,
        since: datetime,
        until: datetime,
        usage: x509.ExtendedKeyUsage | None = None,
    ) -> Path:
        """Gives an identity's certificate other dates, and another extended key usage if any."""
        path = folder / "certificate.pem"
        good = certificate_from_pem(path.read_bytes())
        builder = x509.CertificateBuilder(
            subject_name=good.subject,
            issuer_name=good.issuer,
            public_key=good.public_key(),
            serial_number=good.serial_number,
            not_valid_before=since,
            not_valid_after=until,
        )
        for one in good.extensions:
            is_usage = isinstance(one.value, x509.ExtendedKeyUsage)
            value = usage if usage is not None and is_usage else one.value
            builder = builder.add_extension(value, one.critical)
        key = key_from_pem(self.ca_key_path().read_bytes())
        path.write_bytes(to_pem(builder.sign(key, hashes.SHA256())))
        return folder


def make_federation(folder: Path) -> Federation:
    return Federation(folder, make_authority(folder / "authority")[0])


def unchecked_client(folder: Path | None, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A coordinator that accepts any node, and shows whatever certificate lies in a folder."""
    context = blind_context()
    if newest is not None:
        context.maximum_version = newest
    if folder is not None:
        context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context


def unchecked_server(folder: Path, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    """A node that asks nobody for a certificate, and shows whatever lies in a folder."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if newest is not None:
        context.maximum_version = newest
    context.load_cert_chain(folder / "certificate.pem", folder / "key.pem")
    return context
