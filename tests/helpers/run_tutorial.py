"""Runs the examples of a page as doctest does, in its own process; exit code 1 for a wrong one.

What cannot be the same twice is compared by its form: ids of objects, and numbers with two decimals
or more.
"""

from __future__ import annotations

import doctest
import re
import sys
from pathlib import Path

_LATER = re.compile(r"\d{6,}|\d+\.\d{2,}")


class ByForm(doctest.OutputChecker):
    """Ids and measured numbers are equal whatever they are."""

    def check_output(self, want: str, got: str, optionflags: int) -> bool:
        return super().check_output(_LATER.sub("#", want), _LATER.sub("#", got), optionflags)


def main(path: Path) -> int:
    # the blank line that ends an example's output stands before the fence already
    text = path.read_text(encoding="utf-8").replace("```python", "").replace("```", "")
    test = doctest.DocTestParser().get_doctest(
        text, {"__name__": "__main__"}, path.name, str(path), 0
    )
    assert len(test.examples) > 30
    runner = doctest.DocTestRunner(ByForm(), optionflags=doctest.ELLIPSIS)
    return min(runner.run(test).failed, 1)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
