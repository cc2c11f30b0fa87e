"""Files in the shapes that people have: the rows that a node makes of each, and what it says."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import openpyxl
import pytest

from shared.errors import DataError, UsageError
from tests.helpers.messages import made_up
from tests.helpers.running import Finished
from tests.helpers.shaped_files import SHAPES, Shape, cells, headless, kaggle, plain, read_shape
from worker_node.data.messages import MAX_CHARACTERS, Layout, Message, read_messages

Cli = Callable[..., Finished]

ROWS = [
    *made_up(120, spam=0.2),
    Message(1, "WIN £1,000; call | now\tor never, “today”"),
    Message(0, 'he said "see you", twice'),
    Message(0, '"HI babe im at home'),
    Message(0, "two\nlines, and\r\nthree"),
    Message(1, "=SUM(A1:A9)'; -- {[|"),
    Message(1, "one long cell " * 20_000),
    Message(0, "crème brûlée à la carte"),
    Message(1, "£5 off, £9 now"),
]
EXCELS_LONGEST = 32_767


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_every_shape_gives_the_rows_that_it_was_made_of(tmp_path: Path, shape: Shape) -> None:
    rows = [m for m in ROWS if shape.name != "Excel" or len(m.text) <= EXCELS_LONGEST]
    reading, _ = read_shape(shape, tmp_path / "made", rows)
    expected = [Message(m.label, shape.keeps(m.text)) for m in rows]
    assert reading.described.startswith("reads ")
    if shape.skips:
        lost = sum(m.label == 1 and not m.text.isascii() for m in rows)
        assert list(reading.skipped.values()) == [{"spam": lost}]
        return
    if shape.name == "folders ham and spam":  # in the order of the folders
        expected.sort(key=lambda message: message.label)
    if shape.name == "SMS Backup & Restore":
        # an attribute's line breaks are written as references, and stay
        assert len(reading.messages) == len(expected)
    assert list(reading.messages) == expected
    assert reading.skipped == {}


def save(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_what_is_read_is_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "spam.csv"
    path.write_bytes(kaggle(ROWS).encode("cp1252"))
    described = read_messages(path).described
    assert described == (
        "reads column v2 as text, v1 as label: ham, spam; CSV, comma-separated; cp1252"
    )


def test_a_text_that_came_apart_at_its_commas_is_put_together_again(tmp_path: Path) -> None:
    """As in Kaggle's file: what spills over stands in columns without a name."""
    rows = [f"ham,text {number},,," for number in range(20)]
    rows += ['spam,"WIN, now",,,', 'spam,one, two,"three, and",four', "spam,a,,,"]
    path = save(tmp_path, "spam.csv", "\n".join(["v1,v2,,,", *rows]) + "\n")
    texts = [message.text for message in read_messages(path).messages]
    assert texts[20:] == ["WIN, now", "one, two,three, and,four", "a"]
    assert texts[:20] == [f"text {number}" for number in range(20)]
    # a column that has a name is nobody's rest
    path = save(tmp_path, "named.csv", "\n".join(["v1,v2,v3,,", *rows[:20], "spam,a,b,,"]) + "\n")
    assert read_messages(path, layout=Layout(text_column="v2")).messages[-1].text == "a"


TEXTS = [message.text for message in made_up(40)]
AMBIGUOUS: dict[str, tuple[list[tuple[object, ...]], list[str]]] = {
    "two columns of labels": (
        [("a", "b", "text"), *((n % 2, n % 3 % 2, text) for n, text in enumerate(TEXTS))],
        ["which column", "is the label", "'a' (0/1)", "'b' (0/1)", "--label-column"],
    ),
    "unknown labels": (
        [("text", "kind"), *((text, ("good", "bad")[n % 2]) for n, text in enumerate(TEXTS))],
        ["which column", "'kind' (bad/good)", "--spam VALUE"],
    ),
    "two columns of texts": (
        [("label", "one", "two"), *((n % 2, text, text[::-1]) for n, text in enumerate(TEXTS))],
        ["which column", "is the text", "--text-column"],
    ),
    "asks for ham": (
        [("text", "ham"), *((text, n % 2) for n, text in enumerate(TEXTS))],
        ["cannot tell what column 'ham'", "--spam 0"],
    ),
}


