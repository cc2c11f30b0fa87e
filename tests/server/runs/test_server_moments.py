"""What a server optimiser remembers, on disk: the same bits back, or refused."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from server.runs import server_moments
from server.runs.server_moments import drop_moments, load_moments, save_moments
from shared.errors import StorageError
from shared.model.recipe import Recipe

NUMBER = 7


def recipe_of(optimizer: str) -> Recipe:
    text = {"tokens": 4, "buckets": 16}
    federation = {"server_optimizer": optimizer, "rounds": 9}
    return Recipe.parse({"text": text, "federation": federation}, "here")


FEDADAM = recipe_of("fedadam")
NAMES = {"none": (), "fedavgm": ("first",), "fedadam": ("first", "second")}


def moments(names: tuple[str, ...] = NAMES["fedadam"]) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    return {name: draw.standard_normal(FEDADAM.parameters) for name in names}


def path_of(folder: Path, number: int = NUMBER) -> Path:
    return folder / f"server-optimizer-{number:05d}.safetensors"


def written(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    found = moments()
    change(found)
    path_of(folder).write_bytes(safetensors.numpy.save(found))


@pytest.mark.parametrize("optimizer", ["fedavgm", "fedadam", "fedyogi"])
def test_what_is_kept_after_a_round_is_found_again_bit_for_bit(
    optimizer: str, tmp_path: Path
) -> None:
    kept = moments(NAMES.get(optimizer, NAMES["fedadam"]))
    save_moments(tmp_path, NUMBER, kept)
    on_disk = safetensors.numpy.load(path_of(tmp_path).read_bytes())
    found = load_moments(tmp_path, NUMBER, recipe_of(optimizer))
    for read in (on_disk, found):
        assert set(read) == set(kept)
        assert all(read[name].tobytes() == kept[name].tobytes() for name in kept)


def test_nothing_is_written_or_asked_for_where_there_is_nothing_to_remember(tmp_path: Path) -> None:
    save_moments(tmp_path, NUMBER, {})
    assert list(tmp_path.iterdir()) == []
    assert load_moments(tmp_path, NUMBER, recipe_of("none")) == {}
    assert load_moments(tmp_path, 0, FEDADAM) == {}  # no round is over yet
    with pytest.raises(StorageError, match="00001"):
        load_moments(tmp_path, 1, FEDADAM)


def widen(found: dict[str, np.ndarray]) -> None:
    found["first"] = np.append(found["first"], 0.0)


def narrow(found: dict[str, np.ndarray]) -> None:
    found["second"] = found["second"].astype(np.float32)


def lose(found: dict[str, np.ndarray]) -> None:
    del found["second"]


def add(found: dict[str, np.ndarray]) -> None:
    found["second"] = found["second"][:100]
    found["third"] = found["second"]


def not_finite(value: float) -> Callable[[dict[str, np.ndarray]], None]:
    def change(found: dict[str, np.ndarray]) -> None:
        found["second"][-1] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (widen, "first and second moments of the run's model"),
        (narrow, "first and second moments of the run's model"),
        (lose, "first and second moments of the run's model"),
        (add, "first and second moments of the run's model"),
        (not_finite(np.inf), "not finite"),
        (not_finite(np.nan), "not finite"),
    ],
)
def test_what_is_not_of_this_run_is_refused_and_the_file_is_named(
    change: Callable[[dict[str, np.ndarray]], None], words: str, tmp_path: Path
) -> None:
    written(tmp_path, change)
    with pytest.raises(StorageError) as caught:
        load_moments(tmp_path, NUMBER, FEDADAM)
    assert words in caught.value.cause
    assert str(path_of(tmp_path)) in str(caught.value)


def test_one_moment_too_many_is_refused_as_well(tmp_path: Path) -> None:
    small = moments(("first",))
    path_of(tmp_path).write_bytes(safetensors.numpy.save({**small, "other": np.zeros(1)}))
    with pytest.raises(StorageError, match="damaged"):
        load_moments(tmp_path, NUMBER, recipe_of("fedavgm"))
    path_of(tmp_path).write_bytes(safetensors.numpy.save({**small, "other": small["first"]}))
    with pytest.raises(StorageError, match="damaged"):
        load_moments(tmp_path, NUMBER, recipe_of("fedavgm"))


def garbage(dtype: str) -> bytes:
    """A file whose numbers are of a type that numpy does not know."""
    entry = {"dtype": dtype, "shape": [1], "data_offsets": [0, 1]}
    header = json.dumps({"first": entry}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0"


@pytest.mark.parametrize("data", [b"", b"garbage", garbage("F8_E4M3"), garbage("none")])
def test_a_file_that_is_none_is_refused_as_damaged(data: bytes, tmp_path: Path) -> None:
    path_of(tmp_path).write_bytes(data)
    with pytest.raises(StorageError, match="is damaged"):
        load_moments(tmp_path, NUMBER, FEDADAM)


def test_a_file_may_have_a_header_of_64_kib_beside_its_numbers_and_no_more(tmp_path: Path) -> None:
    numbers = 8 * 2 * FEDADAM.parameters
    found = safetensors.numpy.save(moments())
    size, header = struct.unpack("<Q", found[:8])[0], found[8:-numbers]
    assert len(header) == size
    for over in (0, 1):
        padded = header.ljust(2**16 - 8 + over)  # blanks are allowed behind the JSON
        path_of(tmp_path).write_bytes(struct.pack("<Q", len(padded)) + padded + found[-numbers:])
        if over:
            with pytest.raises(StorageError, match="larger than"):
                load_moments(tmp_path, NUMBER, FEDADAM)
        else:
            assert set(load_moments(tmp_path, NUMBER, FEDADAM)) == {"first", "second"}


def test_those_of_other_rounds_go_and_whatever_else_lies_there_stays(tmp_path: Path) -> None:
    for number in (5, 6, NUMBER, 12345):
        save_moments(tmp_path, number, moments())
    for name in ("model.safetensors", "settings.json"):
        (tmp_path / name).touch()
    (tmp_path / "server-optimizer-00003.safetensors").mkdir()  # cannot be removed: no error
    drop_moments(tmp_path, NUMBER)
    assert {one.name for one in tmp_path.iterdir()} == {
        *("model.safetensors", "settings.json", "server-optimizer-00003.safetensors"),
        path_of(tmp_path).name,
    }
    assert server_moments.MOMENTS_FILES == "server-optimizer-*.safetensors"
