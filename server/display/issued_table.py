"""The federation's certificates as a table."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table

from server.authority.folder import Issued
from shared.identity.certificates import day


def issued_table(issued: Sequence[Issued]) -> Table:
    """A row a certificate, by role and name, oldest first."""
    table = Table(title="Certificates", title_justify="left", box=box.SIMPLE)
    for name in ("name", "role", "state", "from", "until", "revoked", "fingerprint of the key"):
        table.add_column(name)
    for one in sorted(issued, key=lambda one: (one.role, one.id, one.valid_from)):
        table.add_row(
            one.id,
            one.role,
            one.state,
            day(one.valid_from),
            day(one.valid_until),
            day(one.revoked) if one.revoked else "-",
            one.key,
        )
    return table
