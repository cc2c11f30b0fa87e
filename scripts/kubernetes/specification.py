"""A container of a pod's specification, as the arguments that make a Docker engine start the same.

What is not known here is an error, so that nothing of a specification is left out in silence.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from shared.errors import UsageError

Table = Mapping[str, Any]

LEFT_OUT = {
    *("serviceAccountName", "imagePullSecrets", "nodeSelector", "tolerations", "affinity"),
    "fsGroupChangePolicy",
}
"""Fields of a pod that say nothing of how one container runs on one machine."""
POD = {
    *("securityContext", "initContainers", "containers", "volumes", "restartPolicy"),
    *("terminationGracePeriodSeconds", "automountServiceAccountToken", "enableServiceLinks"),
}
POD_SECURITY = {
    *("runAsNonRoot", "runAsUser", "runAsGroup", "fsGroup", "fsGroupChangePolicy"),
    *("seccompProfile", "supplementalGroups"),
}
CONTAINER = {
    *("name", "image", "imagePullPolicy", "command", "args", "env", "ports", "resources"),
    *("securityContext", "volumeMounts", "startupProbe", "readinessProbe", "livenessProbe"),
}
SECURITY = {"allowPrivilegeEscalation", "readOnlyRootFilesystem", "capabilities"}

_UNITS = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def check_pod(pod: Table) -> None:
    """Raises UsageError for what a container of a Docker engine cannot be told."""
    _known(pod, POD | LEFT_OUT, "a pod's")
    security = pod.get("securityContext", {})
    _known(security, POD_SECURITY, "a pod's securityContext")
    if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        raise UsageError("a pod has another seccomp profile than RuntimeDefault, the engine's own")
    if pod.get("automountServiceAccountToken", True) or pod.get("enableServiceLinks", True):
        raise UsageError("a pod wants a token or variables of a cluster, and there is none here")
    for one in (*pod.get("initContainers", ()), *pod["containers"]):
        _known(one, CONTAINER, f"the container {one['name']}'s")
        _known(one.get("securityContext", {}), SECURITY, f"{one['name']}'s securityContext")
        for variable in one.get("env", ()):
            _known(variable, {"name", "value"}, "a variable's")
        for mount in one.get("volumeMounts", ()):
            _known(mount, {"name", "mountPath", "readOnly"}, "a mount's")
    if len(pod["containers"]) != 1:
        raise UsageError("a pod has several containers, which share a network; one is run here")


def _known(table: Table, known: set[str], whose: str) -> None:
    if others := sorted(set(table) - known):
        raise UsageError(f"{whose} {others[0]} is not known here", "it would be left out")


def user_of(pod: Table) -> str:
    """User and group. Raises UsageError where they are root's, or an image's to say."""
    security = pod.get("securityContext", {})
    if not (security.get("runAsUser") and security.get("runAsGroup")):
        raise UsageError("a pod has no user and group of its own, or root's")
    return f"{security['runAsUser']}:{security['runAsGroup']}"


def groups_of(pod: Table) -> list[int]:
    """The further groups of its processes."""
    security = pod.get("securityContext", {})
    own = [security["fsGroup"]] if "fsGroup" in security else []
    return [*own, *security.get("supplementalGroups", ())]


def arguments(pod: Table, container: Table) -> dict[str, Any]:
    """For the Docker SDK's `containers.create`, but for image, mounts, network and names.

    A pod's process is number 1, without an init; its image's health check is nobody's.
    """
    security = container.get("securityContext", {})
    capabilities = security.get("capabilities", {})
    limits = container.get("resources", {}).get("limits", {})
    made: dict[str, Any] = {
        "user": user_of(pod),
        "group_add": groups_of(pod),
        "read_only": security.get("readOnlyRootFilesystem", False),
        "cap_drop": list(capabilities.get("drop", ())),
        "cap_add": list(capabilities.get("add", ())),
        "environment": {one["name"]: one["value"] for one in container.get("env", ())},
        "healthcheck": {"test": ["NONE"]},
        "init": False,
        "stop_signal": "SIGTERM",
    }
    if not security.get("allowPrivilegeEscalation", True):
        made["security_opt"] = ["no-new-privileges:true"]
    if "command" in container:
        made["entrypoint"] = list(container["command"])
    if "args" in container:
        made["command"] = list(container["args"])
    if "memory" in limits:
        made["mem_limit"] = made["memswap_limit"] = size(limits["memory"])
    if "cpu" in limits:
        made["nano_cpus"] = cpu(limits["cpu"])
    return made


def size(text: str) -> int:
    """Bytes of a quantity such as 64Mi. Raises UsageError."""
    found = re.fullmatch(r"([0-9]+)(|Ki|Mi|Gi|Ti)", str(text))
    if found is None:
        raise UsageError(f"{text} is no size that is known here")
    return int(found[1]) * _UNITS[found[2]]


def cpu(text: str) -> int:
    """Billionths of a processor, of a quantity such as 500m or 2. Raises UsageError."""
    found = re.fullmatch(r"([0-9]+)(m?)", str(text))
    if found is None:
        raise UsageError(f"{text} is no share of processors that is known here")
    return int(found[1]) * (10**6 if found[2] else 10**9)
