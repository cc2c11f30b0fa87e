"""The plain manifests in deploy/kubernetes: a release of a chart each, and the values it has."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.kubernetes.rendering import ROOT, render

MANIFESTS = ROOT / "deploy" / "kubernetes"
FILE = "resources.yaml"
KUSTOMIZATION = """\
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [resources.yaml]
"""
HEAD = """\
# {about}
# Made from deploy/helm/{chart} by `python scripts/charts.py manifests`; changes here are lost.
# Values: {values}
"""


@dataclass(frozen=True)
class Variant:
    """A release: chart, name, and values."""

    chart: str
    release: str
    about: str
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        return f"fedsms-{self.release}"

    def manifests(self) -> str:
        """Raises as `render` does."""
        values = {**self.values, "namespace": {"create": True}}
        head = HEAD.format(about=self.about, chart=self.chart, values=json.dumps(values))
        return head + render(self.chart, values, self.release, self.namespace)


_OWN = {"messages": {"claim": "messages"}}
VARIANTS: Mapping[str, Variant] = {
    "owner-listens": Variant(
        "fedsms-owner",
        "owner",
        "A data owner's node that coordinators dial, with an identity from a Secret.",
        {**_OWN, "identity": {"secret": "identity"}},
    ),
    "owner-dials": Variant(
        "fedsms-owner",
        "owner",
        "A data owner's node that dials its coordinator, which it joins by an invitation.",
        {**_OWN, "connection": "dials", "identity": {"invitation": "invitation"}},
    ),
    "coordinator-job": Variant(
        "fedsms-coordinator",
        "coordinator",
        "A coordinator that trains once with a node that it dials, with an identity from a Secret.",
        {
            "identity": {"secret": "identity"},
            "nodes": {"owner": "wss://owner.fedsms-owner.svc:8777"},
        },
    ),
    "coordinator-standing": Variant(
        "fedsms-coordinator",
        "coordinator",
        "A coordinator that stays, with a federation of its own, to which it invites owners.",
        {"mode": "standing"},
    ),
}


def files() -> dict[Path, str]:
    """What deploy/kubernetes holds: each file's path and text. Raises as `render` does."""
    made = {}
    for name, variant in VARIANTS.items():
        made[MANIFESTS / name / FILE] = variant.manifests()
        made[MANIFESTS / name / "kustomization.yaml"] = KUSTOMIZATION
    return made
