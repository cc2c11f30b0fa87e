"""What every table of a policy has in common, and the kinds of value that several have."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from shared.identity.names import NODE_ID_PATTERN

OwnerName = Annotated[str, Field(pattern=f"^{NODE_ID_PATTERN}$")]
CoordinatorName = Annotated[str, Field(pattern=f"^{NODE_ID_PATTERN}$")]


class Table(BaseModel):
    """A table of a policy: frozen, and with no key or type that it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
