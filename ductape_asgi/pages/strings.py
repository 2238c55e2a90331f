"""The strings that every page needs, and those of the page of one's own sessions."""

from __future__ import annotations

EVERYWHERE = {
    "en": {
        "skip": "Skip to content",
        "unknown_device": "Unknown device",
        "sign_out": "Sign out",
        "sign_in": "Sign in",
        "older": "Older",
        "newest": "Back to the newest",
        "time.months": "January February March April May June July August September October November December",
        "time.instant": "{day} {month} {year}, {clock} UTC",
        "time.now": "just now",
        "time.minutes_ago.one": "a minute ago",
        "time.minutes_ago.other": "{number} minutes ago",
        "time.hours_ago.one": "an hour ago",
        "time.hours_ago.other": "{number} hours ago",
        "time.days_ago.one": "a day ago",
        "time.days_ago.other": "{number} days ago",
    },
    "de": {
        "skip": "Zum Inhalt springen",
        "unknown_device": "Unbekanntes Gerät",
        "sign_out": "Abmelden",
        "sign_in": "Anmelden",
        "older": "Ältere",
        "newest": "Zurück zu den neuesten",
        "time.months": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
        "time.instant": "{day}. {month} {year}, {clock} UTC",
        "time.now": "gerade eben",
        "time.minutes_ago.one": "vor einer Minute",
        "time.minutes_ago.other": "vor {number} Minuten",
        "time.hours_ago.one": "vor einer Stunde",
        "time.hours_ago.other": "vor {number} Stunden",
        "time.days_ago.one": "vor einem Tag",
        "time.days_ago.other": "vor {number} Tagen",
    },
}
