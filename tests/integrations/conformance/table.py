"""What four front ends answer to each credential on each route.

A cell is what comes of a request:

| cell | means |
|---|---|
| ``ann`` and other names | 200 (or an accepted handshake), and whose session the handler saw |
| ``-`` | 200 (or an accepted handshake), and the handler saw no session |
| ``miss`` | 401 `missing_token`; a socket without denial responses closes with 4401 |
| ``bad`` | 401 `invalid_token`; 4401 |
| ``step`` | 401 `step_up_required`; 4401 |
| ``deny`` | 403 `access_denied`; 4403 |
| ``csrf`` | 403 `csrf_rejected`; 4403 |
| ``down`` | 503 `store_unavailable`; 1013 |
| ``404`` | the framework's own page for a path it does not know |

Ann is a user; Ada is an admin who may write; Cleo is a clerk; Olga is an admin who signed in too long ago.
"""

from __future__ import annotations

#: These columns are of an app with ``required=True``, and ``/optional`` and ``/ws/optional`` exempt.
REQUIRED = frozenset({"closed", "exempt", "nowhere"})

HTTP_ROUTES = {
    "open": ("GET", "/open"),
    "maybe": ("GET", "/optional"),
    "session": ("GET", "/session"),
    "role": ("GET", "/role"),
    "any": ("GET", "/any-role"),
    "perm": ("GET", "/permission"),
    "recent": ("GET", "/recent"),
    "post": ("POST", "/session"),
    "closed": ("GET", "/open"),
    "exempt": ("GET", "/optional"),
    "nowhere": ("GET", "/nowhere"),
}

HTTP = """
credential                 | open | maybe | session | role | any  | perm | recent | post | closed | exempt | nowhere
none                       | -    | -     | miss    | miss | miss | miss | miss   | miss | miss   | -      | miss
bearer of ann              | ann  | ann   | ann     | deny | deny | deny | ann    | ann  | ann    | ann    | 404
bearer of ada              | ada  | ada   | ada     | ada  | ada  | ada  | ada    | ada  | ada    | ada    | 404
bearer of cleo             | cleo | cleo  | cleo    | deny | cleo | deny | cleo   | cleo | cleo   | cleo   | 404
bearer of olga             | olga | olga  | olga    | olga | olga | olga | step   | olga | olga   | olga   | 404
bearer, lower case         | ann  | ann   | ann     | deny | deny | deny | ann    | ann  | ann    | ann    | 404
bearer, expired            | -    | -     | bad     | bad  | bad  | bad  | bad    | bad  | bad    | -      | bad
bearer, revoked            | -    | -     | bad     | bad  | bad  | bad  | bad    | bad  | bad    | -      | bad
bearer, forged             | -    | -     | bad     | bad  | bad  | bad  | bad    | bad  | bad    | -      | bad
bearer, another tag        | -    | -     | bad     | bad  | bad  | bad  | bad    | bad  | bad    | -      | bad
bearer, another realm      | -    | -     | bad     | bad  | bad  | bad  | bad    | bad  | bad    | -      | bad
bearer, a refresh token    | -    | -     | bad     | bad  | bad  | bad  | bad    | bad  | bad    | -      | bad
bearer, empty              | -    | -     | bad     | bad  | bad  | bad  | bad    | bad  | bad    | -      | bad
bearer, twice              | -    | -     | bad     | bad  | bad  | bad  | bad    | bad  | bad    | -      | bad
basic                      | -    | -     | miss    | miss | miss | miss | miss   | miss | miss   | -      | miss
in the URL                 | -    | -     | miss    | miss | miss | miss | miss   | miss | miss   | -      | miss
cookie, same origin        | ann  | ann   | ann     | deny | deny | deny | ann    | ann  | ann    | ann    | 404
cookie, typed address      | ann  | ann   | ann     | deny | deny | deny | ann    | ann  | ann    | ann    | 404
cookie, cross site         | ann  | ann   | ann     | deny | deny | deny | ann    | csrf | ann    | ann    | 404
cookie, same site          | ann  | ann   | ann     | deny | deny | deny | ann    | csrf | ann    | ann    | 404
cookie, no sign of origin  | ann  | ann   | ann     | deny | deny | deny | ann    | csrf | ann    | ann    | 404
cookie, own Origin         | ann  | ann   | ann     | deny | deny | deny | ann    | ann  | ann    | ann    | 404
cookie, allowed Origin     | ann  | ann   | ann     | deny | deny | deny | ann    | ann  | ann    | ann    | 404
cookie, foreign Origin     | ann  | ann   | ann     | deny | deny | deny | ann    | csrf | ann    | ann    | 404
cookie, plain http Origin  | ann  | ann   | ann     | deny | deny | deny | ann    | csrf | ann    | ann    | 404
cookie of ada, cross site  | ada  | ada   | ada     | ada  | ada  | ada  | ada    | csrf | ada    | ada    | 404
cookie, expired            | -    | -     | bad     | bad  | bad  | bad  | bad    | bad  | bad    | -      | bad
cookie, revoked            | -    | -     | bad     | bad  | bad  | bad  | bad    | bad  | bad    | -      | bad
cookie, forged             | -    | -     | bad     | bad  | bad  | bad  | bad    | bad  | bad    | -      | bad
cookie, two of our name    | -    | -     | bad     | bad  | bad  | bad  | bad    | bad  | bad    | -      | bad
cookie beside others       | ann  | ann   | ann     | deny | deny | deny | ann    | ann  | ann    | ann    | 404
bearer, cross-site cookie  | ada  | ada   | ada     | ada  | ada  | ada  | ada    | ada  | ada    | ada    | 404
forged bearer, good cookie | -    | -     | bad     | bad  | bad  | bad  | bad    | bad  | bad    | -      | bad
basic, good cookie         | ann  | ann   | ann     | deny | deny | deny | ann    | ann  | ann    | ann    | 404
header                     | ann  | ann   | ann     | deny | deny | deny | ann    | ann  | ann    | ann    | 404
header, forged             | -    | -     | bad     | bad  | bad  | bad  | bad    | bad  | bad    | -      | bad
header, twice              | -    | -     | bad     | bad  | bad  | bad  | bad    | bad  | bad    | -      | bad
body field                 | ann  | ann   | ann     | deny | deny | deny | ann    | ann  | ann    | ann    | 404
body field, forged         | -    | -     | bad     | bad  | bad  | bad  | bad    | bad  | bad    | -      | bad
body field, twice          | -    | -     | bad     | bad  | bad  | bad  | bad    | bad  | bad    | -      | bad
body field, not a string   | -    | -     | bad     | bad  | bad  | bad  | bad    | bad  | bad    | -      | bad
body too large             | -    | -     | miss    | miss | miss | miss | miss   | miss | miss   | -      | miss
none, store down           | -    | -     | miss    | miss | miss | miss | miss   | miss | miss   | -      | miss
bearer of ann, store down  | down | down  | down    | down | down | down | down   | down | down   | -      | down
cookie of ann, store down  | down | down  | down    | down | down | down | down   | down | down   | -      | down
forged bearer, store down  | -    | -     | bad     | bad  | bad  | bad  | bad    | bad  | bad    | -      | bad
"""

