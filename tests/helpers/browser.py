"""A real browser for pages: Debian's chromium-headless-shell, led by Playwright."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.helpers.needed import lacking

NAMES = ("chromium-headless-shell", "chromium", "google-chrome")
KEEP = "FEDSMS_SCREENSHOTS"
"""Names a folder in which tests leave pictures of pages; docs/ has those of a real run."""


def browser_path() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def browser() -> Iterator[Any]:
    """A browser; skips the test where there is none."""
    path = browser_path()
    if path is None:
        lacking("browser", "none is installed; apt-get install chromium-headless-shell")
    if importlib.util.find_spec("playwright") is None:
        lacking("browser", "Playwright is not installed; it is in requirements-dev.txt")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as led:
        # root, as which tests may run in a container, has no sandbox of its own
        launched = led.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield launched
        finally:
            launched.close()


class Watched:
    """A page, and what went wrong on it.

    Attributes:
        page: Playwright's. said: errors, warnings and dialogs. asked: what it tried to load.
    """

    def __init__(self, launched: Any, width: int = 1100, scheme: str = "light") -> None:
        viewport = {"width": width, "height": 800}
        self.page = launched.new_page(viewport=viewport, color_scheme=scheme)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("console", self._on_console)
        self.page.on("dialog", self._on_dialog)
        self.page.on("request", lambda one: self.asked.append(one.url))

    def _on_console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.said.append(message.text)

    def _on_dialog(self, dialog: Any) -> None:
        self.said.append("a dialog")
        dialog.dismiss()

    def open(self, path: Path) -> Any:
        """Opens a file, and waits until it is drawn; gives the page."""
        self.page.goto(path.resolve().as_uri())
        self.page.wait_for_selector("html[data-drawn]", state="attached")
        return self.page


def keep_screenshot(page: Any, name: str) -> None:
    """Leaves a small picture where somebody asked for one."""
    folder = os.environ.get(KEEP)
    if not folder:
        return
    from PIL import Image

    path = Path(folder) / name
    page.screenshot(path=path)
    with Image.open(path) as picture:
        picture.convert("RGB").quantize(64).save(path, optimize=True)