@pytest.mark.parametrize("name", AMBIGUOUS)
def test_what_cannot_be_told_is_an_error_that_shows_the_columns_and_the_flag(
    tmp_path: Path, name: str
) -> None:
    rows, words = AMBIGUOUS[name]
    with pytest.raises(DataError) as caught:
        read_messages(save(tmp_path, "m.csv", cells(rows)))
    for word in words:
        assert word in str(caught.value)
    assert not any(text in str(caught.value) for text in TEXTS)


def test_what_the_owner_says_goes_before_what_is_found(tmp_path: Path) -> None:
    two = cells(
        [("label", "one", "two", "spam"), ("ham", "hello", "you", 1), ("spam", "w", "n", 0)]
    )
    path = save(tmp_path, "m.csv", two)
    layout = Layout(text_column="two", label_column="4", spam=("0",))
    assert list(read_messages(path, layout).messages) == [Message(0, "you"), Message(1, "n")]
    with pytest.raises(UsageError, match="no column 'three', which --text-column names"):
        read_messages(path, Layout(text_column="three"))
    with pytest.raises(UsageError, match="no encoding 'utf-9'"):
        read_messages(path, Layout(encoding="utf-9"))
    path.write_bytes("ham\tпривет\nspam\tприз\n".encode("koi8-r"))
    assert read_messages(path, Layout(encoding="koi8-r")).messages[0] == Message(0, "привет")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Привет, ты придёшь сегодня вечером на ужин? Позвони мне", "cp1251"),
        ("Привет, ты придёшь сегодня вечером на ужин? Позвони мне", "koi8_r"),
        ("你今天晚上來吃飯嗎？請給我打電話。恭喜您中獎了", "big5"),
        ("今晩ご飯に来ますか？電話してください。おめでとうございます", "shift_jis"),
        ("هل ستأتي الليلة لتناول العشاء؟ اتصل بي", "cp1256"),
        ("Grüße aus München, für dich und die Mädchen", "cp1252"),
    ],
)
def test_a_code_page_is_found_by_the_words_that_it_makes(
    tmp_path: Path, text: str, encoding: str
) -> None:
    path = tmp_path / "m.tsv"
    path.write_bytes(f"ham\t{text}\nspam\t{text} £1\n".replace("£", "").encode(encoding) * 20)
    reading = read_messages(path)
    assert reading.messages[0].text == text
    assert reading.described.endswith(encoding)


