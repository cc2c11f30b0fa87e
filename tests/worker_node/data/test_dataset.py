import csv
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DataError, UsageError
from shared.reading.contents import MAX_BYTES
from tests.helpers.messages import made_up, write_tsv
from worker_node.data.messages import MAX_CHARACTERS, Layout
from worker_node.data.shard import Message, Shard, load_shard, read_messages, split_held_out

AWKWARD = [
    Message(0, 'a\ttab, a comma and a "quote"'),
    Message(1, "\u2028 separators \x85 that str.splitlines() would cut at \x0b"),
    Message(0, "crème brûlée 🍮 £5"),
    Message(1, "=SUM(A1) 'x' \\n"),
]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_awkward_texts_survive_a_tsv(tmp_path: Path, ends: str, start: str) -> None:
    lines = [f"{('ham', 'spam')[m.label]}\t{m.text}{ends}" for m in AWKWARD]
    path = write(tmp_path / "SMSSpamCollection", start + ends.join(lines))
    assert list(read_messages(path).messages) == AWKWARD


def test_a_csv_may_hold_line_breaks_and_other_columns(tmp_path: Path) -> None:
    expected = [*AWKWARD, Message(0, "two\nlines"), Message(0, "two\r\nDOS lines")]
    path = tmp_path / "bob.CSV"
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        rows = csv.writer(file)
        rows.writerow(["id", "Text", "label"])
        rows.writerows((9, m.text, ("ham", "spam")[m.label]) for m in expected)
    assert list(read_messages(path).messages) == expected


def test_json_lines_may_hold_line_breaks_and_other_keys(tmp_path: Path) -> None:
    expected = [*AWKWARD, Message(0, "two\nlines")]
    lines = [{"text": m.text, "label": ("ham", "spam")[m.label], "id": 9} for m in expected]
    path = write(tmp_path / "bob.jsonl", "\n\n".join(json.dumps(line) for line in lines))
    assert list(read_messages(path).messages) == expected


@pytest.mark.parametrize(
    ("name", "bad", "problem"),
    [
        ("m.tsv", b"secret text", "there is no tab"),
        ("m.tsv", b"secret text\tspam", "the label is neither ham nor spam"),
        ("m.tsv", b"Secret\tham", "the label is neither ham nor spam"),
        ("m.tsv", b"ham\t  ", "the text is empty"),
        ("m.tsv", b"ham\tsecret \xff text", "bytes that its encoding has no character for"),
        ("m.tsv", b"ham\tsecret \0 text", "NUL"),
        ("m.tsv", b"ham\tsecret" + b"x" * MAX_CHARACTERS, "longer than 1,000,000"),
        ("m.csv", b"ham,secret,text", "3 cells, not 2"),
        ("m.jsonl", b'{"label": "ham", "text": "secret', "not JSON"),
        ("m.jsonl", b"[" * 100_000, "not JSON"),
        (
            "m.jsonl",
            b'{"label": "ham", "text": ["secret"]}',
            "what is in the column of texts is no text",
        ),
        ("m.jsonl", b'{"label": "ham", "text": "secret \\ud800"}', "no character for"),
    ],
)
def test_a_bad_line_is_named_by_file_and_number_without_its_text(
    tmp_path: Path, name: str, bad: bytes, problem: str
) -> None:
    first = {
        "m.tsv": "ham\thello\nham\tmañana\nham\tolé\n\n".encode(),
        "m.csv": b'label,text\nham,"hello\nthere"\nham,a\nham,b\n',
        "m.jsonl": b'{"label": "ham", "text": "hello"}\n\n' * 3,
    }[name]
    line = first.count(b"\n") + 1
    path = write(tmp_path / name, first + bad + b"\n")
    with pytest.raises(DataError) as caught:
        read_messages(path)
    assert caught.value.fact == f"{path}, line {line}"
    assert problem in caught.value.cause
    assert "secret text" not in str(caught.value)

    reading = read_messages(path, skip_bad_lines=True)
    assert len(reading.messages) == 3
    ((reason, by_label),) = reading.skipped.items()
    assert problem in reason
    assert sum(by_label.values()) == 1


def test_a_mistyped_label_is_shown_but_never_counted_under_its_own_name(tmp_path: Path) -> None:
    path = write(tmp_path / "m.tsv", "ham\thello\nham\tbye\nsapm\twin\nhma\tlunch\n")
    with pytest.raises(DataError, match="'sapm'"):
        read_messages(path)
    skipped = read_messages(path, skip_bad_lines=True).skipped
    assert skipped == {"the label is neither ham nor spam": {"unknown": 2}}


