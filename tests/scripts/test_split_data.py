import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.data.partition import FLOOR, Partition, deal, deduplicate, deduplicate_near
from scripts.split_data import owner_names, split_data
from shared.errors import UsageError
from tests.helpers.messages import made_up, write_tsv
from worker_node.data.near_duplicates import near_in
from worker_node.data.shard import Message, Shard, load_shard, read_messages

MESSAGES = made_up(1000, spam=0.13)


def every_text(shards: Sequence[Shard]) -> list[str]:
    return sorted(m.text for shard in shards for m in (*shard.train, *shard.held_out))


@given(
    owners=st.integers(1, 8),
    partition=st.sampled_from(["article", "iid", "dirichlet"]),
    seed=st.integers(0, 2**32),
    alpha=st.floats(0.01, 100),
)
def test_every_partition_deals_each_row_out_once_and_the_same_way_again(
    owners: int, partition: Partition, seed: int, alpha: float
) -> None:
    shards = deal(MESSAGES, owners, partition, seed=seed, alpha=alpha)
    assert len(shards) == owners
    assert every_text(shards) == sorted(message.text for message in MESSAGES)
    assert all(min(p.values()) >= 1 for s in shards for p in s.label_counts().values())
    assert shards == deal(MESSAGES, owners, partition, seed=seed, alpha=alpha)


def test_the_article_keeps_the_order_and_gives_each_half_a_half() -> None:
    rows = [*made_up(107, spam=0.4)]
    bob, anne = deal(rows, 2, "article", seed=0, alpha=1)
    assert [*bob.train, *anne.train] == rows[:86]  # 107 less int(107 * 0.2)
    assert [*bob.held_out, *anne.held_out] == rows[86:]
    assert len(bob.train) == 43


def test_iid_owners_differ_by_one_row_a_class_at_most() -> None:
    shards = deal(MESSAGES, 7, "iid", seed=3, alpha=1)
    for part in ("train", "held_out"):
        for label in ("ham", "spam"):
            counts = [shard.label_counts()[part][label] for shard in shards]
            assert max(counts) - min(counts) <= 1
    held_out = sum(len(shard.held_out) for shard in shards)
    assert held_out == 200
    assert shards != deal(MESSAGES, 7, "iid", seed=4, alpha=1)


def test_a_small_alpha_skews_sizes_and_spam_and_a_large_one_does_not() -> None:
    def spread(alpha: float) -> tuple[float, float]:
        shards = deal(MESSAGES, 4, "dirichlet", seed=1, alpha=alpha)
        sizes = [len(shard.train) for shard in shards]
        spam = [s.label_counts()["train"]["spam"] / len(s.train) for s in shards]
        return max(sizes) / min(sizes), max(spam) - min(spam)

    assert spread(1e6)[0] < 1.1
    assert spread(1e6)[1] < 0.02
    assert spread(0.1)[0] > 5
    assert spread(0.1)[1] > 0.2


def test_repeats_are_equal_texts_and_the_first_one_stays() -> None:
    rows = [Message(0, "a"), Message(1, "b"), Message(1, "a"), Message(0, "A"), Message(0, "a ")]
    assert deduplicate(rows) == [rows[0], rows[1], rows[3], rows[4]]


