"""Languages: which one a reader gets, that each has all strings, and how times are told."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ductape_asgi import ConfigurationError
from ductape_asgi.pages.strings import EVERYWHERE
from ductape_asgi.pages.words import Words, check_language, joined, preferred

NOW = datetime(2026, 11, 27, 10, 41, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("en-GB,de;q=0.9", "en"),
        ("fr,de;q=0.3,en;q=0.2", "de"),
        ("fr-FR, es", "en"),
        ("de;q=0, en;q=0.1", "en"),
        ("DE", "de"),
        ("de;q=2,en;q=0.5", "en"),
        ("de;q=nan,en;q=0.1", "en"),
        ("de;q=,,;;=,\x00", "en"),
        ("x" * 100_000 + ",de", "en"),
    ],
)
def test_the_language_that_a_browser_likes_best(accepted: str | None, language: str) -> None:
    assert preferred(accepted, ("en", "de")) == language


def test_every_language_has_every_string() -> None:
    assert joined(EVERYWHERE).keys() == {"en", "de"}
    with pytest.raises(ConfigurationError, match="'de' lacks goodbye"):
        joined(EVERYWHERE, {"en": {"goodbye": "Bye"}, "de": {}})


def test_a_language_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigurationError, match="language='fr' is not one of 'de', 'en'"):
        check_language("fr", EVERYWHERE)


@pytest.mark.parametrize(
    ("language", "passed", "text"),
    [
        ("en", timedelta(seconds=59), "just now"),
        ("en", timedelta(seconds=-3), "just now"),
        ("en", timedelta(minutes=1), "1 minute ago"),
        ("en", timedelta(minutes=59, seconds=59), "59 minutes ago"),
        ("en", timedelta(hours=1), "1 hour ago"),
        ("en", timedelta(days=40), "40 days ago"),
        ("de", timedelta(hours=23), "vor 23 Stunden"),
        ("de", timedelta(days=1), "vor 1 Tag"),
    ],
)
def test_how_long_ago(language: str, passed: timedelta, text: str) -> None:
    assert Words(language, EVERYWHERE[language]).ago(NOW - passed, NOW) == text


@pytest.mark.parametrize(("language", "text"), [("en", "27 Nov 2026, 10:41 UTC"), ("de", "27. Nov. 2026, 10:41 UTC")])
def test_an_instant_is_told_in_utc(language: str, text: str) -> None:
    assert Words(language, EVERYWHERE[language]).instant(NOW) == text
    elsewhere = NOW.astimezone(datetime.strptime("+0530", "%z").tzinfo)
    assert Words(language, EVERYWHERE[language]).instant(elsewhere) == text
