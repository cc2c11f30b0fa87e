"""Who is revoked, by the list as it is now: a port stands for days, and OpenSSL reads it once."""

from __future__ import annotations

import logging
from pathlib import Path

from cryptography import x509

from shared.errors import FedsmsError, one_line
from shared.files import read_bytes
from shared.identity.certificates import UnfitCertificate, crl_from_pem
from shared.identity.folder import CRL, MAX_CRL_BYTES, Identity

log = logging.getLogger("fedsms.coordinator")


class Revoked:
    """The list of revoked certificates in an identity folder, read again where it has changed."""

    def __init__(self, own: Identity) -> None:
        self._own = own
        self._path: Path = own.folder / CRL
        self._crl = own.crl
        self._known: tuple[int, int] = (0, 0)

    def has(self, certificate: x509.Certificate) -> bool:
        """True also where the list cannot be read any more: who might be revoked stays out."""
        try:
            self._refresh()
        except (OSError, UnfitCertificate, FedsmsError) as error:
            why = one_line(error) if isinstance(error, FedsmsError) else str(error)
            log.warning(
                "nobody comes in, since nothing says who is revoked: %s: %s", self._path, why
            )
            return True
        found = self._crl.get_revoked_certificate_by_serial_number(certificate.serial_number)
        return found is not None

    def _refresh(self) -> None:
        there = self._path.stat()
        known = (there.st_mtime_ns, there.st_ino)
        if known == self._known:
            return
        crl = crl_from_pem(read_bytes(self._path, MAX_CRL_BYTES))
        key = self._own.ca.public_key()
        if not crl.is_signature_valid(key):  # type: ignore[arg-type]  # a CA's key signs
            raise UnfitCertificate("the federation's CA did not sign it")
        self._crl, self._known = crl, known