def test_too_many_owners_are_refused() -> None:
    for partition in ("article", "iid", "dirichlet"):
        with pytest.raises(UsageError, match="too few"):
            deal(MESSAGES, 130 // FLOOR + 100, partition, seed=0, alpha=1)


def test_the_files_of_a_split_load_as_the_shards_it_reports(tmp_path: Path) -> None:
    data = write_tsv(tmp_path / "all.tsv", [*MESSAGES, Message(0, "a\ttab"), *MESSAGES[:50]])
    out = tmp_path / "new" / "out"
    split = split_data(data, out, ["bob", "anne"], partition="iid", seed=1)
    assert split == json.loads((out / "split.json").read_text())
    assert split["repeats_removed"] == 50
    for name, rows in split["owners"].items():
        held_out = out / f"{name}.held-out.tsv"
        shard = load_shard(out / f"{name}.train.tsv", held_out_file=held_out)
        assert rows == {**shard.label_counts(), "held_out_texts_trained_on": 0}


def test_what_leaks_from_training_is_counted_across_owners(tmp_path: Path) -> None:
    rows = made_up(80, spam=0.5)
    data = write_tsv(tmp_path / "all.tsv", rows + rows[:20])  # all held-out rows repeat bob's
    split = split_data(data, tmp_path / "out", ["bob", "anne"])
    leaks = {n: o["held_out_texts_trained_on"] for n, o in split["owners"].items()}
    assert leaks == {"bob": 10, "anne": 10}


def test_texts_with_line_breaks_and_quotes_come_out_as_they_went_in(tmp_path: Path) -> None:
    awkward = ["two\nlines", "DOS\r\nlines", 'a "quote"\tand a tab', '"whole"', "old\rMac"]
    rows = [Message(n % 2, f"{text} {n}") for n, text in enumerate(awkward * 20)]
    lines = [{"label": ("ham", "spam")[m.label], "text": m.text} for m in rows]
    data = tmp_path / "all.jsonl"
    data.write_text("\n".join(json.dumps(line) for line in lines))
    split_data(data, tmp_path / "out", ["bob", "anne"], partition="iid")
    dealt = [m for path in (tmp_path / "out").glob("*.tsv") for m in read_messages(path).messages]
    assert sorted(dealt, key=lambda m: m.text) == sorted(rows, key=lambda m: m.text)


def test_an_earlier_split_is_replaced_whole_and_only_by_force(tmp_path: Path) -> None:
    data, out = write_tsv(tmp_path / "all.tsv", MESSAGES), tmp_path / "out"
    split_data(data, out, ["bob", "anne", "carol"])
    with pytest.raises(UsageError, match="earlier split"):
        split_data(data, out, ["bob", "anne"])
    assert (out / "carol.train.tsv").exists()
    split_data(data, out, ["bob", "anne"], force=True)
    names = {"bob.train.tsv", "bob.held-out.tsv", "anne.train.tsv", "anne.held-out.tsv"}
    assert {path.name for path in out.iterdir()} == {*names, "split.json"}


def test_a_folder_with_other_files_is_left_alone_even_by_force(tmp_path: Path) -> None:
    data = write_tsv(tmp_path / "all.tsv", MESSAGES)
    with pytest.raises(UsageError, match=r"other files: all\.tsv"):
        split_data(data, tmp_path, ["bob", "anne"], force=True)
    assert list(tmp_path.iterdir()) == [data]


@pytest.mark.parametrize("names", [[], ["../bob"], ["bob", "Bob"], [""], ["a/b"]])
def test_owners_need_different_names_that_can_be_file_names(
    tmp_path: Path, names: list[str]
) -> None:
    with pytest.raises(UsageError):
        split_data(tmp_path / "unread.tsv", tmp_path / "out", names)


def test_owners_have_names_for_as_long_as_there_are_any() -> None:
    assert owner_names(2) == ["bob", "anne"]
    assert owner_names(12)[-3:] == ["judy", "owner-11", "owner-12"]


def templates(groups: int = 40, each: int = 3) -> list[Message]:
    """Groups of messages that differ in a number and in a word's case."""
    firsts = made_up(groups, spam=0.5)
    return [
        Message(one.label, f"{one.text.title() if n % 2 else one.text} ref {number}{n}")
        for n in range(each)
        for number, one in enumerate(firsts)
    ]


def test_near_duplicates_are_removed_up_to_the_first() -> None:
    rows = templates()
    assert deduplicate_near(rows) == rows[:40]


@pytest.mark.parametrize("seed", range(3))
def test_near_duplicates_that_are_kept_together_are_never_on_both_sides(seed: int) -> None:
    rows = templates()
    shards = deal(rows, 2, "iid", seed=seed, alpha=1, keep_together=True)
    train = [m.text for shard in shards for m in shard.train]
    held_out = [m.text for shard in shards for m in shard.held_out]
    assert sorted(train + held_out) == sorted(m.text for m in rows)
    assert near_in(held_out, train) == 0
    assert 0.1 * len(rows) < len(held_out) < 0.25 * len(rows)
    apart = deal(rows, 2, "iid", seed=seed, alpha=1)
    train = [m.text for shard in apart for m in shard.train]
    held_out = [m.text for shard in apart for m in shard.held_out]
    assert near_in(held_out, train) > 0
    with pytest.raises(UsageError, match="cannot be kept together in the partition article"):
        deal(rows, 2, "article", seed=seed, alpha=1, keep_together=True)


def test_a_split_says_how_many_near_duplicates_it_removed(tmp_path: Path) -> None:
    data = write_tsv(tmp_path / "all.tsv", templates(groups=120))
    split = split_data(data, tmp_path / "out", ["bob"], partition="iid", remove="near")
    assert split["near_duplicates_removed"] == 240
