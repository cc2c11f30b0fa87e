"""Puts an image's optional packages into a folder, laid out as a virtual environment is.

    python scripts/images/extras.py node "metrics tables" /extras

What --build-arg EXTRAS names is read from requirements-NAME.txt in the folder above scripts;
an image takes of it what its programs can use. Without any the folder is empty. As a layer of their
own they leave that of requirements.txt the same for all images.
"""

from __future__ import annotations

import compileall
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[2]
USES = {
    "node": ("metrics", "tables"),
    "coordinator": ("metrics", "tensorboard", "mlflow", "report"),
}
"""Which extras an image's programs can use."""


def chosen(kind: str, said: str) -> list[str]:
    """Those of the extras said, with blanks or commas between, that an image of this kind uses.

    Raises ValueError for a word that is no extra of any image.
    """
    words = dict.fromkeys(re.split(r"[\s,]+", said.strip()) if said.strip(" ,") else [])
    known = {one for extras in USES.values() for one in extras}
    if unknown := [word for word in words if word and word not in known]:
        raise ValueError(f"EXTRAS names {unknown[0]!r}; known are {', '.join(sorted(known))}")
    return [word for word in words if word in USES[kind]]


def install(extras: list[str], folder: Path) -> None:
    """Raises CalledProcessError where pip cannot; it has said why."""
    below = Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    packages = folder / below
    packages.mkdir(parents=True, exist_ok=True)
    if not extras:
        return
    line = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
    line += ["--no-deps", "--no-compile", "--no-cache-dir", "--target", str(packages)]
    if (wheels := ROOT / "wheels").is_dir():
        line += ["--find-links", str(wheels)]
    for one in extras:
        line += ["-r", str(ROOT / f"requirements-{one}.txt")]
    subprocess.run([sys.executable, *line], check=True)
    shutil.rmtree(packages / "bin", ignore_errors=True)
    compileall.compile_dir(packages, quiet=1, workers=0, rx=re.compile("/(test|tests|sampledata)/"))


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[1] not in USES:
        sys.exit("extras.py: say node or coordinator, extras, and a folder")
    try:
        install(chosen(sys.argv[1], sys.argv[2]), Path(sys.argv[3]))
    except ValueError as error:
        sys.exit(f"extras.py: {error}")
    except subprocess.CalledProcessError:
        sys.exit("extras.py: pip cannot install them; what it said is above")
