"""Files of messages in the shapes that people have them in, made from any messages.

    python -m tests.helpers.shaped_files COLLECTION [ROWS]

makes each from a collection, has a node read it, and prints a table: what the file is, what is
said of it, rows by label, seconds. ROWS repeats the collection up to so many.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import quoteattr

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a file, not as a module

from worker_node.data.messages import Layout, Message, Reading, read_messages
from worker_node.data.shard import count_labels

NAMES = ("ham", "spam")
Rows = Sequence[Message]


@dataclass(frozen=True)
class Shape:
    """One kind of file.

    write: fills a folder, gives the file to name.
    layout: what its owner has to say of it; nothing, for most.
    keeps: what the format leaves of a text.
    skips: whether it has rows that are no messages.
    """

    name: str
    write: Callable[[Path, Rows], Path]
    layout: Callable[[Path], Layout] = lambda _: Layout()
    keeps: Callable[[str], str] = lambda text: text
    skips: bool = False


def cells(
    rows: Iterable[Sequence[object]],
    separator: str = ",",
    ends: str = "\r\n",
    all_quoted: bool = False,
) -> str:
    """CSV as a program writes it."""
    out = io.StringIO()
    quoting: Literal[0, 1] = csv.QUOTE_ALL if all_quoted else csv.QUOTE_MINIMAL
    csv.writer(out, delimiter=separator, lineterminator=ends, quoting=quoting).writerows(rows)
    return out.getvalue()


def saved(
    name: str, text: Callable[[Rows], str], encoding: str = "utf-8"
) -> Callable[[Path, Rows], Path]:
    """A writer of one file of text; what the encoding cannot hold becomes a question mark."""

    def write(folder: Path, rows: Rows) -> Path:
        path = folder / name
        path.write_bytes(text(rows).encode(encoding, "replace"))
        return path

    return write


def packed(name: str, text: Callable[[Rows], str]) -> Callable[[Path, Rows], Path]:
    def write(folder: Path, rows: Rows) -> Path:
        path, data = folder / name, text(rows).encode()
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress(data, 1))
            return path
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("readme", "where this came from")
            archive.writestr("spam.csv", data)
        return path

    return write


def plain(rows: Rows, ends: str = "\n") -> str:
    return "".join(f"{NAMES[m.label]}\t{one_line(m.text)}{ends}" for m in rows)


def one_line(text: str) -> str:
    return " ".join(text.splitlines())


def kaggle(rows: Rows) -> str:
    return cells([("v1", "v2", "", "", ""), *((NAMES[m.label], m.text, "", "", "") for m in rows)])


def named(
    text: str, label: str, values: Sequence[object] = NAMES, **how: str
) -> Callable[[Rows], str]:
    def make(rows: Rows) -> str:
        return cells([(label, text), *((values[m.label], m.text) for m in rows)], **how)  # type: ignore[arg-type]

    return make


def youtube(rows: Rows) -> str:
    head = ("COMMENT_ID", "AUTHOR", "DATE", "CONTENT", "CLASS")
    made = (
        (f"z12{n}", "somebody", "2015-05-29T02:30", m.text, m.label) for n, m in enumerate(rows)
    )
    return cells([head, *made], ends="\n")


def mails(rows: Rows) -> str:
    head = ("", "label", "text", "label_num")
    made = ((n, NAMES[m.label], f"Subject: {m.text}", m.label) for n, m in enumerate(rows))
    return cells([head, *made], ends="\n")


def headless(rows: Rows) -> str:
    return cells([(NAMES[m.label], m.text) for m in rows], ends="\n")


def text_first(rows: Rows) -> str:
    return cells([("sms", "label"), *((m.text, m.label) for m in rows)], ends="\n")


def numbered(rows: Rows) -> str:
    made = [(n, m.text, NAMES[m.label].upper()) for n, m in enumerate(rows)]
    return cells([("id", "Message_body", "Label"), *made], ends="\n", all_quoted=True)


def phishing(rows: Rows) -> str:
    words = ("Safe Email", "Phishing Email")
    made = ((n, m.text, words[m.label]) for n, m in enumerate(rows))
    return cells([("", "Email Text", "Email Type"), *made], ends="\n")


def objects(rows: Rows) -> list[dict[str, object]]:
    return [{"id": n, "label": NAMES[m.label], "text": m.text} for n, m in enumerate(rows)]


def json_lines(rows: Rows) -> str:
    return "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in objects(rows))


def booleans(rows: Rows) -> str:
    made = ({"message": m.text, "is_spam": bool(m.label)} for m in rows)
    return "".join(json.dumps(one) + "\n" for one in made)


def two_scripts(rows: Rows) -> bytes:
    """What comes of one program's cp1252 amid another's UTF-8."""
    codes = ("utf-8", "cp1252")
    return b"".join(plain([m]).encode(codes[m.label], "replace") for m in rows)


def write_mixed(folder: Path, rows: Rows) -> Path:
    path = folder / "mixed.tsv"
    # enough of UTF-8 that the code page is the exception
    path.write_bytes(
        "ham\tcafé, s'il vous plaît, à bientôt\n".encode() * len(rows) + two_scripts(rows)
    )
    return path


def write_folders(folder: Path, rows: Rows) -> Path:
    for number, message in enumerate(rows):
        inside = folder / "mails" / NAMES[message.label]
        inside.mkdir(parents=True, exist_ok=True)
        (inside / f"{number:06d}.txt").write_text(message.text, encoding="utf-8", newline="")
    return folder / "mails"


def write_parquet(folder: Path, rows: Rows) -> Path:
    import pyarrow
    import pyarrow.parquet

    columns = {"sms": [m.text for m in rows], "label": [m.label for m in rows]}
    pyarrow.parquet.write_table(pyarrow.table(columns), folder / "train.parquet")
    return folder / "train.parquet"


def write_excel(folder: Path, rows: Rows) -> Path:
    import openpyxl

    book = openpyxl.Workbook(write_only=True)
    sheet = book.create_sheet("SMS")
    sheet.append(["Category", "Message"])
    for m in rows:
        cell = openpyxl.cell.WriteOnlyCell(sheet, m.text)
        cell.data_type = "s"  # a message that begins with = is no formula
        sheet.append([NAMES[m.label], cell])
    book.save(folder / "spam.xlsx")
    return folder / "spam.xlsx"


def write_backup(folder: Path, rows: Rows) -> Path:
    """A phone's backup, and the labels of its messages by date."""
    lines = [
        "<?xml version='1.0' encoding='UTF-8' standalone='yes' ?>",
        f'<smses count="{len(rows)}">',
    ]
    for number, message in enumerate(rows):
        body = "".join(f"&#{unit};" for unit in surrogates("🙂")) + quoteattr(message.text)[1:-1]
        body = body.replace('"', "&quot;").replace("\n", "&#10;").replace("\r", "&#13;")
        lines.append(
            f'<sms address="+4477009{number:05d}" date="{number}" type="1" body="{body}" />'
        )
        lines.append(f'<sms address="+44770090" date="{number}" type="2" body="mine" />')
    (folder / "sms.xml").write_text("\n".join([*lines, "</smses>"]), encoding="utf-8")
    labels = cells([("date", "label"), *((n, NAMES[m.label]) for n, m in enumerate(rows))])
    (folder / "labels.csv").write_text(labels, encoding="utf-8", newline="")
    return folder / "sms.xml"


