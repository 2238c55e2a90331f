"""Reads a page as its readers do: what it says, and what can be pressed."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

import httpx

_VOID = {"meta", "link", "input", "br", "path"}


@dataclass
class Element:
    name: str
    attributes: dict[str, str | None]
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        texts = (child if isinstance(child, str) else child.text for child in self.children)
        return " ".join("".join(texts).split())

    def all(self, name: str, **attributes: str) -> list[Element]:
        """Those below of this name and these attributes; what is in a ``<template>`` is not there yet."""
        inner = [child for child in self.children if isinstance(child, Element) and child.name != "template"]
        here = [
            child
            for child in inner
            if child.name == name and attributes.items() <= {k: v or "" for k, v in child.attributes.items()}.items()
        ]
        return here + [found for child in inner for found in child.all(name, **attributes)]

    def only(self, name: str, **attributes: str) -> Element:
        (found,) = self.all(name, **attributes)
        return found


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open = [Element("#page", {})]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        element = Element(tag, dict(attrs))
        self.open[-1].children.append(element)
        if tag not in _VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open[-1].children.append(Element(tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop().name == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


def read(response: httpx.Response) -> Element:
    """The page of an answer, whose elements must all be closed."""
    builder = _Builder()
    builder.feed(response.text)
    assert len(builder.open) == 1
    return builder.open[0]


def devices(response: httpx.Response) -> list[str]:
    """The names in the list of other devices."""
    return [row.only("h3").text for row in read(response).all("li")]


def forms(page: Element) -> list[dict[str, Any]]:
    """What each form sends, and where to."""
    return [
        {
            "to": form.attributes["action"],
            **{field.attributes["name"]: field.attributes["value"] for field in form.all("input")},
        }
        for form in page.all("form")
    ]
