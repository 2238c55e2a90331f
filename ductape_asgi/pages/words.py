"""What a page says, in the language of who reads it.

A language is a dict of strings; a page's languages are a dict of those.  Every language has the same keys.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from ..errors import ConfigurationError

Strings = Mapping[str, str]
Languages = Mapping[str, Strings]

#: Browsers send a few dozen characters; what is longer is nobody's choice of a language.
_LONGEST = 300
_STEPS = (("days", 86_400), ("hours", 3600), ("minutes", 60))


class Words:
    """The strings of one language, and how it tells numbers and times."""

    def __init__(self, language: str, strings: Strings) -> None:
        self.language = language
        self._strings = strings

    def __call__(self, key: str, **values: object) -> str:
        """The string of that name, with `values` put in.

        Raises:
            KeyError: there is none.
        """
        return self._strings[key].format(**values) if values else self._strings[key]

    def count(self, key: str, number: int, **values: object) -> str:
        """One of ``key.one`` and ``key.other``, with `number` put in."""
        return self(f"{key}.one" if number == 1 else f"{key}.other", number=number, **values)

    def instant(self, when: datetime) -> str:
        """A time as people read it, in UTC."""
        utc = when.astimezone(UTC)
        months = self("time.months").split()
        return self(
            "time.instant", day=utc.day, month=months[utc.month - 1], year=utc.year, clock=utc.strftime("%H:%M")
        )

    def ago(self, when: datetime, now: datetime) -> str:
        """How long ago that was, in one number: days, hours, minutes, or just now."""
        passed = (now - when).total_seconds()
        for name, length in _STEPS:
            if passed >= length:
                return self.count(f"time.{name}_ago", int(passed // length))
        return self("time.now")


def joined(*parts: Languages) -> dict[str, dict[str, str]]:
    """Languages whose strings are those of all parts.

    Raises:
        ConfigurationError: a string is missing in one of the languages.
    """
    languages = {name: {key: text for part in parts for key, text in part[name].items()} for name in parts[0]}
    everything = {key for strings in languages.values() for key in strings}
    for name, strings in languages.items():
        if missing := sorted(everything - strings.keys()):
            raise ConfigurationError(f"the language {name!r} lacks {', '.join(missing)}")
    return languages


def check_language(language: str | None, languages: Languages) -> None:
    """See that a page speaks `language`; None leaves it to the reader's browser.

    Raises:
        ConfigurationError: it does not.
    """
    if language is not None and language not in languages:
        raise ConfigurationError(f"language={language!r} is not one of {', '.join(map(repr, sorted(languages)))}")


def preferred(accepted: str | None, offered: Iterable[str], default: str = "en") -> str:
    """The offered language that an ``Accept-Language`` header likes best (RFC 9110 section 12.5.4)."""
    known = set(offered)
    choices = [_choice(part) for part in (accepted or "")[:_LONGEST].split(",")]
    liked = [(weight, language) for language, weight in choices if language in known and weight > 0]
    # Of equal weights the first one counts: `max` keeps it.
    return max(liked, key=lambda choice: choice[0])[1] if liked else default


def _choice(part: str) -> tuple[str, float]:
    language, _, parameter = part.partition(";")
    name, _, value = parameter.strip().partition("=")
    try:
        weight = float(value) if name.strip().lower() == "q" else 1.0
    except ValueError:
        weight = 0.0
    return language.strip().lower().partition("-")[0], weight if 0.0 <= weight <= 1.0 else 0.0
