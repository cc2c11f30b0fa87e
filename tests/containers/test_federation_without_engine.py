"""scripts/federation.py where it cannot work: no engine, no SDK, wrong flags."""

from __future__ import annotations

import subprocess
import sys
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from scripts.containers.networks import parse_range
from scripts.containers.up import Settings
from shared.errors import UsageError
from tests.helpers.running import ROOT, Finished, environment

SCRIPT = str(ROOT / "scripts" / "federation.py")


def run(cwd: Path, *command: str, **extra: str) -> Finished:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=environment(**extra),
        capture_output=True,
        text=True,
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def test_without_an_engine_there_is_one_error_that_says_where_it_was_looked_for(
    tmp_path: Path,
) -> None:
    refused = run(tmp_path, SCRIPT, "ps", DOCKER_HOST=f"unix://{tmp_path}/none.sock")
    assert refused.code == 4
    assert refused.err.startswith("error: no Docker engine answers: ")
    assert "DOCKER_HOST" in refused.err
    assert len(refused.err.splitlines()) == 2


def test_without_the_sdk_help_works_and_commands_say_how_to_get_it(tmp_path: Path) -> None:
    hidden = f"import sys, runpy; sys.modules['docker'] = None; sys.argv[0] = {SCRIPT!r}; "
    hidden += f"runpy.run_path({SCRIPT!r}, run_name='__main__')"
    assert run(tmp_path, "-c", hidden, "up", "--help").out.startswith("Examples:")
    refused = run(tmp_path, "-c", hidden, "ps")
    assert refused.code == 1
    assert "the Docker SDK for Python is not here" in refused.err
    assert "requirements-containers.txt" in refused.err


@pytest.mark.parametrize("text", ["10.213.0.0/30", "10.213.0.1/16", "fd00::/64", "many"])
def test_a_range_that_holds_no_subnet_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--subnets"):
        parse_range(text)
    assert parse_range("10.213.0.0/16") == IPv4Network("10.213.0.0/16")


def test_settings_are_the_same_where_they_deal_alike(tmp_path: Path) -> None:
    data = tmp_path / "messages.tsv"
    data.write_text("ham\thello\n")
    article = [Settings(2, "article", 0.3, seed, data).as_label() for seed in (1, 2)]
    assert article[0] == article[1]
    skewed = {Settings(2, "dirichlet", alpha, 1, data).as_label() for alpha in (0.3, 0.5)}
    assert len(skewed) == 2
