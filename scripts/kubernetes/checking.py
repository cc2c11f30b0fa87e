"""Whether manifests are what Kubernetes takes: its schemas, and its rule for confined pods."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from scripts.kubernetes.rendering import Document, packages
from shared.errors import UsageError

VOLUMES = {
    *("configMap", "csi", "downwardAPI", "emptyDir", "ephemeral"),
    *("persistentVolumeClaim", "projected", "secret"),
}
"""Kinds of volumes that the restricted profile allows."""


def versions() -> list[str]:
    """The versions of Kubernetes whose schemas are here, oldest first: 1.25 and so on.

    Raises FedsmsError where none are installed.
    """
    with packages():
        from kubernetes_validate.utils import all_versions, major_minor
    return [str(major_minor(one)) for one in all_versions()]


def schema_faults(found: Sequence[Document], version: str) -> list[str]:
    """What a version's strict schema does not take; empty where all is well.

    Raises:
        UsageError: there is no schema of that version, or of an object's kind in it.
    """
    with packages():
        import kubernetes_validate as kubernetes
    faults = []
    for one in found:
        try:
            kubernetes.validate(one, version, strict=True)
        except kubernetes.ValidationError as error:
            place = ".".join(map(str, error.absolute_path))
            faults.append(f"{title(one)}: {place}: {error.message}")
        except kubernetes.SchemaNotFoundError as error:
            raise UsageError(f"Kubernetes {version} knows no {title(one)}") from error
        except kubernetes.utils.VersionNotSupportedError as error:
            raise UsageError(f"there is no schema of Kubernetes {version} here") from error
    return faults


def title(document: Document) -> str:
    return f"{document['kind']} {document['metadata'].get('name', '')}".strip()


def pod_of(document: Document) -> dict[str, Any] | None:
    """The specification of the pods that an object makes; None where it makes none."""
    if document["kind"] == "Pod":
        spec = document["spec"]
    else:
        spec = document.get("spec", {}).get("template", {}).get("spec")
    return spec if isinstance(spec, dict) else None


def open_ends(pod: dict[str, Any]) -> list[str]:
    """What a namespace with the restricted profile would not let in; empty where all is well.

    Source: Kubernetes, "Pod Security Standards", profile Restricted with all of Baseline, policy
    version 1.37, of what a Linux pod may have. Ours, for there is no admission without a cluster.
    """
    return [*_of_the_pod(pod), *(fault for one in containers(pod) for fault in _of_one(pod, one))]


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    kinds = ("initContainers", "containers", "ephemeralContainers")
    return [one for kind in kinds for one in pod.get(kind, ())]


def _of_the_pod(pod: dict[str, Any]) -> Iterator[str]:
    for name in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(name):
            yield name
    for one in pod.get("volumes", ()):
        for kind in set(one) - {"name"} - VOLUMES:
            yield f"volume {one['name']}: {kind}"
    if pod.get("securityContext", {}).get("sysctls"):
        yield "sysctls"


def _of_one(pod: dict[str, Any], container: dict[str, Any]) -> Iterator[str]:
    name, own = container["name"], container.get("securityContext", {})
    both = {**pod.get("securityContext", {}), **own}
    capabilities = own.get("capabilities", {})
    wrong = {
        "privileged": own.get("privileged", False),
        "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation", True),
        "capabilities": "ALL" not in capabilities.get("drop", ())
        or not set(capabilities.get("add", ())) <= {"NET_BIND_SERVICE"},
        "runAsNonRoot": not both.get("runAsNonRoot", False),
        "runAsUser": both.get("runAsUser") == 0,
        "seccompProfile": both.get("seccompProfile", {}).get("type")
        not in ("RuntimeDefault", "Localhost"),
        "procMount": own.get("procMount", "Default") != "Default",
        "appArmorProfile": both.get("appArmorProfile", {}).get("type") == "Unconfined",
        "seLinuxOptions": bool({"user", "role"} & set(both.get("seLinuxOptions", {}))),
        "hostPort": any("hostPort" in port for port in container.get("ports", ())),
    }
    for what, is_wrong in wrong.items():
        if is_wrong:
            yield f"container {name}: {what}"
