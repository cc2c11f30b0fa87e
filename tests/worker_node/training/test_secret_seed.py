"""The secret in the order of rows: the same for the same rows, another for any others."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from shared.model.classifier import initial_state
from shared.model.recipe import Recipe
from tests.conftest import OwnerFiles
from worker_node.data.shard import Shard
from worker_node.training import local_training
from worker_node.training.secret_seed import mark_of, mixed_seed, secret_of
from worker_node.training.trainer_process import TrainerProcess

Part = list[tuple[str, int]]
parts = st.lists(st.tuples(st.text(max_size=5), st.integers(0, 1)), max_size=4)


def secret(*rows: Part) -> bytes:
    return secret_of(
        ([text.encode() for text, _ in part], [label for _, label in part]) for part in rows
    )


@given(parts, parts, parts, parts)
def test_secrets_are_equal_where_the_rows_are(a: Part, b: Part, c: Part, d: Part) -> None:
    assert (secret(a, b) == secret(c, d)) == ((a, b) == (c, d))


@given(st.integers(0, 2**63 - 1))
def test_a_mixed_seed_is_one_that_a_training_takes(seed: int) -> None:
    mixed = mixed_seed(b"s" * 32, seed)
    assert 0 <= mixed < 2**63
    assert mixed != mixed_seed(b"t" * 32, seed)


def test_a_mark_is_of_the_rows_and_says_little() -> None:
    marks = {mark_of(secret([(f"row {number}", 0)], [])) for number in range(2000)}
    assert 1900 < len(marks) <= 2000  # of 65,536, some meet
    assert all(len(mark) == 4 for mark in marks)
    assert mark_of(secret([("a", 0)], [])) == mark_of(secret([("a", 0)], []))


def test_seeds_stay_apart() -> None:
    assert len({mixed_seed(b"s" * 32, seed) for seed in range(1000)}) == 1000


@given(st.integers(1, 5000), st.integers(1, 64), st.integers(0, 5))
def test_no_step_has_fewer_rows_than_half_a_batch_or_all(rows: int, size: int, epoch: int) -> None:
    steps = [len(batch) for batch in local_training._batches(rows, size, 1, epoch)]
    assert sum(steps) == rows
    assert max(steps) <= size
    assert min(steps) >= min(rows, (size + 1) // 2)
    assert max(steps) - min(steps) <= 1


def test_what_a_node_trains_hangs_on_rows_that_nobody_else_knows(
    owners: list[OwnerFiles], recipe: Recipe
) -> None:
    """Nodes that differ in one held-out row go over the same rows in another order."""
    shard = Shard(tuple(owners[0].train), tuple(owners[0].held_out))
    last = shard.held_out[-1]
    other = replace(shard, held_out=(*shard.held_out[:-1], replace(last, text=last.text + "!")))

    async def trained(shard: Shard) -> bytes:
        trainer = TrainerProcess(shard)
        request = {
            "op": "train",
            "state": initial_state(recipe, 1).tobytes(),
            "recipe": recipe.to_json(),
            "seed": 7,
            "round": 1,
        }
        try:
            answer = await trainer.call(request, lambda: None, lambda _: None)
        finally:
            await trainer.close()
        assert np.isfinite(np.frombuffer(answer["state"], "<f4")).all()
        return bytes(answer["state"])

    assert asyncio.run(trained(shard)) == asyncio.run(trained(shard))
    assert asyncio.run(trained(shard)) != asyncio.run(trained(other))


def test_secret_mark_and_seed_are_the_keyed_digests_that_resumed_runs_count_on() -> None:
    """Made here from BLAKE2's own description (RFC 7693), by the personalisation of each use."""
    rows = [("Gr\u00fc\u00dfe", 1), ("", 0)]
    said = b"part"
    for text, label in rows:
        data = text.encode()
        said += len(data).to_bytes(8, "little") + label.to_bytes(8, "little") + data
    expected = hashlib.blake2b(said + b"part", digest_size=32, person=b"fedsms rows").digest()
    assert secret(rows, []) == expected
    mark = hashlib.blake2b(b"", digest_size=2, person=b"fedsms mark", key=expected)
    assert mark_of(expected) == mark.hexdigest()
    seed = (12345).to_bytes(8, "little")
    mixed = hashlib.blake2b(seed, digest_size=8, person=b"fedsms seed", key=expected)
    assert mixed_seed(expected, 12345) == int.from_bytes(mixed.digest(), "little") // 2
