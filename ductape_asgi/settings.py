"""What `Sessions` is told, checked when it is built; each message says how to mend it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from .errors import ConfigurationError
from .keys import ALGORITHMS, Keyring, load_publishable_key
from .models import Realm
from .policy import CookiePolicy, TagPolicy

#: The cache makes its places beforehand, and each entry takes a few thousand bytes.
_LARGEST_CACHE = 10_000_000


def check_options(cookies: object, algorithm: object, on_stale: object, cache_size: object, clock: object) -> None:
    if cookies is not None and not isinstance(cookies, CookiePolicy):
        raise ConfigurationError(f"cookies={cookies!r}: give CookiePolicy(...), or None for no cookies")
    if algorithm not in ALGORITHMS:
        raise ConfigurationError(f"algorithm={algorithm!r}: use one of {', '.join(ALGORITHMS)}")
    if on_stale not in ("check_store", "refuse"):
        raise ConfigurationError(f'on_stale={on_stale!r}: use "check_store" or "refuse"')
    if type(cache_size) is not int or not 0 <= cache_size <= _LARGEST_CACHE:
        raise ConfigurationError(
            f"cache_size={cache_size!r}: give how many verified tokens to keep, from 0 to {_LARGEST_CACHE}"
        )
    if not callable(clock):
        raise ConfigurationError(f"clock={clock!r}: give a callable that answers Unix seconds, such as time.time")


def check_found(options: Mapping[str, object]) -> None:
    """Say all that the environment lacks at once.

    Raises:
        ConfigurationError: something is missing.
    """
    missing = []
    if "access_key" not in options and "publishable_key" not in options:
        missing.append("DUCTAPE_ACCESS_KEY (make one with: ductape keys new)")
    if "publishable_key" not in options:  # which carries its realm
        missing += [f"DUCTAPE_{name.upper()}" for name in ("product", "env") if name not in options]
    if missing:
        raise ConfigurationError(f"not set: {', '.join(missing)}")
    if "access_key" in options and "publishable_key" in options:
        raise ConfigurationError(
            "set DUCTAPE_ACCESS_KEY (access_key=) on the backend or DUCTAPE_PUBLISHABLE_KEY (publishable_key=)"
            " on a frontend, not both"
        )


def policies_by_tag(tags: Sequence[TagPolicy]) -> dict[str, TagPolicy]:
    policies: dict[str, TagPolicy] = {}
    if not isinstance(tags, list | tuple):
        raise ConfigurationError('tags= takes a list: tags=[TagPolicy("user-session")]')
    for policy in tags:
        if not isinstance(policy, TagPolicy):
            raise ConfigurationError(f'tags= takes TagPolicy("user-session", ...) objects, not {type(policy).__name__}')
        if policy.tag in policies:
            raise ConfigurationError(f"two policies for the tag {policy.tag!r}; remove one")
        policies[policy.tag] = policy
    return policies


def realm_of(product: str | None, env: str | None) -> Realm:
    if product is None or env is None:
        raise ConfigurationError(
            'give product= and env=, e.g. product="shop", env="prd" (or DUCTAPE_PRODUCT, DUCTAPE_ENV)'
        )
    return Realm(product, env)


def published_keyring(access_key: object, publishable_key: str, product: str | None, env: str | None) -> Keyring:
    if access_key is not None:
        raise ConfigurationError("give access_key= on the backend or publishable_key= on a frontend, not both")
    keyring = load_publishable_key(publishable_key)
    check_realm(keyring.realm, product, env)
    return keyring


def check_realm(realm: Realm, product: str | None, env: str | None) -> None:
    asked = overridden(realm, product, env)
    if asked != realm:
        raise ConfigurationError(f"the publishable key is for '{realm}', not '{asked}'")


def overridden(realm: Realm, product: str | None, env: str | None) -> Realm:
    return Realm(realm.product if product is None else product, realm.env if env is None else env)
