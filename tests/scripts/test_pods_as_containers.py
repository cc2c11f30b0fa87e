"""How a pod's specification becomes a container's, without an engine: nothing is left out."""

from __future__ import annotations

import copy
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.kubernetes.failure_policy import decide
from scripts.kubernetes.objects import Workload, stored, workloads
from scripts.kubernetes.specification import arguments, cpu, size
from scripts.kubernetes.volumes import copied, files_of, projected
from shared.errors import UsageError

POD: dict[str, Any] = {
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "securityContext": {
        "runAsUser": 7,
        "runAsGroup": 8,
        "fsGroup": 9,
        "supplementalGroups": [10],
        "seccompProfile": {"type": "RuntimeDefault"},
    },
    "containers": [
        {
            "name": "node",
            "image": "i",
            "command": ["a"],
            "args": ["b", "c"],
            "env": [{"name": "X", "value": ""}],
            "ports": [{"name": "wss", "containerPort": 8777}],
            "resources": {"limits": {"memory": "64Mi", "cpu": "500m"}, "requests": {"cpu": 1}},
            "securityContext": {
                "readOnlyRootFilesystem": True,
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            },
            "volumeMounts": [{"name": "rows", "mountPath": "/data", "readOnly": True}],
        }
    ],
    "volumes": [{"name": "rows", "persistentVolumeClaim": {"claimName": "mine"}}],
}


def objects(pod: dict[str, Any], **service: Any) -> list[dict[str, Any]]:
    meta = {"name": "bob", "namespace": "home"}
    template = {"metadata": {"labels": {"a": "b", "c": "d"}}, "spec": pod}
    return [
        {"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": meta}
        | {
            "spec": {
                "template": template,
                "volumeClaimTemplates": [{"metadata": {"name": "audit"}, "spec": {}}],
            }
        },
        {"apiVersion": "v1", "kind": "Service", "metadata": meta}
        | {
            "spec": {
                "selector": {"a": "b"},
                "ports": [{"port": 8777, "targetPort": "wss"}],
                **service,
            }
        },
    ]


def only(found: list[Workload]) -> Workload:
    (one,) = found
    return one


def test_a_container_is_what_the_specification_says() -> None:
    assert arguments(POD, POD["containers"][0]) == {
        "user": "7:8",
        "group_add": [9, 10],
        "read_only": True,
        "cap_drop": ["ALL"],
        "cap_add": [],
        "environment": {"X": ""},
        "healthcheck": {"test": ["NONE"]},
        "init": False,
        "stop_signal": "SIGTERM",
        "security_opt": ["no-new-privileges:true"],
        "entrypoint": ["a"],
        "command": ["b", "c"],
        "mem_limit": 64 * 2**20,
        "memswap_limit": 64 * 2**20,
        "nano_cpus": 500_000_000,
    }


def test_a_container_that_says_less_is_confined_less_and_keeps_its_images_program() -> None:
    made = arguments(POD, {"name": "node", "image": "i"})
    assert (made["read_only"], made["cap_drop"]) == (False, [])
    assert not {"security_opt", "entrypoint", "command", "mem_limit", "nano_cpus"} & set(made)


UNKNOWN: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a field of a pod": (lambda pod: pod.update(hostNetwork=True), "hostNetwork"),
    "a field of a container": (
        lambda pod: pod["containers"][0].update(lifecycle={}),
        "lifecycle",
    ),
    "security of a pod": (lambda pod: pod["securityContext"].update(sysctls=[]), "sysctls"),
    "security of a container": (
        lambda pod: pod["containers"][0]["securityContext"].update(privileged=True),
        "privileged",
    ),
    "a mount's part": (
        lambda pod: pod["containers"][0]["volumeMounts"][0].update(subPath="x"),
        "subPath",
    ),
    "an init container's field": (
        lambda pod: pod.update(initContainers=[{"name": "x", "restartPolicy": "Always"}]),
        "restartPolicy",
    ),
    "a second container": (lambda pod: pod["containers"].append({"name": "x"}), "several"),
    "a token": (lambda pod: pod.pop("automountServiceAccountToken"), "token"),
    "service links": (lambda pod: pod.pop("enableServiceLinks"), "variables"),
    "no seccomp": (lambda pod: pod["securityContext"].pop("seccompProfile"), "seccomp"),
}


@pytest.mark.parametrize("what", UNKNOWN)
def test_what_a_container_cannot_be_told_is_an_error(what: str) -> None:
    change, named = UNKNOWN[what]
    pod = copy.deepcopy(POD)
    change(pod)
    with pytest.raises(UsageError, match=named):
        workloads(objects(pod))


@pytest.mark.parametrize("user", [{"runAsUser": 0}, {"runAsGroup": 0}])
def test_a_pod_of_roots_is_an_error(user: dict[str, int]) -> None:
    pod = copy.deepcopy(POD)
    pod["securityContext"].update(user)
    with pytest.raises(UsageError, match="root"):
        arguments(pod, pod["containers"][0])


