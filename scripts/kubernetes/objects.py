"""What a set of manifests holds: pods to run, ConfigMaps, and the names that lead to pods."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scripts.kubernetes.checking import pod_of, title
from scripts.kubernetes.rendering import Document
from scripts.kubernetes.specification import check_pod
from shared.errors import UsageError

KNOWN = {
    *("Namespace", "NetworkPolicy", "ServiceAccount", "PersistentVolumeClaim", "ConfigMap"),
    *("Secret", "Service", "StatefulSet", "Deployment", "Job", "Kustomization"),
}


@dataclass(frozen=True)
class Workload:
    """A StatefulSet, Deployment or Job, and its one pod.

    names: those of Services that lead to the pod.
    """

    kind: str
    namespace: str
    name: str
    spec: Mapping[str, Any]
    pod: Mapping[str, Any]
    names: tuple[str, ...]

    @property
    def pod_name(self) -> str:
        return f"{self.name}-0" if self.kind == "StatefulSet" else self.name

    def volume(self, name: str) -> Mapping[str, Any]:
        """A volume of the pod by its name; a claim of a StatefulSet is one. Raises UsageError."""
        for one in self.spec.get("volumeClaimTemplates", ()):
            if one["metadata"]["name"] == name:
                return {"persistentVolumeClaim": {"claimName": f"{name}-{self.pod_name}"}}
        for one in self.pod.get("volumes", ()):
            if one["name"] == name:
                found: Mapping[str, Any] = one
                return found
        raise UsageError(f"{self.kind} {self.name} mounts {name}, and has no such volume")


def workloads(found: Sequence[Document]) -> list[Workload]:
    """What runs, in the order of the manifests.

    Raises:
        UsageError: something there is not known here, and would be left out in silence.
    """
    for one in found:
        if one["kind"] not in KNOWN:
            raise UsageError(f"{title(one)} is not known here")
    return [_workload(one, found) for one in found if pod_of(one) is not None]


def _workload(document: Document, found: Sequence[Document]) -> Workload:
    pod = pod_of(document)
    assert pod is not None
    check_pod(pod)
    if document["spec"].get("replicas", 1) != 1:
        raise UsageError(f"{title(document)} wants several pods; one is run here")
    namespace = document["metadata"].get("namespace", "default")
    names = tuple(_names(document, namespace, found))
    return Workload(
        document["kind"], namespace, document["metadata"]["name"], document["spec"], pod, names
    )


def _names(document: Document, namespace: str, found: Sequence[Document]) -> Iterator[str]:
    """Those that the cluster's name server would have for the pod's Services."""
    template = document["spec"]["template"]
    labels = template["metadata"].get("labels", {}).items()
    (container,) = template["spec"]["containers"]
    ports = {one["name"]: one["containerPort"] for one in container.get("ports", ())}
    for one in found:
        if one["kind"] != "Service" or one["metadata"].get("namespace", "default") != namespace:
            continue
        if not one["spec"]["selector"].items() <= labels:
            continue
        for port in one["spec"]["ports"]:
            if ports.get(port["targetPort"], port["targetPort"]) != port["port"]:
                raise UsageError(f"{title(one)} has another port than its pod, and not so here")
        name = f"{one['metadata']['name']}.{namespace}"
        yield from (name, f"{name}.svc", f"{name}.svc.cluster.local")


def stored(found: Sequence[Document]) -> dict[tuple[str, str, str], dict[str, bytes]]:
    """The ConfigMaps and Secrets of the manifests: kind, namespace and name -> files."""
    made = {}
    for one in found:
        if one["kind"] in ("ConfigMap", "Secret"):
            plain = {**one.get("data", {}), **one.get("stringData", {})}
            is_packed = one["kind"] == "Secret"
            files = {
                name: base64.b64decode(text)
                if is_packed and name in one.get("data", {})
                else text.encode()
                for name, text in plain.items()
            }
            place = (one["kind"], one["metadata"].get("namespace", "default"))
            made[(*place, one["metadata"]["name"])] = files
    return made
