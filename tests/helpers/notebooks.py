"""Runs a notebook in a kernel of its own, as Jupyter does.

    python -m tests.helpers.notebooks docs/federation.ipynb SMSSpamCollection [executed.ipynb]

runs it in a new folder that has these messages, and writes its outputs into it, or into a copy.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient


def execute(notebook: Path, messages: Path, executed: Path) -> None:
    """Raises CellExecutionError where a cell fails, with what it wrote."""
    found = nbformat.read(notebook, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(messages, Path(folder) / "SMSSpamCollection")
        os.environ["MPLCONFIGDIR"] = folder  # matplotlib's cache of fonts
        resources = {"metadata": {"path": folder}}
        client = NotebookClient(found, timeout=240, resources=resources, record_timing=False)
        client.execute()
    for cell in found.cells:
        for output in cell.get("outputs", ()):
            output.get("metadata", {}).clear()
    nbformat.write(found, executed)


if __name__ == "__main__":
    where = Path(sys.argv[1])
    execute(where, Path(sys.argv[2]), Path(sys.argv[-1]) if len(sys.argv) > 3 else where)