def test_a_pod_has_the_names_of_the_services_that_choose_it() -> None:
    found = only(workloads(objects(POD)))
    assert (found.pod_name, found.namespace) == ("bob-0", "home")
    assert found.names == ("bob.home", "bob.home.svc", "bob.home.svc.cluster.local")
    assert only(workloads(objects(POD, selector={"a": "x"}))).names == ()
    with pytest.raises(UsageError, match="another port"):
        workloads(objects(POD, ports=[{"port": 443, "targetPort": "wss"}]))


def test_a_claim_is_the_pods_or_one_that_is_there() -> None:
    found = only(workloads(objects(POD)))
    assert found.volume("audit") == {"persistentVolumeClaim": {"claimName": "audit-bob-0"}}
    assert found.volume("rows")["persistentVolumeClaim"] == {"claimName": "mine"}
    with pytest.raises(UsageError, match="no such volume"):
        found.volume("policy")


def test_what_is_not_known_or_wants_several_pods_is_an_error() -> None:
    found = objects(POD)
    found[0]["spec"]["replicas"] = 2
    with pytest.raises(UsageError, match="several pods"):
        workloads(found)
    with pytest.raises(UsageError, match="Ingress x is not known"):
        workloads([{"kind": "Ingress", "metadata": {"name": "x"}}])


def test_secrets_and_settings_of_the_manifests_are_found() -> None:
    meta = {"name": "x", "namespace": "home"}
    found = [
        {"kind": "ConfigMap", "metadata": meta, "data": {"policy.toml": "a = 1\n"}},
        {"kind": "Secret", "metadata": meta, "data": {"k": "aGk="}, "stringData": {"l": "ho"}},
    ]
    assert stored(found) == {
        ("ConfigMap", "home", "x"): {"policy.toml": b"a = 1\n"},
        ("Secret", "home", "x"): {"k": b"hi", "l": b"ho"},
    }


RULES = {
    "podFailurePolicy": {
        "rules": [
            {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [2, 8]}},
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]},
            {
                "action": "Ignore",
                "onExitCodes": {"containerName": "main", "operator": "In", "values": [130, 8]},
            },
            {
                "action": "FailJob",
                "onExitCodes": {"containerName": "odd", "operator": "NotIn", "values": [4]},
            },
        ]
    }
}


@pytest.mark.parametrize(
    ("container", "code", "action"),
    [
        ("main", 2, "FailJob"),
        ("other", 8, "FailJob"),
        ("main", 8, "FailJob"),  # the first that fits
        ("main", 130, "Ignore"),
        ("other", 130, "Count"),
        ("main", 137, "Count"),
        ("odd", 4, "Count"),
        ("odd", 5, "FailJob"),
    ],
)
def test_the_first_rule_that_fits_decides(container: str, code: int, action: str) -> None:
    assert decide(RULES, container, code) == action
    assert decide({}, container, code) == "Count"


def test_a_secrets_files_are_links_through_a_folder_and_the_groups_to_read() -> None:
    with tarfile.open(fileobj=io.BytesIO(projected({"key.pem": b"k"}, 0o400, 9))) as archive:
        found = {one.name: one for one in archive.getmembers()}
        (folder,) = (one for one in found.values() if one.isdir())
        key = found[f"{folder.name}/key.pem"]
        assert (key.mode, key.uid, key.gid) == (0o440, 0, 9)
        assert (found["..data"].linkname, found["key.pem"].linkname) == (
            folder.name,
            "..data/key.pem",
        )
        content = archive.extractfile(key)
        assert content is not None
        assert content.read() == b"k"
    with tarfile.open(fileobj=io.BytesIO(projected({"key.pem": b"k"}, 0o400, None))) as archive:
        (key,) = (one for one in archive.getmembers() if one.isfile())
        assert (key.mode, key.gid) == (0o400, 0)


def test_a_folder_becomes_a_secret_or_a_claim(tmp_path: Path) -> None:
    (tmp_path / "ham").mkdir()
    (tmp_path / "ham" / "1").write_bytes(b"x")
    (tmp_path / "a").write_bytes(b"y")
    (tmp_path / "a").chmod(0o600)
    assert files_of(tmp_path) == {"a": b"y"}
    with tarfile.open(fileobj=io.BytesIO(copied(tmp_path))) as archive:
        found = {one.name: (one.mode, one.uid, one.gid) for one in archive.getmembers()}
    assert found == {"a": (0o644, 0, 0), "ham": (0o755, 0, 0), "ham/1": (0o644, 0, 0)}


@pytest.mark.parametrize(
    ("text", "bytes_"), [("1", 1), ("64Mi", 64 * 2**20), ("1Gi", 2**30), ("3Ki", 3072)]
)
def test_sizes_are_read(text: str, bytes_: int) -> None:
    assert size(text) == bytes_
    assert (cpu("2"), cpu("250m")) == (2 * 10**9, 250 * 10**6)
    for wrong in ("1G", "1.5Gi", "-1", "Mi", "64mi"):
        with pytest.raises(UsageError):
            size(wrong)
    for wrong in ("1.5", "m", "2M"):
        with pytest.raises(UsageError):
            cpu(wrong)
