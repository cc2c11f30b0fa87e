"""A Docker engine in a cluster's place: one container a pod, on one network, with its volumes.

Everything carries the stand-in's label, and goes with it. It has no NetworkPolicies, no
admission and no scheduler: those are not tried here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
from docker.errors import NotFound
from docker.models.containers import Container
from docker.types import EndpointConfig, Mount

from scripts.containers.engine import engine_errors
from scripts.kubernetes.objects import Workload
from scripts.kubernetes.specification import arguments, groups_of, size
from scripts.kubernetes.volumes import DEFAULT_MODE, OWN, copied, files_of, projected
from shared.errors import UsageError

LABEL = "fedsms.charts"
Files = Mapping[tuple[str, str, str], Mapping[str, bytes]]


@dataclass
class StandIn:
    """Pods of some manifests on an engine.

    name: of the stand-in; several may be up.
    stored: Secrets and ConfigMaps, by kind, namespace and name. claims: folders whose content
    claims have from the start, by namespace and name.
    """

    client: docker.DockerClient
    name: str
    stored: Files = field(default_factory=dict)
    claims: Mapping[tuple[str, str], Path] = field(default_factory=dict)

    @property
    def labels(self) -> dict[str, str]:
        return {LABEL: self.name}

    def network(self) -> str:
        """The one network, made where it is missing."""
        with engine_errors("make a network"):
            if not self.client.networks.list(names=[f"^{self.name}$"]):
                self.client.networks.create(self.name, driver="bridge", labels=self.labels)
        return self.name

    def create(self, workload: Workload, container: Mapping[str, Any], again: bool) -> Container:
        """A pod's container, not yet started.

        Args:
            again: whether the engine starts it again whenever it ends, as a kubelet does.
        """
        called = f"{self.name}-{workload.namespace}-{workload.pod_name}-{container['name']}"
        with engine_errors(f"make the container {called}"):
            with suppress(NotFound):
                self.client.containers.get(called).remove(force=True, v=True)
            return self.client.containers.create(
                container["image"],
                name=called,
                hostname=workload.pod_name,
                labels=self.labels,
                network=self.network(),
                networking_config={
                    self.name: EndpointConfig(
                        version=self.client.api.api_version, aliases=list(workload.names)
                    )
                },
                restart_policy={"Name": "always", "MaximumRetryCount": 0} if again else None,
                **self._mounted(workload, container),
                **arguments(workload.pod, container),
            )

    def _mounted(self, workload: Workload, container: Mapping[str, Any]) -> dict[str, Any]:
        mounts, tmpfs = [], {}
        groups = groups_of(workload.pod)
        group = groups[0] if groups else None
        for one in container.get("volumeMounts", ()):
            volume = workload.volume(one["name"])
            if "emptyDir" in volume:
                tmpfs[one["mountPath"]] = _scratch(volume["emptyDir"], group)
                continue
            read_only = one.get("readOnly", False)
            source = self._volume(workload, volume, container["image"], group)
            mounts.append(Mount(one["mountPath"], source, read_only=read_only, no_copy=True))
        return {"mounts": mounts, "tmpfs": tmpfs}

    def _volume(
        self, workload: Workload, volume: Mapping[str, Any], image: str, group: int | None
    ) -> str:
        """The name of an engine's volume with what the pod's has."""
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]
            return self._claim(workload.namespace, claim, image, group)
        kind, key = ("Secret", "secretName") if "secret" in volume else ("ConfigMap", "name")
        source = volume.get("secret") or volume.get("configMap")
        if source is None:
            raise UsageError(f"a volume {volume['name']} of its kind is not known here")
        place = (kind, workload.namespace, source[key])
        if place not in self.stored:
            raise UsageError(f"there is no {kind} {source[key]} in {workload.namespace}")
        called = f"{self.name}-{workload.namespace}-{kind.lower()}-{source[key]}"
        if self._made(called):
            mode = source.get("defaultMode", DEFAULT_MODE)
            self._fill(called, image, projected(self.stored[place], mode, group))
        return called

    def _claim(
        self, namespace: str, claim: Mapping[str, Any], image: str, group: int | None
    ) -> str:
        called = f"{self.name}-{namespace}-claim-{claim['claimName']}"
        folder = self.claims.get((namespace, claim["claimName"]))
        if self._made(called) and folder is not None:
            self._fill(called, image, copied(folder))
        if group is not None and not claim.get("readOnly", False):
            self._give(called, image, group)
        return called

    def _made(self, volume: str) -> bool:
        """Makes a volume where there is none; whether it did."""
        with engine_errors(f"make the volume {volume}"):
            try:
                self.client.volumes.get(volume)
            except NotFound:
                self.client.volumes.create(volume, labels=self.labels)
                return True
        return False

    def _fill(self, volume: str, image: str, packed: bytes) -> None:
        mount = Mount("/volume", volume, no_copy=True)
        with engine_errors(f"fill the volume {volume}"):
            helper = self.client.containers.create(image, mounts=[mount], labels=self.labels)
            try:
                helper.put_archive("/volume", packed)
            finally:
                helper.remove(force=True)

    def _give(self, volume: str, image: str, group: int) -> None:
        """Does to a claim what a kubelet does for fsGroup, OnRootMismatch."""
        with engine_errors(f"give the volume {volume} to a group"):
            self.client.containers.run(
                image,
                [OWN.replace("GROUP", str(group))],
                entrypoint=["sh", "-c"],
                user="0:0",
                mounts=[Mount("/volume", volume, no_copy=True)],
                network_mode="none",
                labels=self.labels,
                remove=True,
            )

    def down(self, keep_claims: bool) -> dict[str, int]:
        """Removes what carries the label: kind -> how many."""
        carrying: dict[str, Any] = {"label": f"{LABEL}={self.name}"}
        with engine_errors("take the pods down"):
            containers = self.client.containers.list(all=True, filters=carrying)
            for one in containers:
                with suppress(NotFound):
                    one.remove(force=True, v=True)
            networks = self.client.networks.list(filters=carrying)
            for network in networks:
                network.remove()
            volumes = self.client.volumes.list(filters=carrying)
            gone = [one for one in volumes if not (keep_claims and "-claim-" in str(one.name))]
            for volume in gone:
                volume.remove()
        return {"containers": len(containers), "networks": len(networks), "volumes": len(gone)}


def stored_files(given: Sequence[tuple[str, str, Path]]) -> dict[tuple[str, str, str], Any]:
    """Secrets from folders: namespace, name and folder each."""
    return {("Secret", namespace, name): files_of(folder) for namespace, name, folder in given}


def _scratch(volume: Mapping[str, Any], group: int | None) -> str:
    if volume.get("medium") != "Memory" or "sizeLimit" not in volume:
        raise UsageError("an emptyDir that is not of memory, and of a size, is not known here")
    own = "" if group is None else f",gid={group}"
    return f"size={size(volume['sizeLimit'])}{own}"
