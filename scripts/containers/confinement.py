"""What no container of a federation may do; the same as in docker-compose.yml."""

from __future__ import annotations

from typing import Any

from docker.types import LogConfig

MEMORY = "1g"
CONFINED: dict[str, Any] = {
    "init": True,
    "read_only": True,
    "tmpfs": {"/tmp": ""},  # noqa: S108 - a file system of the container's own
    "cap_drop": ["ALL"],
    "security_opt": ["no-new-privileges:true"],
    "pids_limit": 256,
    "mem_limit": MEMORY,
    "log_config": LogConfig(type="json-file", config={"max-size": "10m", "max-file": "3"}),
}