SOCKET_ROUTES = {
    "open": "/ws/open",
    "maybe": "/ws/optional",
    "session": "/ws/session",
    "role": "/ws/role",
    "any": "/ws/any-role",
    "perm": "/ws/permission",
    "recent": "/ws/recent",
    "closed": "/ws/open",
    "exempt": "/ws/optional",
}

SOCKETS = """
credential                 | open | maybe | session | role | any  | perm | recent | closed | exempt
none                       | -    | -     | miss    | miss | miss | miss | miss   | miss   | -
bearer of ann              | ann  | ann   | ann     | deny | deny | deny | ann    | ann    | ann
bearer of ada              | ada  | ada   | ada     | ada  | ada  | ada  | ada    | ada    | ada
bearer of cleo             | cleo | cleo  | cleo    | deny | cleo | deny | cleo   | cleo   | cleo
bearer of olga             | olga | olga  | olga    | olga | olga | olga | step   | olga   | olga
bearer, expired            | -    | -     | bad     | bad  | bad  | bad  | bad    | bad    | -
bearer, revoked            | -    | -     | bad     | bad  | bad  | bad  | bad    | bad    | -
bearer, forged             | -    | -     | bad     | bad  | bad  | bad  | bad    | bad    | -
bearer, another tag        | -    | -     | bad     | bad  | bad  | bad  | bad    | bad    | -
bearer, twice              | -    | -     | bad     | bad  | bad  | bad  | bad    | bad    | -
basic                      | -    | -     | miss    | miss | miss | miss | miss   | miss   | -
in the URL                 | -    | -     | miss    | miss | miss | miss | miss   | miss   | -
cookie, same origin        | ann  | ann   | ann     | deny | deny | deny | ann    | ann    | ann
cookie, own Origin         | ann  | ann   | ann     | deny | deny | deny | ann    | ann    | ann
cookie, allowed Origin     | ann  | ann   | ann     | deny | deny | deny | ann    | ann    | ann
cookie, foreign Origin     | csrf | csrf  | csrf    | csrf | csrf | csrf | csrf   | csrf   | csrf
cookie, cross site         | csrf | csrf  | csrf    | csrf | csrf | csrf | csrf   | csrf   | csrf
cookie, no sign of origin  | csrf | csrf  | csrf    | csrf | csrf | csrf | csrf   | csrf   | csrf
cookie of ada, cross site  | csrf | csrf  | csrf    | csrf | csrf | csrf | csrf   | csrf   | csrf
cookie, expired            | -    | -     | bad     | bad  | bad  | bad  | bad    | bad    | -
cookie, two of our name    | -    | -     | bad     | bad  | bad  | bad  | bad    | bad    | -
bearer, cross-site cookie  | ada  | ada   | ada     | ada  | ada  | ada  | ada    | ada    | ada
forged bearer, good cookie | -    | -     | bad     | bad  | bad  | bad  | bad    | bad    | -
header                     | ann  | ann   | ann     | deny | deny | deny | ann    | ann    | ann
header, forged             | -    | -     | bad     | bad  | bad  | bad  | bad    | bad    | -
none, store down           | -    | -     | miss    | miss | miss | miss | miss   | miss   | -
bearer of ann, store down  | down | down  | down    | down | down | down | down   | down   | -
"""

#: Where a framework cannot give the answer of the table: the front end, the column, and why.  The cell is instead.
DEVIATIONS = {
    ("litestar", "nowhere"): (
        "404",
        "Litestar runs middleware after it has found a handler: where there is none, nothing is asked or told",
    ),
}


def rows(table: str) -> dict[str, dict[str, str]]:
    """The cells of a table, by credential and column."""
    head, *body = [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]
    return {name: dict(zip(head[1:], cells, strict=True)) for name, *cells in body}


def expected(front_end: str, cells: dict[str, str]) -> dict[str, str]:
    """A row of the table, as this front end answers it."""
    return {column: DEVIATIONS.get((front_end, column), (cell,))[0] for column, cell in cells.items()}
