"""What a Job does about a pod that failed: its podFailurePolicy, and its backoffLimit.

As the Job controller does it (Kubernetes, "Jobs", Pod failure policy): the first rule that fits
counts, and without one the failure does. Conditions such as DisruptionTarget do not come here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Action = Literal["FailJob", "Ignore", "Count"]
BACKOFF_LIMIT = 6
"""Of a Job that says none."""


def decide(job: Mapping[str, Any], container: str, code: int) -> Action:
    """What a container's exit code, which is not 0, means to the Job."""
    for rule in job.get("podFailurePolicy", {}).get("rules", ()):
        codes = rule.get("onExitCodes")
        if codes is None or codes.get("containerName", container) != container:
            continue
        if (code in codes["values"]) is (codes["operator"] == "In"):
            action: Action = rule["action"]
            return action
    return "Count"
