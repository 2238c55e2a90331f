"""How a page names a device: in the reader's words where the label is one of ours, else as it was sent."""

from __future__ import annotations

from ..models import ClientInfo
from .words import Words

_PHONES = ("iPhone", "Android")
_TABLETS = ("iPad",)
_COMPUTERS = ("Windows", "macOS", "ChromeOS", "Linux")
_SYSTEMS = frozenset({*_PHONES, *_TABLETS, *_COMPUTERS})


def device_name(client: ClientInfo, words: Words) -> str:
    """``"Firefox on Linux"``, in the reader's language."""
    label = client.label or client.user_agent
    if not label:
        return words("unknown_device")
    browser, _, system = label.partition(" on ")
    return words("device", browser=browser, system=system) if system in _SYSTEMS else label


def device_kind(client: ClientInfo) -> str:
    """Which picture stands for it: a computer, phone, tablet, or some program."""
    system = (client.label or "").rpartition(" on ")[2]
    if system in _PHONES:
        return "phone"
    if system in _TABLETS:
        return "tablet"
    return "computer" if system in _COMPUTERS else "program"
