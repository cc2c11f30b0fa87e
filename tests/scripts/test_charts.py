"""The charts in deploy/helm by the real Helm engine, without a cluster; what Kubernetes takes."""

from __future__ import annotations

import copy
import itertools
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from scripts.kubernetes.checking import open_ends, pod_of, schema_faults, versions
from scripts.kubernetes.rendering import CHARTS, Document, documents, render
from scripts.kubernetes.variants import MANIFESTS, VARIANTS, files
from server.cli.commands import main as server_commands
from shared import errors
from shared.errors import UsageError
from shared.version import FEDSMS
from tests.helpers.charts import check_installed
from tests.helpers.running import ROOT, run_python
from worker_node.cli.commands import main as node_commands

OWNER, COORDINATOR = "fedsms-owner", "fedsms-coordinator"
OWN: dict[str, Any] = {"identity": {"secret": "key"}, "messages": {"claim": "rows"}}
DIALS: dict[str, Any] = {**OWN, "identity": {"invitation": "line"}, "connection": "dials"}
ONCE: dict[str, Any] = {"identity": {"secret": "key"}, "nodes": {"bob": "wss://bob:8777"}}
STAYS: dict[str, Any] = {"mode": "standing"}
PEER = {"ipBlock": {"cidr": "203.0.113.5/32"}}
READ: dict[str, Any] = {"metrics": {"enabled": True, "from": [PEER]}}
TRACKED: dict[str, Any] = {
    "track": "tensorboard,mlflow",
    "mlflow": {"uri": "https://mlflow.example", "secret": "token", "to": [PEER]},
}
RELEASES: list[tuple[str, dict[str, Any]]] = [
    (OWNER, OWN),
    (OWNER, DIALS),
    (OWNER, {**OWN, "connection": "dials"}),
    (OWNER, {**OWN, "messages": {"secret": "rows"}, "policy": {"text": "fewest_rows = 5\n"}}),
    (OWNER, {**OWN, "policy": {"configMap": "mine"}, "env": {"NO_PROXY": "a,b"}}),
    (OWNER, {**OWN, "networkPolicy": {"from": [PEER]}, "service": {"type": "LoadBalancer"}}),
    (OWNER, {**OWN, "settings": {"held_out": 0.1, "heartbeat": 1000000, "insecure": True}}),
    (OWNER, {**DIALS, "dial": ["wss://a:1", "wss://b:2"], "networkPolicy": {"to": [PEER]}}),
    (OWNER, {**DIALS, "audit": {"size": "10Gi", "storageClass": "fast"}}),
    (OWNER, {**OWN, "nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}]}),
    (OWNER, {**OWN, "image": {"digest": "sha256:" + "0" * 64, "pullSecrets": ["mine"]}}),
    (OWNER, {**OWN, "networkPolicy": {"enabled": False}, "podAnnotations": {"a": "b"}}),
    (OWNER, {**OWN, **READ}),
    (
        OWNER,
        {**DIALS, "metrics": {"enabled": True, "port": 80}, "networkPolicy": {"enabled": False}},
    ),
    (COORDINATOR, ONCE),
    (COORDINATOR, {**ONCE, **READ, **TRACKED}),
    (COORDINATOR, {**STAYS, **READ, "track": "tensorboard"}),
    (COORDINATOR, {**ONCE, "identity": {}, "nodes": {"bob": ""}, "at": "c.example:443"}),
    (COORDINATOR, {**ONCE, "nodes": {"anne": "", "bob": "wss://bob:1"}, "recipe": "[text]\n"}),
    (COORDINATOR, {**ONCE, "runs": {"claim": "mine"}, "namespace": {"create": True}}),
    (COORDINATOR, {**ONCE, "job": {"activeDeadlineSeconds": 9, "ttlSecondsAfterFinished": 9}}),
    (COORDINATOR, STAYS),
    (COORDINATOR, {**STAYS, "identity": {"secret": "key"}, "recipe": "[text]\n"}),
    (COORDINATOR, {**STAYS, "schedule": {"at": ["02:00"], "when": "min_nodes"}}),
    (COORDINATOR, {**STAYS, "settings": {"min_nodes": "0.8"}, "nodes": {"bob": ""}}),
]


@pytest.fixture(autouse=True, scope="module")
def installed() -> None:
    check_installed()


def release(chart: str, values: dict[str, Any]) -> list[Document]:
    return documents(render(chart, values, "bob", "hospital"))


def only(kind: str, found: list[Document]) -> Document:
    (one,) = (document for document in found if document["kind"] == kind)
    return one


def pod(found: list[Document]) -> dict[str, Any]:
    (one,) = (spec for spec in map(pod_of, found) if spec is not None)
    return one


def variables(container: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["value"] for one in container.get("env", ()) if "value" in one}


def test_the_plain_manifests_are_those_of_the_charts() -> None:
    there = {one: one.read_text() for one in MANIFESTS.rglob("*") if one.is_file()}
    assert there == files(), "stale: python scripts/charts.py manifests"


@pytest.mark.parametrize("file", ["_helpers.tpl", "namespace.yaml", "serviceaccount.yaml"])
def test_both_charts_share_a_template_word_for_word(file: str) -> None:
    one, other = (CHARTS / chart / "templates" / file for chart in (OWNER, COORDINATOR))
    assert one.read_text() == other.read_text()


@pytest.mark.parametrize("place", range(len(RELEASES)))
def test_kubernetes_takes_what_the_charts_make_and_a_restricted_namespace_lets_it_in(
    place: int,
) -> None:
    found = release(*RELEASES[place])
    oldest, *_, newest = versions()  # those between are tried by the program's own test
    assert schema_faults(found, oldest) == schema_faults(found, newest) == []
    assert open_ends(pod(found)) == []
    assert {one["metadata"].get("namespace", "hospital") for one in found} == {"hospital"}
    assert "Secret" not in {one["kind"] for one in found}  # values are kept with the release


def test_a_fault_is_seen_by_the_schemas() -> None:
    found = release(OWNER, OWN)
    only("StatefulSet", found)["spec"]["template"]["spec"]["containers"][0]["imagge"] = "x"
    only("Service", found)["spec"]["ports"][0]["port"] = "8777"
    for version in (versions()[0], versions()[-1]):
        assert len(schema_faults(found, version)) == 2
    with pytest.raises(UsageError, match=r"no schema of Kubernetes 1\.99"):
        schema_faults(found, "1.99")


WIDER: dict[str, tuple[str, str, Any]] = {
    "hostNetwork": ("pod", "hostNetwork", True),
    "volume tmp: hostPath": ("pod", "volumes", [{"name": "tmp", "hostPath": {"path": "/"}}]),
    "runAsNonRoot": ("pod", "securityContext", {"seccompProfile": {"type": "RuntimeDefault"}}),
    "seccompProfile": ("pod", "securityContext", {"runAsNonRoot": True}),
    "runAsUser": ("security", "runAsUser", 0),
    "privileged": ("security", "privileged", True),
    "allowPrivilegeEscalation": ("security", "allowPrivilegeEscalation", None),
    "capabilities": ("security", "capabilities", {"drop": ["ALL"], "add": ["CHOWN"]}),
    "procMount": ("security", "procMount", "Unmasked"),
    "seLinuxOptions": ("security", "seLinuxOptions", {"user": "system_u"}),
    "appArmorProfile": ("security", "appArmorProfile", {"type": "Unconfined"}),
    "hostPort": ("container", "ports", [{"containerPort": 1, "hostPort": 1}]),
}


@pytest.mark.parametrize("what", WIDER)
@pytest.mark.parametrize("kind", ["initContainers", "containers"])
def test_a_pod_that_is_less_confined_is_seen(what: str, kind: str) -> None:
    where, name, value = WIDER[what]
    spec = copy.deepcopy(pod(release(OWNER, DIALS)))
    (container,) = spec[kind]
    tables = {"pod": spec, "container": container, "security": container["securityContext"]}
    tables[where].pop(name, None)
    if value is not None:
        tables[where][name] = value
    assert any(what in fault for fault in open_ends(spec))


WRONG: list[tuple[str, dict[str, Any], str]] = [
    (OWNER, {}, "/identity"),
    (OWNER, {**OWN, "messages": {}}, "/messages"),
    (OWNER, {**OWN, "messages": {"claim": "a", "secret": "b"}}, "/messages"),
    (OWNER, {**OWN, "identity": {"secret": "a", "invitation": "b"}}, "/identity"),
    (OWNER, {**OWN, "polcy": {}}, "polcy"),
    (OWNER, {**OWN, "policy": {"text": "a = 1", "configMap": "b"}}, "/policy"),
    (OWNER, {**OWN, "connection": "dial"}, "/connection"),
    (OWNER, {**DIALS, "connection": "listens"}, "/connection"),
    (OWNER, {**OWN, "dial": ["coordinator:8770"]}, "/dial/0"),
    (OWNER, {**OWN, "settings": {"host": "0.0.0.0"}}, "'host'"),
    (OWNER, {**OWN, "settings": {"held-out": 0.1}}, "'held-out'"),
    (OWNER, {**OWN, "settings": {"metrics": "0.0.0.0:9101"}}, "'metrics'"),
    (OWNER, {**OWN, "metrics": {"enabled": True}}, "/metrics/from"),
    (OWNER, {**OWN, "metrics": {"port": 0}}, "/metrics/port"),
    (OWNER, {**OWN, "env": {"FEDSMS_POLICY": "x"}}, "'FEDSMS_POLICY'"),
    (OWNER, {**OWN, "audit": {"size": "1GB"}}, "/audit/size"),
    (OWNER, {**OWN, "image": {"digest": "sha256:1"}}, "/image/digest"),
    (OWNER, {**OWN, "networkPolicy": {"to": [{}]}}, "/networkPolicy/to/0"),
    (OWNER, {**OWN, "service": {"port": 65536}}, "/service/port"),
    (COORDINATOR, {}, "/nodes"),
    (COORDINATOR, {**ONCE, "nodes": {"bob": "bob:8777"}}, "/nodes/bob"),
    (COORDINATOR, {**ONCE, "nodes": {"b b": ""}}, "'b b'"),
    (COORDINATOR, {**ONCE, "run": "Monday/2"}, "/run"),
    (COORDINATOR, {**ONCE, "settings": {"run_dir": "x"}}, "'run_dir'"),
    (COORDINATOR, {**STAYS, "schedule": {"at": ["25:00"]}}, "/schedule/at/0"),
    (COORDINATOR, {**STAYS, "at": "coordinator.example"}, "/at"),
    (COORDINATOR, {**STAYS, "metrics": {"enabled": True}}, "/metrics/from"),
    (COORDINATOR, {**STAYS, "settings": {"track": "mlflow"}}, "'track'"),
    (COORDINATOR, {**STAYS, "track": "wandb"}, "/track"),
    (COORDINATOR, {**STAYS, "track": "mlflow", "mlflow": {"to": [PEER]}}, "/mlflow/uri"),
    (COORDINATOR, {**STAYS, "track": "mlflow", "mlflow": {"uri": "http://m:5000"}}, "/mlflow/to"),
]


@pytest.mark.parametrize(("chart", "values", "where"), WRONG)
def test_wrong_values_are_refused_and_named(chart: str, values: dict[str, Any], where: str) -> None:
    with pytest.raises(UsageError) as refusal:
        release(chart, values)
    assert where in str(refusal.value)


@pytest.mark.parametrize(("name", "is_taken"), [("b" * 52, True), ("b" * 53, False), ("1b", False)])
def test_a_release_has_a_name_that_its_objects_can_have(name: str, is_taken: bool) -> None:
    for chart, values in ((OWNER, OWN), (COORDINATOR, {**ONCE, "run": "x" * 10})):
        if is_taken:
            assert f"name: {name}" in render(chart, values, name, "hospital")
            continue
        with pytest.raises(UsageError, match="no name for this release"):
            render(chart, values, name, "hospital")
    with pytest.raises(UsageError, match="no name for a Job"):
        render(COORDINATOR, {**ONCE, "run": "x" * 11}, "b" * 52, "hospital")


@pytest.mark.parametrize("chart", [OWNER, COORDINATOR])
def test_helms_own_lint_finds_nothing_but_the_missing_icon(chart: str) -> None:
    import helm_python

    values = {OWNER: OWN, COORDINATOR: ONCE}[chart]
    said = helm_python.lint(CHARTS / chart, values)["messages"]
    assert [one["error"] for one in said] == ["icon is recommended"]


def known_variables(group: click.Command) -> Iterator[str]:
    commands = group.commands.values() if isinstance(group, click.Group) else ()
    for one in itertools.chain(commands, *(command.params for command in commands)):
        if isinstance(one, click.Group):
            yield from known_variables(one)
        elif isinstance(one, click.Parameter) and one.envvar:
            yield from [one.envvar] if isinstance(one.envvar, str) else one.envvar


@pytest.mark.parametrize("place", range(len(RELEASES)))
def test_a_container_is_given_only_settings_that_its_program_reads(place: int) -> None:
    chart, values = RELEASES[place]
    known = set(known_variables({OWNER: node_commands, COORDINATOR: server_commands}[chart]))
    assert len(known) > 10
    for container in pod(release(chart, values))["containers"]:
        ours = {name for name in variables(container) if name.startswith("FEDSMS_")}
        assert ours
        assert ours <= known


def test_numbers_stand_as_they_were_written() -> None:
    values = {**OWN, "settings": {"held_out": 0.1, "heartbeat": 1000000, "insecure": True}}
    found = variables(pod(release(OWNER, values))["containers"][0])
    assert found["FEDSMS_HELD_OUT"] == "0.1"
    assert found["FEDSMS_HEARTBEAT"] == "1000000"
    assert found["FEDSMS_INSECURE"] == "true"


def test_a_pod_can_ask_the_cluster_nothing_and_gets_no_variables_from_it() -> None:
    """A Service that is called fedsms would set FEDSMS_PORT, which is a flag's."""
    for chart, values in RELEASES:
        spec = pod(release(chart, values))
        assert (spec["automountServiceAccountToken"], spec["enableServiceLinks"]) == (False, False)
        for container in [*spec.get("initContainers", ()), *spec["containers"]]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True


def test_a_node_writes_nothing_but_its_log_and_never_its_key() -> None:
    for values in (OWN, DIALS):
        (node,) = pod(release(OWNER, values))["containers"]
        written = {one["mountPath"] for one in node["volumeMounts"] if not one.get("readOnly")}
        assert written == {"/tmp", "/audit"}


def test_the_network_is_closed_but_for_one_way() -> None:
    def rules(chart: str, values: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = only("NetworkPolicy", release(chart, values))["spec"]
        assert found["policyTypes"] == ["Ingress", "Egress"]
        return found

    listens, dials = rules(OWNER, OWN), rules(OWNER, DIALS)
    assert (listens["egress"], len(listens["ingress"])) == ([], 1)
    (coordinators,) = listens["ingress"][0]["from"]
    assert coordinators["podSelector"]["matchLabels"] == {"app.kubernetes.io/name": COORDINATOR}
    assert (dials["ingress"], len(dials["egress"])) == ([], 2)  # the coordinator, and names
    own = rules(OWNER, {**DIALS, "networkPolicy": {"to": [PEER], "ports": [443]}})
    assert own["egress"][0] == {"to": [PEER], "ports": [{"protocol": "TCP", "port": 443}]}
    once, stays = rules(COORDINATOR, ONCE), rules(COORDINATOR, STAYS)
    assert (once["ingress"], stays["egress"]) == ([], [])


def test_figures_are_served_where_they_are_asked_for_and_to_those_alone_who_are_named() -> None:
    for chart, plain in ((OWNER, OWN), (OWNER, DIALS), (COORDINATOR, ONCE), (COORDINATOR, STAYS)):
        quiet, read = release(chart, plain), release(chart, {**plain, **READ})
        assert "9100" not in str(quiet)
        assert "9101" not in str(quiet)
        (container,) = pod(read)["containers"]
        port = {OWNER: 9101, COORDINATOR: 9100}[chart]
        assert {"name": "metrics", "containerPort": port} in container["ports"]
        assert variables(container)["FEDSMS_METRICS"] == f"0.0.0.0:{port}"
        before = only("NetworkPolicy", quiet)["spec"]
        after = only("NetworkPolicy", read)["spec"]
        more = {"from": [PEER], "ports": [{"protocol": "TCP", "port": "metrics"}]}
        assert after == {**before, "ingress": [*before["ingress"], more]}
        services = [one for one in read if one["kind"] == "Service"]
        assert services == [one for one in quiet if one["kind"] == "Service"]
        (quietly,) = pod(quiet)["containers"]
        probes = [name for name in container if name.endswith("Probe")]
        assert [container[name] for name in probes] == [quietly[name] for name in probes]


def test_a_tracker_is_told_where_it_is_and_let_out_to_it_with_a_token_that_no_value_holds() -> None:
    found = release(COORDINATOR, {**ONCE, **TRACKED})
    (container,) = pod(found)["containers"]
    said = variables(container)
    assert said["FEDSMS_TRACK"] == "tensorboard,mlflow"
    assert said["MLFLOW_TRACKING_URI"] == "https://mlflow.example"
    secrets = [one["valueFrom"]["secretKeyRef"] for one in container["env"] if "value" not in one]
    assert {one["name"] for one in secrets} == {"token"}
    assert [one["key"].rpartition("_")[2] for one in secrets] == ["TOKEN", "USERNAME", "PASSWORD"]
    nodes, server, names = only("NetworkPolicy", found)["spec"]["egress"]
    assert server == {"to": [PEER], "ports": [{"protocol": "TCP", "port": 443}]}
    untracked = only("NetworkPolicy", release(COORDINATOR, ONCE))["spec"]["egress"]
    assert untracked == [nodes, names]


def test_a_job_goes_on_but_for_what_no_new_start_repairs() -> None:
    job = only("Job", release(COORDINATOR, ONCE))["spec"]
    assert job["template"]["spec"]["restartPolicy"] == "Never"
    ends, drained, told = job["podFailurePolicy"]["rules"]
    for_good = ("UsageError", "DataError", "IdentityError", "PolicyRefused", "NotProven")
    assert ends["action"] == "FailJob"
    assert ends["onExitCodes"]["values"] == [getattr(errors, one).exit_code for one in for_good]
    assert (drained["action"], told["action"]) == ("Ignore", "Ignore")
    assert told["onExitCodes"]["values"] == [errors.Interrupted.exit_code]
    (container,) = job["template"]["spec"]["containers"]
    assert container["args"] == ["train", "--once"]
    assert variables(container)["FEDSMS_RUN_DIR"] == "runs/first"


def test_a_charts_version_is_that_of_the_code_whose_images_it_takes() -> None:
    for chart in (OWNER, COORDINATOR):
        (head,) = documents((CHARTS / chart / "Chart.yaml").read_text() + "metadata: {}\nkind: x\n")
        assert head["appVersion"] == head["version"] == FEDSMS


def installs() -> Iterator[tuple[str, str, str, str]]:
    """Each `helm install` of the page: release, chart, namespace and what is set."""
    page = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8").replace("\\\n", " ")
    for line in page.splitlines():
        words = shlex.split(line) if line.startswith("helm ") else []
        if words[1:2] == ["install"]:
            release, chart, flag, namespace, *sets = words[2:]
            assert (flag, set(sets[::2])) == ("-n", {"--set"})
            yield release, Path(chart).name, namespace, ",".join(sets[1::2])


def test_the_commands_of_the_page_install_what_kubernetes_takes() -> None:
    import helm_python

    seen = set()
    for name, chart, namespace, sets in installs():
        found = documents(render(chart, helm_python.parse_set_string(sets), name, namespace))
        assert schema_faults(found, versions()[-1]) == []
        assert open_ends(pod(found)) == []
        seen |= {(chart, one["kind"]) for one in found}
        if "ipBlock" in sets:
            (way, _) = only("NetworkPolicy", found)["spec"]["egress"]
            assert way == {"to": [PEER], "ports": [{"protocol": "TCP", "port": 8770}]}
    assert {(OWNER, "StatefulSet"), (COORDINATOR, "Job"), (COORDINATOR, "Deployment")} <= seen
    assert len(list(installs())) == 5


# The program


def test_the_program_validates_and_says_against_what() -> None:
    done = run_python(ROOT / "scripts" / "charts.py", "validate")
    assert done.code == 0, done.err
    assert len(versions()) >= 13
    assert f"strict schemas of Kubernetes {versions()[0]} to {versions()[-1]}" in done.out
    assert all(name in done.out for name in VARIANTS)


def test_the_program_fails_where_a_manifest_is_stale_and_writes_it_anew(tmp_path: Path) -> None:
    for part in ("deploy", "scripts", "shared"):
        (tmp_path / part).symlink_to(ROOT / part)
    (tmp_path / "deploy").unlink()
    subprocess.run(["cp", "-r", ROOT / "deploy", tmp_path / "deploy"], check=True)
    (tmp_path / "scripts").unlink()
    subprocess.run(["cp", "-r", ROOT / "scripts", tmp_path / "scripts"], check=True)
    program = tmp_path / "scripts" / "charts.py"
    one = tmp_path / "deploy" / "kubernetes" / "owner-dials" / "resources.yaml"
    whole = one.read_text()
    one.write_text(whole.replace("runAsNonRoot: true", "runAsNonRoot: false"))
    (one.parent / "more.yaml").write_text("")
    done = run_python(program, "manifests", "--check", cwd=tmp_path)
    assert done.code == 1
    assert "owner-dials/more.yaml, deploy/kubernetes/owner-dials/resources.yaml" in done.err
    assert run_python(program, "manifests", cwd=tmp_path).code == 0
    assert one.read_text() == whole
    assert run_python(program, "manifests", "--check", cwd=tmp_path).code == 0
