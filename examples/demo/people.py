"""Two people who can sign in.  A real app asks its own database, and stores no password in clear."""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from fastapi import Request
from pydantic import BaseModel, Field, ValidationError


@dataclass(frozen=True)
class Person:
    user_id: str
    name: str
    role: str
    password: str = field(repr=False)

    @property
    def data(self) -> dict[str, str]:
        """What goes, encrypted, into this person's sessions."""
        return {"userId": self.user_id, "name": self.name, "role": self.role}


PEOPLE = {
    "ann": Person("ann", "Ann", "admin", "maple-syrup-42"),
    "bob": Person("bob", "Bob", "user", "duck-pond-77"),
}
_NOBODY = Person("", "", "", "no such person has this password")


class Credentials(BaseModel):
    user_id: str = Field(alias="userId")
    password: str


def find_person(user_id: str, password: str) -> Person | None:
    """The person, if the password is theirs.  Takes as long for a name that nobody has."""
    person = PEOPLE.get(user_id, _NOBODY)
    same = hmac.compare_digest(person.password.encode(), password.encode())
    return person if same and person is not _NOBODY else None


async def authenticate(request: Request) -> tuple[str, dict[str, str]] | None:
    """Who signs in by JSON, for `session_routes`: identifier and data, or None."""
    try:
        given = Credentials.model_validate_json(await request.body())
    except ValidationError:
        return None
    person = find_person(given.user_id, given.password)
    return (person.user_id, person.data) if person else None
