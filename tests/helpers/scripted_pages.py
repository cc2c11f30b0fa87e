"""Pages whose Python is one script, in order, and whose outputs are held against a run of it.

    python -m tests.helpers.scripted_pages docs/scripting.md SMSSpamCollection

runs the page's code with those messages, and writes what it printed into the page.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.running import run_python

_PART = re.compile(r"^```python\n(.*?)^```\n(?:\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)
_MARK = "=== block"
_NUMBER = re.compile(r"[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


@dataclass(frozen=True)
class Part:
    """A block of code, and what the page says that it prints; "" where it says nothing."""

    code: str
    shown: str


def parts(page: Path) -> list[Part]:
    text = page.read_text(encoding="utf-8")
    return [Part(match[1], match[2] or "") for match in _PART.finditer(text)]


def run_page(page: Path, messages: Path) -> tuple[list[str], str]:
    """What each block prints, and what all of them write to standard error.

    Run as one script, in a new folder that has `messages` under its usual name.
    """
    blocks = [f"print({_MARK!r}, flush=True)\n{part.code}" for part in parts(page)]
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "script.py"
        script.write_text("\n".join(blocks), encoding="utf-8")
        shutil.copy(messages, Path(folder) / "SMSSpamCollection")
        done = run_python("-W", "error", script.name, cwd=Path(folder))
    assert done.code == 0, done.out + done.err
    return [one.removeprefix("\n") for one in done.out.split(_MARK)[1:]], done.err


def shape(text: str) -> list[str]:
    """Its words, line by line, with a # for each number: what other rows print as well.

    How often a line of the same words follows itself is chance as well: rounds, for instance.
    """
    lines: list[str] = []
    for line in text.splitlines():
        words = re.sub(r"#(?:[-:. ]?#)*", "#", _NUMBER.sub("#", re.sub("─+", "─", line)))
        words = " ".join(words.replace("'ham'", "'spam'").split())
        if words and words not in lines[-1:]:
            lines.append(words)
    return lines


def rewritten(page: Path, outputs: list[str]) -> str:
    """The page with these outputs in the place of those that it shows."""
    waiting = iter(outputs)

    def of(match: re.Match[str]) -> str:
        printed = next(waiting)
        code = f"```python\n{match[1]}```\n"
        return f"{code}\n```text\n{printed}```" if printed else code

    return _PART.sub(of, page.read_text(encoding="utf-8"))


if __name__ == "__main__":
    where = Path(sys.argv[1])
    printed, _ = run_page(where, Path(sys.argv[2]))
    where.write_text(rewritten(where, printed), encoding="utf-8")
