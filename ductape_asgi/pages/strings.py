"""The strings that every page needs, and those of the page of one's own sessions."""

from __future__ import annotations

EVERYWHERE = {
    "en": {
        "skip": "Skip to content",
        "leave": "Back to the app",
        "unknown_device": "Unknown device",
        "device": "{browser} on {system}",
        "sign_out": "Sign out",
        "sign_in": "Sign in",
        "older": "Older",
        "newest": "Back to the newest",
        "time.months": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
        "time.instant": "{day} {month} {year}, {clock} UTC",
        "time.now": "just now",
        "time.minutes_ago.one": "1 minute ago",
        "time.minutes_ago.other": "{number} minutes ago",
        "time.hours_ago.one": "1 hour ago",
        "time.hours_ago.other": "{number} hours ago",
        "time.days_ago.one": "1 day ago",
        "time.days_ago.other": "{number} days ago",
    },
    "de": {
        "skip": "Zum Inhalt springen",
        "leave": "Zurück zur Anwendung",
        "unknown_device": "Unbekanntes Gerät",
        "device": "{browser} unter {system}",
        "sign_out": "Abmelden",
        "sign_in": "Anmelden",
        "older": "Ältere",
        "newest": "Zurück zu den neuesten",
        "time.months": "Jan. Feb. März Apr. Mai Juni Juli Aug. Sept. Okt. Nov. Dez.",
        "time.instant": "{day}. {month} {year}, {clock} UTC",
        "time.now": "gerade eben",
        "time.minutes_ago.one": "vor 1 Minute",
        "time.minutes_ago.other": "vor {number} Minuten",
        "time.hours_ago.one": "vor 1 Stunde",
        "time.hours_ago.other": "vor {number} Stunden",
        "time.days_ago.one": "vor 1 Tag",
        "time.days_ago.other": "vor {number} Tagen",
    },
}


OWN_SESSIONS = {
    "en": {
        "own.title": "Where you are signed in",
        "own.lead": "These devices can use your account. Sign out of those that you do not know or no longer use.",
        "own.signed_in_as": "Signed in as",
        "own.this_device": "This device",
        "own.others": "Other devices",
        "own.alone": "You are not signed in anywhere else.",
        "own.sign_out_of": "Sign out of {device}",
        "own.sign_out_others": "Sign out everywhere else",
        "own.others_warning.one": "This ends your session on the other device. It has to sign in again.",
        "own.others_warning.other": "This ends your sessions on {number} other devices. Each has to sign in again.",
        "own.confirm_others": "Yes, sign out everywhere else",
        "own.address": "Address",
        "own.created": "Signed in",
        "own.last_seen": "Last seen",
        "own.expires": "Expires",
        "own.unknown": "unknown",
        "own.now": "Active now",
        "own.pages": "More sessions",
        "own.ended": "{device} has been signed out.",
        "own.appeared": "{device} has signed in.",
        "own.stale": "This list cannot be brought up to date right now.",
        "own.recent": "To sign out other devices, you will be asked to sign in again first.",
        "own.done.revoked": "That device has been signed out.",
        "own.done.others": "You have been signed out everywhere else.",
        "own.back": "Back to your devices",
        "own.signed_out.title": "You are signed out",
        "own.signed_out.text": "Sign in to see where your account is in use.",
        "own.step_up.title": "Please sign in again",
        "own.step_up.text": (
            "Your last sign-in was a while ago. To keep your account safe, sign in again before you end "
            "sessions on other devices."
        ),
        "own.gone.title": "That session is not in your list",
        "own.gone.text": "It may have ended in the meantime. Nothing has been changed.",
        "own.refused.title": "That did not come from this page",
        "own.refused.text": "For your safety nothing has been changed. Open the list again and try once more.",
        "own.invalid.title": "That could not be understood",
        "own.invalid.text": "Nothing has been changed. Open the list again and try once more.",
        "own.unavailable.title": "Your devices cannot be shown right now",
        "own.unavailable.text": "You are still signed in. Try again in a moment.",
        "own.nameless": "This session belongs to nobody by name, so there are no others to show.",
    },
    "de": {
        "own.title": "Wo Sie angemeldet sind",
        "own.lead": (
            "Diese Geräte haben Zugang zu Ihrem Konto. Melden Sie ab, was Sie nicht kennen oder nicht mehr benutzen."
        ),
        "own.signed_in_as": "Angemeldet als",
        "own.this_device": "Dieses Gerät",
        "own.others": "Andere Geräte",
        "own.alone": "Sie sind sonst nirgends angemeldet.",
        "own.sign_out_of": "Abmelden: {device}",
        "own.sign_out_others": "Überall sonst abmelden",
        "own.others_warning.one": (
            "Das beendet Ihre Sitzung auf dem anderen Gerät. Dort ist danach eine neue Anmeldung nötig."
        ),
        "own.others_warning.other": (
            "Das beendet Ihre Sitzungen auf {number} anderen Geräten. Dort ist danach eine neue Anmeldung nötig."
        ),
        "own.confirm_others": "Ja, überall sonst abmelden",
        "own.address": "Adresse",
        "own.created": "Angemeldet",
        "own.last_seen": "Zuletzt aktiv",
        "own.expires": "Endet",
        "own.unknown": "unbekannt",
        "own.now": "Gerade aktiv",
        "own.pages": "Weitere Sitzungen",
        "own.ended": "{device} wurde abgemeldet.",
        "own.appeared": "{device} hat sich angemeldet.",
        "own.stale": "Die Liste lässt sich gerade nicht aktualisieren.",
        "own.recent": "Bevor Sie andere Geräte abmelden, werden Sie gebeten, sich noch einmal anzumelden.",
        "own.done.revoked": "Das Gerät wurde abgemeldet.",
        "own.done.others": "Sie wurden überall sonst abgemeldet.",
        "own.back": "Zurück zu Ihren Geräten",
        "own.signed_out.title": "Sie sind abgemeldet",
        "own.signed_out.text": "Melden Sie sich an, um zu sehen, wo Ihr Konto benutzt wird.",
        "own.step_up.title": "Bitte melden Sie sich noch einmal an",
        "own.step_up.text": (
            "Ihre letzte Anmeldung liegt eine Weile zurück. Zum Schutz Ihres Kontos melden Sie sich bitte "
            "noch einmal an, bevor Sie Sitzungen auf anderen Geräten beenden."
        ),
        "own.gone.title": "Diese Sitzung steht nicht in Ihrer Liste",
        "own.gone.text": "Vielleicht ist sie inzwischen beendet. Es wurde nichts geändert.",
        "own.refused.title": "Das kam nicht von dieser Seite",
        "own.refused.text": (
            "Zu Ihrer Sicherheit wurde nichts geändert. Öffnen Sie die Liste neu und versuchen Sie es noch einmal."
        ),
        "own.invalid.title": "Das war nicht zu verstehen",
        "own.invalid.text": "Es wurde nichts geändert. Öffnen Sie die Liste neu und versuchen Sie es noch einmal.",
        "own.unavailable.title": "Ihre Geräte lassen sich gerade nicht anzeigen",
        "own.unavailable.text": "Sie sind weiterhin angemeldet. Versuchen Sie es gleich noch einmal.",
        "own.nameless": "Diese Sitzung gehört niemandem mit Namen, darum gibt es keine anderen zu zeigen.",
    },
}
