"""`python -m server audit`: attacks on a run's model, with messages that are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from server.runs.auditing import Audit, Known, audit, read_known
from shared.errors import DataError, UsageError
from shared.model.classifier import initial_state
from shared.model.many_texts import encode_all
from shared.model.recipe import Recipe, load_recipe
from shared.trained_model.saved_model import SavedModel, save
from tests.helpers.messages import made_up, write_tsv
from tests.helpers.running import Finished, run
from worker_node.data.shard import Message
from worker_node.training.local_training import train
from worker_node.training.private_step import Features, exact_sum

TUTORIAL = load_recipe("tutorial")
LETTERS = "abcdefghijklmnopqrstuvwxyz"
ALL = [
    Message(one.label, f"{one.text} zq{LETTERS[place % 26]}{LETTERS[place // 26]}word")
    for place, one in enumerate(made_up(240, seed=8))
]
MEMBERS, OTHERS, REST = ALL[:80], ALL[80:160], ALL[160:]


def known(messages: list[Message]) -> Known:
    return Known([one.text for one in messages], [one.label for one in messages])


def run_of(folder: Path, messages: list[Message], recipe: Recipe = TUTORIAL, seed: int = 3) -> Path:
    """A run folder, as far as an audit reads it, of a model that learned these by heart."""
    folder.mkdir()
    state = initial_state(recipe, seed)
    if not recipe.is_private:
        ids = encode_all([one.text for one in messages], recipe.text)
        labels = np.array([one.label for one in messages])
        for number in range(30):
            state = train(state, ids, labels, recipe, seed=number).state
    save(folder, SavedModel(recipe, state), {"round": 1})
    (folder / "settings.json").write_text(json.dumps({"seed": seed}))
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run_of(tmp_path_factory.mktemp("runs") / "a-run", MEMBERS)


def test_a_model_that_learned_messages_by_heart_is_found_out(trained: Path) -> None:
    found = audit(trained, known(MEMBERS), known(OTHERS), [])
    assert found.words > 0.7
    assert found.messages > 0.7
    assert found.loss > 0.55
    assert (found.members, found.others, found.guesses, found.claimed) == (80, 80, 16, None)
    assert found.right > 12
    assert found.at_least > 0
    assert (found.likelihood, found.likelihood_found) == (None, None)


def test_shadow_runs_make_the_likelihood_ratio(trained: Path, tmp_path: Path) -> None:
    shadows = [run_of(tmp_path / f"shadow-{number}", REST, seed=number) for number in range(3)]
    found = audit(trained, known(MEMBERS), known(OTHERS), shadows)
    assert found.likelihood is not None
    assert found.likelihood > 0.6
    assert found.shadows == 3
    assert any("with 3 shadow runs" in line for line in found.in_words())


def test_of_messages_that_were_all_left_out_nothing_is_told(trained: Path) -> None:
    found = audit(trained, known(OTHERS), known(REST), [])
    assert 0.35 < found.messages < 0.65
    assert found.at_least == 0


def test_a_private_run_says_what_it_claims(tmp_path: Path) -> None:
    folder = run_of(tmp_path / "private", MEMBERS, load_recipe("private"))
    found = audit(folder, known(MEMBERS), known(OTHERS), [])  # of a state that nothing moved
    assert (found.claimed, found.words, found.messages) == (8.0, 0.5, 0.5)
    assert "claimed: 8" in found.in_words()[-1]


def test_a_private_models_steps_are_read_against_the_gradient(tmp_path: Path) -> None:
    """Messages that pulled are told from others: with the sign turned, they would be below."""
    recipe = load_recipe("private")
    folder = tmp_path / "private"
    folder.mkdir()
    ids = encode_all([one.text for one in MEMBERS], recipe.text)
    labels = np.array([one.label for one in MEMBERS])
    state = np.zeros(recipe.parameters, np.float32)
    gradient = exact_sum(state, Features.of(ids, recipe), labels, recipe)[: recipe.parameters]
    moved = (-gradient / 2.0**24).astype(np.float32)
    save(folder, SavedModel(recipe, moved), {"round": 1})
    (folder / "settings.json").write_text(json.dumps({"seed": 1}))
    assert audit(folder, known(MEMBERS), known(OTHERS), []).messages > 0.6


def test_a_message_in_both_and_a_shadow_of_another_recipe_are_errors(
    trained: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="1 messages are among"):
        audit(trained, known(MEMBERS), known([*OTHERS, MEMBERS[0]]), [])
    shadow = run_of(tmp_path / "other", REST, load_recipe("private"))
    with pytest.raises(UsageError, match="another recipe"):
        audit(trained, known(MEMBERS), known(OTHERS), [shadow])


def test_what_is_no_run_folder_is_one_error(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model-alone"
    folder.mkdir()
    for name in ("model.safetensors", "config.json"):
        (folder / name).write_bytes((trained / name).read_bytes())
    (folder / "settings.json").write_text("{}")
    with pytest.raises(UsageError, match="no run folder"):
        audit(folder, known(MEMBERS), known(OTHERS), [])


@pytest.mark.parametrize("line", ["hello there", "eggs\thello", "1\thello"])
def test_a_line_that_is_no_message_is_named(tmp_path: Path, line: str) -> None:
    path = write_tsv(tmp_path / "some.tsv", MEMBERS)
    path.write_text(path.read_text() + f"\n{line}\n")
    with pytest.raises(DataError, match="line 82 "):
        read_known(path)


def test_few_messages_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has 19 messages"):
        read_known(write_tsv(tmp_path / "few.tsv", MEMBERS[:19]))
    assert read_known(write_tsv(tmp_path / "some.tsv", MEMBERS)) == known(MEMBERS)


def audited(folder: Path, *flags: object) -> Finished:
    members = write_tsv(folder / "members.tsv", MEMBERS)
    others = write_tsv(folder / "others.tsv", OTHERS)
    files = ("--members", members, "--others", others)
    return run("server", "audit", *flags, *files, cwd=folder)


def test_the_command_audits_a_run_and_by_default_the_newest(trained: Path, tmp_path: Path) -> None:
    done = audited(tmp_path, trained)
    assert done.code == 0, done.err
    first, *_, last = done.out.splitlines()
    assert first == "80 messages that were trained on, 80 that were not"
    assert "of 16 guesses are right" in last
    newest = audited(tmp_path, "--run-dir", trained.parent, "--json")
    assert newest.code == 0, newest.err
    assert Audit(**json.loads(newest.out)).in_words()[0] == first
    assert "The newest run" in newest.err
    missing = audited(tmp_path, tmp_path / "nowhere")
    assert missing.code == 7
    assert len(missing.err.strip().splitlines()) <= 3
