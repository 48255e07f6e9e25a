"""A newcomer finds every document: links lead somewhere, and the index is complete."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
DOCS = ROOT / "docs"
_LINK = re.compile(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)")


def linked(page: Path) -> set[Path]:
    """The files and folders that a page links to."""
    return {(page.parent / target).resolve() for target in _LINK.findall(page.read_text())}


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *DOCS.rglob("*.md")], ids=lambda page: str(page.relative_to(ROOT))
)
def test_links_lead_to_files(page: Path) -> None:
    assert set() == {target for target in linked(page) if not target.exists()}


def test_the_index_knows_every_document() -> None:
    found = linked(DOCS / "README.md")
    pages = {page for page in DOCS.glob("*.md") if page.name != "README.md"}
    folders = {page.parent for page in DOCS.rglob("*.md")} - {DOCS}
    assert set() == {
        one for one in pages | folders if not any(f == one or one in f.parents for f in found)
    }


def test_the_readme_leads_to_the_index_and_shows_its_pictures() -> None:
    found = linked(ROOT / "README.md")
    assert DOCS / "README.md" in found
    assert any(target.suffix == ".png" for target in found)
