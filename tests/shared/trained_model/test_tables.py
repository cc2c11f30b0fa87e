"""Tables of messages: each row with its verdict, as it comes."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import DataError, UsageError
from shared.trained_model.prediction import BATCH_ROWS, Verdict
from shared.trained_model.tables import CsvRows, JsonRows, Rows

CELLS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\u2028\u2029\x85"),
    max_size=12,
)


def _judged(rows: Rows) -> list[str]:
    """The output where each message is as much spam as it has an x."""
    lines: list[str] = []
    for texts, batch in rows.batches():
        head = rows.head()
        lines += [head] if head and not lines else []
        for text, row in zip(texts, batch, strict=True):
            share = text.count("x") / max(1, len(text))
            verdict = Verdict(text, "spam" if share >= 0.5 else "ham", share)
            lines.append(rows.written(row, verdict))
    return lines


def test_a_csv_has_two_columns_more_and_is_else_the_same() -> None:
    lines = ["\ufeffid,text", '1,"xx, x"', '2,"two', 'lines"', "", "3,hello"]
    assert _judged(CsvRows([lines], "text", "verdict")) == [
        "id,text,verdict,verdict_score",
        '1,"xx, x",spam,0.600000',
        '2,"two\nlines",ham,0.000000',
        "3,hello,ham,0.000000",
    ]


@pytest.mark.parametrize("separator", [",", "\t", ";", "|"])
@given(rows=st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8), size=st.integers(1, 9))
def test_whatever_stands_in_a_csv_comes_out_of_it(
    separator: str, rows: list[tuple[str, str]], size: int
) -> None:
    there = io.StringIO()
    csv.writer(there, delimiter=separator, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(
        [("a", "text"), *rows]
    )
    lines = there.getvalue().split("\n")[:-1]
    parts = [lines[start : start + size] for start in range(0, len(lines), size)]
    found = list(csv.reader(_judged(CsvRows(parts, "text", "p")), delimiter=separator))
    assert [(first, second) for first, second, _, _ in found[1:]] == rows


def test_json_lines_keep_their_keys_and_say_what_is_no_text() -> None:
    lines = ['{"n": 1, "body": "xé\\ud800"}', "", '{"body": "h", "deep": [1]}']
    first, second = map(json.loads, _judged(JsonRows([lines], "body", "p")))
    assert first == {"n": 1, "body": "xé\ud800", "p": "ham", "p_score": 0.333333}
    assert second == {"body": "h", "deep": [1], "p": "ham", "p_score": 0}


@pytest.mark.parametrize(
    ("kind", "lines", "error", "words"),
    [
        (CsvRows, ["a,b", "1,2"], UsageError, "no column 'text'.*'a', 'b'"),
        (CsvRows, ["text,p"], UsageError, "already has a column 'p'"),
        (CsvRows, ["text,a", "x"], DataError, "line 2 .*1 cells, not 2"),
        (CsvRows, ["text,a", 'x,"y'], DataError, "line 2 .*quoting"),
        (JsonRows, ["{}"], UsageError, "no column 'text'"),
        (JsonRows, ["[]"], DataError, "line 1 .*no object"),
        (JsonRows, ['{"text": 5}'], DataError, "line 1 .*'text' is no text"),
        (JsonRows, ['{"text": "a"}', "{"], DataError, "line 2 .*not JSON"),
        (JsonRows, ['{"text": "a", "p_score": 1}'], UsageError, "'p_score'"),
        (JsonRows, ["[" * 100_000], DataError, "line 1 .*not JSON"),
    ],
)
def test_what_cannot_be_judged_is_one_error(
    kind: type[Rows], lines: list[str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as raised:
        _judged(kind([lines], "text", "p"))
    assert re.search(words, " ".join(str(raised.value).split()))


def test_an_input_without_a_line_has_no_rows() -> None:
    for kind in (CsvRows, JsonRows):
        assert _judged(kind([[]], "text", "p")) == []


@pytest.mark.parametrize(
    ("kind", "first"), [(CsvRows, ["text", "one"]), (JsonRows, ['{"text": "one"}'])]
)
def test_a_row_is_answered_before_the_next_is_waited_for(
    kind: type[Rows], first: list[str]
) -> None:
    asked = []

    def lines() -> Iterator[list[str]]:
        yield first
        asked.append("more")
        yield []

    batches = kind(lines(), "text", "p").batches()
    assert next(batches)[0] == ["one"]
    assert asked == []
    assert list(batches) == []
    assert asked == ["more"]


def test_no_batch_is_larger_than_the_bound() -> None:
    many: Iterable[list[str]] = [["text", *["x"] * (3 * BATCH_ROWS + 1)]]
    sizes = [len(texts) for texts, _ in CsvRows(many, "text", "p").batches()]
    assert sum(sizes) == 3 * BATCH_ROWS + 1
    assert max(sizes) == BATCH_ROWS
