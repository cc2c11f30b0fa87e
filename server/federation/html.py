"""Tables for notebooks."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from server.display.fitting import Fitted


def html_table(fitted: Fitted) -> str:
    """The table as HTML. Whatever a node says is text there, and no markup."""
    columns = fitted.columns
    heads = "".join(_cell("th", column.name, column.right) for column in columns)
    rows: Sequence[Sequence[str]] = list(zip(*(column.cells for column in columns), strict=True))
    body = "".join(
        "<tr>"
        + "".join(
            _cell("td", cell, column.right) for cell, column in zip(row, columns, strict=True)
        )
        + "</tr>"
        for row in rows
    )
    caption = f"<caption>{escape(fitted.title)}</caption>" if fitted.title else ""
    return f"<table>{caption}<thead><tr>{heads}</tr></thead><tbody>{body}</tbody></table>"


def _cell(tag: str, text: str, right: bool) -> str:
    side = "right" if right else "left"
    return f'<{tag} style="text-align: {side}">{escape(text)}</{tag}>'