def test_broken_quoting_is_an_error_even_where_bad_lines_are_skipped(tmp_path: Path) -> None:
    path = write(tmp_path / "m.csv", 'label,text\nham,hello\nham,"open\nspam,swallowed\n')
    with pytest.raises(DataError, match="line 3: broken quoting"):
        read_messages(path, skip_bad_lines=True)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.tsv", "", "holds no message"),
        ("blank.tsv", "\n\n", "holds no message"),
        ("bad.tsv", "no tab\n", "cannot tell which column"),
        ("empty.csv", "", "holds no message"),
        ("headed.csv", "label,text\n", "holds no message"),
        ("sheet.xlsx", "PK\3\4", "cannot unpack"),
        ("page.pdf", "%PDF-1.7", "cannot tell the format"),
    ],
)
def test_a_file_without_messages_is_one_clear_error(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        read_messages(write(tmp_path / name, content), skip_bad_lines=True)


def test_what_is_no_readable_file_is_one_clear_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.tsv")  # opening it would wait for ever
    with (tmp_path / "huge.tsv").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    for path, message in [
        (tmp_path / "missing.tsv", "No such file"),
        (tmp_path, "not a regular file"),
        (tmp_path / "pipe.tsv", "not a regular file"),
        (tmp_path / "huge.tsv", "too large"),
    ]:
        with pytest.raises(DataError, match=message):
            read_messages(path)


def test_the_format_may_be_told_where_the_name_does_not(tmp_path: Path) -> None:
    path = write(tmp_path / "messages.export", "label,text\nham,hello\n")
    assert read_messages(path, Layout(format="csv")).messages == (Message(0, "hello"),)


texts = st.lists(st.tuples(st.sampled_from([0, 1]), st.text(max_size=4)), max_size=60)


@given(rows=texts, more=texts, fraction=st.sampled_from([0.1, 0.2, 0.5]))
def test_no_held_out_text_is_trained_on_and_no_row_is_lost(
    rows: list[tuple[int, str]], more: list[tuple[int, str]], fraction: float
) -> None:
    messages = [Message(label, text) for label, text in rows]
    train, held_out = split_held_out(messages, fraction)
    assert sorted((m.text, m.label) for m in (*train, *held_out)) == sorted(
        (m.text, m.label) for m in messages
    )
    assert not Shard(train, held_out).held_out_rows_trained_on()


def test_new_rows_move_no_row_across_and_both_sides_know_both_classes() -> None:
    messages = made_up(1000, spam=0.1)
    train, held_out = split_held_out(messages, 0.2)
    assert 150 < len(held_out) < 250
    before = split_held_out(messages[:600], 0.2)
    assert set(before[0]) <= set(train)
    assert set(before[1]) <= set(held_out)
    for label in (0, 1):
        pair = [m for m in messages if m.label == label][:2]
        both = [m for m in messages if m.label != label]
        sides = split_held_out([*pair, *both], 0.01)
        assert [sum(m.label == label for m in side) for side in sides] == [1, 1]


def test_a_shard_counts_what_it_holds(tmp_path: Path) -> None:
    messages = made_up(100, spam=0.25)
    data = write_tsv(tmp_path / "bob.tsv", messages)
    with data.open("a") as file:
        file.write("no tab\n")
    held_out = write_tsv(tmp_path / "bob.held-out.tsv", [*messages[:3], Message(0, "new")])
    shard = load_shard(data, held_out_file=held_out, skip_bad_lines=True)
    assert shard.label_counts()["train"] == {"ham": 75, "spam": 25}
    assert len(shard.held_out) == 4
    assert shard.held_out_rows_trained_on() == 3
    assert shard.skipped == {"there is no tab between label and text": {"unknown": 1}}
    assert load_shard(data, held_out_fraction=0, skip_bad_lines=True).held_out == ()


def test_a_shard_of_one_class_is_refused_unless_the_owner_means_it(tmp_path: Path) -> None:
    data = write_tsv(tmp_path / "bob.tsv", made_up(20, spam=0))
    with pytest.raises(DataError, match="has no spam to train on"):
        load_shard(data)
    shard = load_shard(data, allow_one_class=True)
    assert shard.label_counts()["train"]["spam"] == 0


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
def test_a_fraction_out_of_bounds_is_refused(tmp_path: Path, fraction: float) -> None:
    data = write_tsv(tmp_path / "bob.tsv", made_up(20))
    with pytest.raises(UsageError, match="at least 0 and below 1"):
        load_shard(data, held_out_fraction=fraction)
