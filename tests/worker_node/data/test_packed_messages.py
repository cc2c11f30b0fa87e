"""Packed messages are the messages that were added; rows that are read twice are the same rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.reading import memory_file
from worker_node.data import packed_messages
from worker_node.data.packed_messages import Message, PackedMessages, in_utf8, labels_of
from worker_node.data.shard import split_held_out
from worker_node.data.table import KEPT_ROWS, Row, RowsAsRead

MESSAGES = st.lists(st.builds(Message, st.integers(0, 1), st.text()), max_size=30)


@pytest.mark.parametrize(("at_once", "most"), [(1, 2**20), (3, 2**20), (3, 1)])
def test_texts_are_the_same_however_many_are_read_together(
    monkeypatch: pytest.MonkeyPatch, at_once: int, most: int
) -> None:
    monkeypatch.setattr(packed_messages, "_AT_ONCE", at_once)
    monkeypatch.setattr(packed_messages, "_MOST_BYTES", most)
    texts = [f"{'x' * number} {number}" for number in range(20)]
    packed = PackedMessages(Message(0, text) for text in texts)
    assert list(packed.texts) == texts
    assert list(packed.choice(range(1, 20, 4)).texts) == texts[1::4]


@given(MESSAGES, st.slices(30))
def test_packed_messages_are_a_sequence_like_any_other(
    messages: list[Message], part: slice
) -> None:
    packed = PackedMessages(messages)
    assert packed == messages
    assert packed == PackedMessages(messages)
    assert packed != [*messages, Message(0, "")]
    assert (list(packed), len(packed)) == (messages, len(messages))
    assert packed[part] == tuple(messages[part])
    assert list(packed.texts) == [message.text for message in messages]
    assert packed.texts[part] == [message.text for message in messages[part]]
    assert labels_of(packed) == labels_of(messages) == bytes(m.label for m in messages)
    for index in range(-len(messages), len(messages)):
        assert packed[index] == messages[index]
        assert packed.texts[index] == messages[index].text
    for index in (len(messages), -len(messages) - 1):
        with pytest.raises(IndexError):
            packed[index]


@given(MESSAGES, st.sets(st.integers(0, 29)), st.sets(st.integers(0, 29)), st.integers(1, 40))
def test_a_choice_of_messages_is_theirs_in_order(
    messages: list[Message], first: set[int], second: set[int], piece: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_file, "PIECE", piece)
        packed = PackedMessages(messages)
    rows = sorted(row for row in first if row < len(messages))
    again = sorted(row for row in second if row < len(rows))
    chosen = packed.choice(rows)
    assert list(chosen) == [messages[row] for row in rows]
    assert list(chosen.choice(again)) == [messages[rows[row]] for row in again]
    assert chosen.choice(range(len(rows))) == chosen
    assert [text.decode() for text in in_utf8(chosen)] == list(chosen.texts)
    assert list(in_utf8(chosen)) == list(in_utf8(tuple(chosen)))


def _split_by_ranks(
    messages: list[Message], fraction: float
) -> tuple[list[Message], list[Message]]:
    """As the split is defined: of each class, the texts of the lowest places."""
    import mmh3

    def place(text: str) -> float:
        return mmh3.hash(text.encode(), 0x5EED, signed=False) / 2**32

    aside = set()
    for label in (0, 1):
        ranked = sorted({(place(m.text), m.text) for m in messages if m.label == label})
        count = min(max(sum(p < fraction for p, _ in ranked), 1), len(ranked) - 1)
        aside |= {text for _, text in ranked[: max(count, 0)]}
    return [m for m in messages if m.text not in aside], [m for m in messages if m.text in aside]


@given(
    st.lists(
        st.builds(Message, st.integers(0, 1), st.integers(0, 40).map(str)), min_size=1, max_size=60
    ),
    st.sampled_from([0.01, 0.2, 0.5, 0.99]),
)
def test_the_split_is_by_the_rank_of_each_text(messages: list[Message], fraction: float) -> None:
    for rows in (messages, PackedMessages(messages)):
        train, held_out = split_held_out(rows, fraction)
        assert (list(train), list(held_out)) == _split_by_ranks(messages, fraction)


@pytest.mark.parametrize("number", [0, 3, KEPT_ROWS + 5])
def test_rows_as_read_are_read_anew_and_only_as_far_as_is_looked_at(number: int) -> None:
    gone_through: list[int] = []

    def read():  # type: ignore[no-untyped-def]
        for line in range(1, number + 1):
            gone_through.append(line)
            yield Row(line)

    rows, expected = RowsAsRead(read), [Row(line) for line in range(1, number + 1)]
    assert bool(rows) == bool(expected)
    assert rows[:2] == expected[:2]
    assert rows[:KEPT_ROWS] == expected[:KEPT_ROWS]
    assert len(gone_through) <= KEPT_ROWS
    assert (list(rows), list(rows), len(rows)) == (expected, expected, number)
    for part in (slice(None), slice(1, None), slice(None, -1), slice(0, 2**40), slice(5, 0, -1)):
        assert list(rows[part]) == expected[part]
    if number:
        assert (rows[0], rows[-1], rows[number - 1]) == (expected[0], expected[-1], expected[-1])
    with pytest.raises(IndexError):
        rows[number]
