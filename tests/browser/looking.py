"""Pages as people meet them: what axe-core says of them, and pictures for the documents."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

from playwright.sync_api import Page

HERE = Path(__file__).parent
IMAGES = HERE.parent.parent / "docs" / "images"

WIDE = {"width": 1100, "height": 800}
PHONE = {"width": 360, "height": 740}

#: Each way a page has to look right, as options of a browser context, by the name of its picture.
LOOKS: dict[str, dict[str, Any]] = {
    "wide-light": {"viewport": WIDE, "color_scheme": "light"},
    "wide-dark": {"viewport": WIDE, "color_scheme": "dark"},
    "phone-light": {"viewport": PHONE, "color_scheme": "light"},
    "phone-dark": {"viewport": PHONE, "color_scheme": "dark"},
}


def barriers(page: Page) -> list[str]:
    """What axe-core finds wrong with the page, a line for each element; the page needs JavaScript on."""
    # Evaluated by the debugger, so that the page's own policy need not allow it.
    page.evaluate(_axe())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    assert found["passes"], "axe-core has checked nothing"
    return [
        f"{rule['id']} ({rule['impact']}): {rule['help']}: {' '.join(map(str, node['target']))}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    wider: int = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return wider


def keep(page: Page, name: str) -> None:
    """Put a picture of the whole page into docs/images, where `DUCTAPE_KEEP_IMAGES` is set; ``make images`` sets it."""
    if os.environ.get("DUCTAPE_KEEP_IMAGES"):
        IMAGES.mkdir(exist_ok=True)
        page.screenshot(path=IMAGES / f"{name}.png", full_page=True, animations="disabled")


@cache
def _axe() -> str:
    return (HERE / "axe" / "axe.min.js").read_text(encoding="utf-8")
