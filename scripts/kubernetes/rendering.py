"""A chart and its values as Kubernetes would get them, by the real Helm engine."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from shared.errors import FedsmsError, UsageError

ROOT = Path(__file__).resolve().parents[2]
CHARTS = ROOT / "deploy" / "helm"
Document = dict[str, Any]
"""An object of Kubernetes, as its YAML says."""

ORDER = (
    *("Namespace", "NetworkPolicy", "ServiceAccount", "Secret", "ConfigMap"),
    *("PersistentVolumeClaim", "Service", "Deployment", "StatefulSet", "Job"),
)
"""As Helm installs them; of the kinds that the charts have."""


@contextmanager
def packages() -> Iterator[None]:
    """Raises FedsmsError where what requirements-kubernetes.txt names is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise FedsmsError(
            "what works on charts is not here",
            f"there is no module {error.name}",
            "Install it: pip install --no-deps -r requirements-kubernetes.txt",
        ) from error


def render(chart: str, values: Mapping[str, Any], name: str, namespace: str) -> str:
    """The manifests of a release, as YAML.

    Args:
        chart: a folder in deploy/helm.
        values: go before the chart's own.

    Raises:
        UsageError: the chart does not take the values; Helm's own words say why.
        FedsmsError: the Helm engine is not installed.
    """
    with packages():
        import helm_python
    try:
        with helm_python.Chart.load(CHARTS / chart) as loaded:
            made = loaded.render(dict(values), name=name, namespace=namespace, is_install=True)
    except helm_python.HelmError as error:
        raise UsageError(
            f"the chart {chart} cannot be rendered", " ".join(str(error).split())
        ) from error
    texts = [one for path, text in made.items() if path.endswith(".yaml") for one in split(text)]
    return "---\n".join(sorted(texts, key=lambda one: ORDER.index(kind_of(one))))


def read_text(path: Path) -> str:
    """Raises UsageError where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read {path}", str(error)) from error


def read_values(path: Path) -> dict[str, Any]:
    """A file of values, JSON or YAML.

    Raises:
        UsageError: it cannot be read, or holds no table. FedsmsError: no reader is installed.
    """
    with packages():
        import yaml
    try:
        found = yaml.safe_load(read_text(path))
    except yaml.YAMLError as error:
        raise UsageError(f"{path} is no YAML", " ".join(str(error).split())) from error
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no table of values")
    return found


def split(text: str) -> list[str]:
    """The documents of a file of YAML, without empty ones and empty lines."""
    parts = re.split(r"^---$", text, flags=re.MULTILINE)
    lines = [[line for line in part.splitlines() if line.strip()] for part in parts]
    return ["\n".join(one) + "\n" for one in lines if one]


def kind_of(text: str) -> str:
    found = re.search(r"^kind: (\w+)$", text, re.MULTILINE)
    return found[1] if found else ""


def documents(text: str) -> list[Document]:
    """What a file of YAML holds.

    Raises:
        UsageError: it is no YAML of Kubernetes' objects. FedsmsError: no reader is installed.
    """
    with packages():
        import yaml
    try:
        found = [one for one in yaml.safe_load_all(text) if one is not None]
    except yaml.YAMLError as error:
        raise UsageError("this is no YAML", " ".join(str(error).split())) from error
    for one in found:
        if not isinstance(one, dict) or not {"apiVersion", "kind", "metadata"} <= set(one):
            raise UsageError("this YAML holds something that is no object of Kubernetes")
    return found