def surrogates(character: str) -> list[int]:
    data = character.encode("utf-16-be")
    return [int.from_bytes(data[i : i + 2]) for i in range(0, len(data), 2)]


def in_code(encoding: str) -> Callable[[str], str]:
    def keeps(text: str) -> str:
        return text.encode(encoding, "replace").decode(encoding)

    return keeps


def in_code_line(encoding: str) -> Callable[[str], str]:
    return lambda text: in_code(encoding)(one_line(text))


SHAPES = (
    Shape("the UCI collection", saved("SMSSpamCollection", plain), keeps=one_line),
    Shape("the same, CRLF", saved("sms.txt", lambda r: plain(r, "\r\n")), keeps=one_line),
    Shape("the same, CR", saved("sms-mac.txt", lambda r: plain(r, "\r")), keeps=one_line),
    Shape("the same, cp1252", saved("a.tsv", plain, "cp1252"), keeps=in_code_line("cp1252")),
    Shape("the same, UTF-16", saved("b.txt", plain, "utf-16"), keeps=one_line),
    Shape("the same, UTF-16, no mark", saved("c.txt", plain, "utf-16-le"), keeps=one_line),
    Shape("the same, in .gz", packed("SMSSpamCollection.gz", plain), keeps=one_line),
    Shape("Kaggle's spam.csv", saved("spam.csv", kaggle, "cp1252"), keeps=in_code("cp1252")),
    Shape("Kaggle's, in .zip", packed("archive.zip", kaggle)),
    Shape("Category,Message", saved("SPAM text message.csv", named("Message", "Category"))),
    Shape("the same, from Excel", saved("e.csv", named("Message", "Category"), "utf-8-sig")),
    Shape(
        "semicolons, Latin-1",
        saved("f.csv", named("text", "label", separator=";"), "latin-1"),
        keeps=in_code("latin-1"),
    ),
    Shape("tabs and a header", saved("g.tsv", named("text", "label", separator="\t"))),
    Shape("bars", saved("h.txt", named("body", "type", separator="|"))),
    Shape("a YouTube collection", saved("Youtube01-Psy.csv", youtube)),
    Shape("sms,label", saved("i.csv", text_first)),
    Shape("mails, label_num", saved("j.csv", mails), keeps=lambda text: f"Subject: {text}"),
    Shape("CSV without a header", saved("k.csv", headless)),
    Shape("three quoted columns", saved("l.csv", numbered)),
    Shape("true and false", saved("m.csv", named("content", "is_spam", ("FALSE", "TRUE")))),
    Shape("ok and junk", saved("n.csv", named("mail", "class", ("OK", "Junk")))),
    Shape("1.0 and 0.0", saved("o.csv", named("msg", "target", (0.0, 1.0)))),
    Shape("columns called Ch1, Ch2", saved("p.csv", named("Ch2", "Ch1"))),
    Shape(
        "labels of their own",
        saved("Phishing_Email.csv", phishing),
        layout=lambda _: Layout(spam=("Phishing Email",)),
    ),
    Shape("JSON lines", saved("q.jsonl", json_lines)),
    Shape("JSON lines, booleans", saved("r.ndjson", booleans)),
    Shape("a JSON array", saved("s.json", lambda r: json.dumps(objects(r), indent=1))),
    Shape("folders ham and spam", write_folders),
    Shape("Parquet", write_parquet),
    Shape("Excel", write_excel, keeps=lambda text: text.replace("\r\n", "\n")),
    Shape(
        "SMS Backup & Restore",
        write_backup,
        layout=lambda path: Layout(labels=path.parent / "labels.csv"),
        keeps=lambda text: "🙂" + text,
    ),
    Shape("UTF-8 and cp1252 mixed", write_mixed, skips=True),
)


def read_shape(shape: Shape, folder: Path, rows: Rows) -> tuple[Reading, float]:
    """What a node makes of the shape, and the seconds that reading took."""
    folder.mkdir()
    path = shape.write(folder, rows)
    began = time.perf_counter()
    reading = read_messages(path, shape.layout(path), skip_bad_lines=shape.skips)
    return reading, time.perf_counter() - began


def main() -> None:
    rows: Rows = read_messages(Path(sys.argv[1])).messages
    if len(sys.argv) > 2:
        wanted = int(sys.argv[2])
        rows = [*rows] * (wanted // len(rows) + 1)
        rows = rows[:wanted]
    with tempfile.TemporaryDirectory() as scratch:
        for number, shape in enumerate(SHAPES):
            reading, seconds = read_shape(shape, Path(scratch) / str(number), rows)
            labels = count_labels(reading.messages)
            said = reading.described.replace(scratch, "")
            counts = f"{labels['ham']:,} | {labels['spam']:,} | {seconds:.2f}"
            print(f"| {shape.name} | {said} | {counts} | {reading.skipped or ''}")


if __name__ == "__main__":
    main()
