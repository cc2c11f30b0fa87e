"""The reference of every public name, made from the docstrings, and all links of the pages checked.

    python scripts/reference.py                 # into .cache/reference/index.html
    python scripts/reference.py --out site

A link that leads nowhere, in the reference or in a page, is an error.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # run as a file, not as a module

from scripts.links import broken_in_html, broken_in_markdown
from scripts.needs import need
from shared.cli import run
from shared.errors import FedsmsError

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("server", "worker_node", "shared")


TYPES = ("Error parsing type annotation", "Cannot determine where")
"""What pdoc says of types that it shows as they are written; nothing is missing for it."""


def modules(package: str) -> Iterator[str]:
    """A package, and those below that pdoc does not find from there: it looks at no more than
    `__all__` names, where that is given."""
    yield package
    listed = hasattr(importlib.import_module(package), "__all__")
    folder = ROOT.joinpath(*package.split("."))
    for found in pkgutil.iter_modules([str(folder)], f"{package}."):
        if found.name.endswith("__main__"):  # it is run, not read
            continue
        below = list(modules(found.name)) if found.ispkg else [found.name]
        yield from below if listed else below[1:]


def build(out: Path) -> None:
    """Writes a page a module, and an index.

    Raises:
        FedsmsError: pdoc finds a name that it cannot document.
    """
    import pdoc

    specs = [name for package in PACKAGES for name in modules(package)]
    for module in map(importlib.import_module, specs):
        for name in getattr(module, "__all__", ()):  # some are loaded when they are first asked for
            getattr(module, name)
    pdoc.render.configure(
        docformat="google",
        show_source=False,
        footer_text="fedsms",
        template_directory=Path(__file__).with_suffix(""),
    )
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        pdoc.pdoc(*specs, output_directory=out)
    lines = {str(one.message).splitlines()[0] for one in found}
    told = sorted(line for line in lines if not line.startswith(TYPES))
    if told:
        raise FedsmsError("the reference is not whole", "\n  ".join(told))
    for page in out.rglob("*.html"):
        page.write_text(_to_classes(page), encoding="utf-8")


def _to_classes(page: Path) -> str:
    """The page, where links to what a class inherits from elsewhere lead to the class."""
    text = page.read_text(encoding="utf-8")
    anchors = set(_ANCHOR.findall(text))

    def of(match: re.Match[str]) -> str:
        is_shown = match[1] + match[2] in anchors or match[1] not in anchors
        return match[0] if is_shown else f'href="#{match[1]}"'

    return _MEMBER.sub(of, text)


_ANCHOR = re.compile(r'\bid="([^"]+)"')
_MEMBER = re.compile(r'href="#(\w+)(\.\w+)"')


@click.command()
@click.option(
    "--out", type=click.Path(path_type=Path), default=ROOT / ".cache" / "reference", help="Folder."
)
def main(out: Path) -> None:
    """Makes the reference, and checks all links."""
    need("pdoc")
    build(out)
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/*.ipynb")]
    broken = [*broken_in_html(out), *broken_in_markdown(pages)]
    if broken:
        raise FedsmsError(f"{len(broken)} links lead nowhere", "\n  " + "\n  ".join(broken))
    count = len(list(out.rglob("*.html")))
    click.echo(f"{out}: {count} pages, and every link leads somewhere")


if __name__ == "__main__":
    run(main, "scripts/reference.py")