def test_a_cell_is_refused_only_above_the_bound(tmp_path: Path) -> None:
    longest = "x " * (MAX_CHARACTERS // 2)
    path = save(tmp_path, "m.csv", headless([Message(0, longest), Message(1, "win")]))
    assert len(read_messages(path).messages[0].text) == MAX_CHARACTERS
    path = save(tmp_path, "m.csv", headless([Message(0, longest + "x"), Message(1, "win")]))
    with pytest.raises(DataError, match=r"line 1: the text is longer than 1,000,000"):
        read_messages(path)


def zipped(path: Path, **members: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_what_cannot_be_unpacked_is_one_clear_error(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.gz"
    with gzip.open(bomb, "wb", compresslevel=9) as file:
        for _ in range(257):
            file.write(bytes(2**20))
    torn = tmp_path / "torn.gz"
    torn.write_bytes(gzip.compress(plain(ROWS).encode())[:-50])
    for path, words in [
        (bomb, "too large: more bytes once it was unpacked, where 268,435,456"),
        (torn, "cannot unpack"),
        (zipped(tmp_path / "two.zip", a="ham\tx", b="spam\ty"), "holds 2 files: 'a', 'b'"),
        (zipped(tmp_path / "none.zip"), "holds 0 files"),
        (zipped(tmp_path / "no.xlsx", **{"[Content_Types].xml": "x"}), "no Excel workbook"),
        (save(tmp_path, "torn.parquet", "PAR1xxxx"), "no Parquet file"),
        (save(tmp_path, "torn.json", '[{"text": "secret'), "is not JSON"),
        (save(tmp_path, "torn.xml", "<?xml version='1.0'?><smses><sms"), "is not XML"),
        (save(tmp_path, "dtd.xml", "<!DOCTYPE smses><smses></smses>"), "is not XML"),
    ]:
        with pytest.raises(DataError, match=words) as caught:
            read_messages(path, Layout(labels=tmp_path / "unread"))
        assert "secret" not in str(caught.value)


def test_a_backup_without_labels_says_what_to_give(tmp_path: Path) -> None:
    path = save(tmp_path, "sms.xml", '<smses><sms date="1" type="1" body="hi" /></smses>')
    with pytest.raises(UsageError, match="--labels FILE"):
        read_messages(path)


def test_a_backups_labels_may_be_by_text_and_need_not_be_of_every_message(tmp_path: Path) -> None:
    path = save(
        tmp_path,
        "sms.xml",
        "<smses>"
        + "".join(f'<sms type="1" body="{b}" />' for b in ("hi", "win", "?"))
        + "</smses>",
    )
    labels = save(tmp_path, "labels.tsv", "ham\thi\nspam\twin\n")
    reading = read_messages(path, Layout(labels=labels), skip_bad_lines=True)
    assert list(reading.messages) == [Message(0, "hi"), Message(1, "win")]
    assert reading.skipped == {"the file of labels has no label for it": {"unknown": 1}}


def test_a_package_that_is_missing_is_named_with_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"needs the package pyarrow(.|\n)*requirements-tables"):
        read_messages(save(tmp_path, "m.parquet", "PAR1"))


# What check and serve say of it


def test_check_shows_five_rows_as_the_node_sees_them(cli: Cli, tmp_path: Path) -> None:
    rows = [Message(0, "red \x1b[31m and\nlines"), *made_up(40)]
    path = save(tmp_path, "m.csv", cells([("label", "text"), *((m.label, m.text) for m in rows)]))
    told = cli("worker_node", "check", "--data", path, "--held-out", 0)
    assert "reads column text as text, label as label: 0 is ham, 1 is spam" in told.out
    shown = [line for line in told.out.splitlines() if line.startswith(("  ham ", "  spam "))]
    assert len(shown) == 5
    assert shown[0] == "  ham   red \\x1b[31m and lines"


def test_a_lopsided_loss_is_a_warning_in_capitals(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "m.tsv"
    text = plain(made_up(100, spam=0.2)).encode() + b"spam\t\xa35 off\n" * 10
    path.write_bytes("ham\tmañana\n".encode() * 40 + text)
    told = cli("worker_node", "check", "--data", path, "--skip-bad-lines")
    assert "10 spam" in told.out
    assert "0.0% OF THE HAM AND 33.3% OF THE SPAM" in told.out
    facts = json.loads(
        cli("worker_node", "check", "--data", path, "--skip-bad-lines", "--json").out
    )
    assert facts["skipped_shares"] == {"ham": 0.0, "spam": 10 / 30}


def test_check_warns_of_a_recipe_that_sees_nothing_of_most_messages(
    cli: Cli, tmp_path: Path
) -> None:
    rows = [Message(n % 2, f"नमस्ते दुनिया {n} " + "फिर " * (n % 7) * 20) for n in range(30)]
    path = tmp_path / "m.tsv"
    path.write_text(plain(rows), encoding="utf-8")
    told = cli("worker_node", "check", "--data", path).out
    assert "WARNING: tutorial sees nothing of" in told
    assert "it reads a-z alone" in told
    assert "WARNING: default" not in told
    assert "messages are long: default reads their first 60 words" in told


def test_a_sheet_may_begin_anywhere_and_its_rows_keep_their_numbers(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    for row, cells_of_row in enumerate([("label", "text"), ("ham", "a"), (), ("spam", "b")], 3):
        for column, cell in enumerate(cells_of_row, 4):
            sheet.cell(row, column, cell)
    book.save(tmp_path / "m.xlsx")
    read = read_messages(tmp_path / "m.xlsx", Layout(text_column="5", label_column="4"))
    assert list(read.messages) == [Message(0, "a"), Message(1, "b")]
    sheet.cell(6, 5, "")
    book.save(tmp_path / "m.xlsx")
    with pytest.raises(DataError, match="row 6"):
        read_messages(tmp_path / "m.xlsx")
