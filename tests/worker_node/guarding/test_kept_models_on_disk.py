"""What is on disk of kept models while one is written, whenever that ends."""

from __future__ import annotations

from pathlib import Path

from shared.model.recipe import Recipe
from tests.helpers.running import ROOT, done_well, run_python

KILLED = """
import os, signal, sys
from pathlib import Path
from tests.conftest import QUICK
from tests.worker_node.guarding.test_kept_models import keep
from worker_node.guarding.kept_models import KeptModels, open_kept
from shared.model.recipe import load_recipe

folder, recipe = Path(sys.argv[1]), load_recipe(sys.argv[2])
EVENTS = ("open", "os.", "shutil.", "tempfile.")

def dies_at(number):
    seen = 0
    def hook(event, arguments):
        nonlocal seen
        if event.startswith(EVENTS):
            seen += 1
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(hook)

kept = KeptModels(folder)
for seed in (1, 2):
    keep(kept, recipe, seed, most=2)
number = 0
while True:
    number += 1
    child = os.fork()
    if not child:
        dies_at(number)
        keep(kept, recipe, 100 + number, most=2)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    print("killed" if os.WIFSIGNALED(status) else "whole", *sorted(p.name for p in kept.folders))
    assert 1 <= len(kept.folders) <= 3, kept.folders
    for path in (None, *kept.folders):
        open_kept(path, folder)
    if not os.WIFSIGNALED(status):
        assert status == 0
        break
"""


def test_whenever_the_node_is_killed_while_it_keeps_one_whole_models_alone_are_there(
    recipe: Recipe, quick: Path, tmp_path: Path
) -> None:
    """SIGKILL at every single call that touches the disk, one after the other."""
    models = tmp_path / "models"
    out = done_well(run_python("-c", KILLED, models, quick, cwd=ROOT)).splitlines()
    killed = [line for line in out if line.startswith("killed")]
    assert len(killed) > 20
    assert out[-1].startswith("whole")
    assert len(out[-1].split()) == 3  # two models, and nothing unfinished beside them
    assert len(list(models.iterdir())) == 2
