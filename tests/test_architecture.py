"""The floors and the fences of the package; `CONTRIBUTING.md` tells them in prose.

A module imports lower floors only, and a third-party package is imported behind its fence only.  Both are
read from the syntax tree, so that an import inside a function or for types alone counts as well.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import ductape_asgi

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "ductape_asgi"
ADAPTERS = ROOT / "integrations"

#: Lowest first.  A package stands for all its modules; among themselves those may not go in circles.
FLOORS: tuple[frozenset[str], ...] = (
    # words
    frozenset({"errors", "encoding"}),
    frozenset({"frozen", "audit", "latch"}),
    frozenset({"models", "schema", "problems"}),
    frozenset({"policy", "keys", "figures"}),
    # what a request brings and may do
    frozenset({"access", "bodies", "identity", "clients", "cookies", "csrf", "handshakes", "settings"}),
    # what travels, and what is kept
    frozenset(
        {
            "credentials",
            "csrf_forms",
            "csrf_tokens",
            "sealing",
            "refresh_tokens",
            "tickets",
            "cache",
            "stores.base",
            "stores.rules",
            "stores.handoff",
        }
    ),
    frozenset(
        {
            "tokens",
            "endings",
            "stores.guarded",
            "stores.keyvalue",
            "stores.memory",
            "stores.postgres",
            "stores.redis",
            "stores.sqlite",
        }
    ),
    frozenset({"revocations"}),
    # one process at work
    frozenset({"realms", "lifetime", "following", "restoring", "stores.urls"}),
    frozenset({"leases"}),
    frozenset({"lookout"}),
    frozenset({"worker"}),
    frozenset({"issuing", "verification"}),
    frozenset({"admission", "inventory", "refreshing", "sync"}),
    frozenset({"surveying"}),
    frozenset({"sessions"}),
    # around an app
    frozenset({"lifespan", "streams", "auto_refresh"}),
    frozenset({"options", "client"}),
    frozenset({"middleware"}),
    frozenset({"pages"}),
    frozenset({"routes"}),
    frozenset({"openapi"}),
    frozenset({"cli", "testing"}),
)

#: Of two modules that are one idea, the lower one may know the upper one's name, for its annotations.
PAIRS = {"sync": frozenset({"sessions"})}

#: Third-party packages, and what of the standard library only one kind of module should know.
FENCES: dict[str, frozenset[str]] = {
    "asyncpg": frozenset({"stores.postgres"}),
    "anyio": frozenset(
        {
            "client",
            "following",
            "latch",
            "leases",
            "lifetime",
            "lookout",
            "refreshing",
            "revocations",
            "stores.guarded",
            "stores.redis",
            "stores.handoff",
            "streams",
            "sync",
            "testing",
            "verification",
            "worker",
        }
    ),
    "cachetools": frozenset({"cache", "realms", "sessions"}),
    "click": frozenset({"cli"}),
    "cryptography": frozenset({"keys", "sealing"}),
    "httpx": frozenset({"client"}),
    "httpx2": frozenset({"client"}),
    "jinja2": frozenset({"pages.rendering"}),
    "jwt": frozenset({"tokens"}),
    "pytest": frozenset({"testing"}),
    "redis": frozenset({"stores.redis"}),
    "sqlite3": frozenset({"stores.sqlite"}),
    "starlette": frozenset({"access", "identity", "pages", "routes"}),
    "trio": frozenset({"lifetime", "stores.handoff"}),
    "typing_extensions": frozenset({"models"}),  # for type checkers alone
}

#: Modules of ours that are made for adapters.
FOR_ADAPTERS = frozenset({"openapi"})

#: What an adapter may import besides those and the public names of `ductape_asgi`.
ADAPTER_FENCES: dict[str, frozenset[str]] = {
    "ductape_fastapi": frozenset({"fastapi"}),
    "ductape_litestar": frozenset({"litestar"}),
}


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def unit_of(name: str, units: Iterable[str]) -> str | None:
    """Whichever of `units` this module is, or belongs to."""
    return next((unit for unit in units if name == unit or name.startswith(f"{unit}.")), None)


def floor_of(name: str) -> int:
    found = [number for number, units in enumerate(FLOORS) if unit_of(name, units)]
    assert found, f"{name} has no floor yet: give it one in {Path(__file__).name}, and in CONTRIBUTING.md"
    return found[0]


def imports(path: Path, package: str) -> Iterator[str]:
    """The dotted name of each thing that a file imports, ``package.module.thing``; `package` is the file's own."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            above = parents[: len(parents) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def imports_of(name: str) -> set[str]:
    path = MODULES[name]
    return set(imports(path, ".".join(path.parent.relative_to(ROOT).parts)))


def own_imports(name: str) -> set[str]:
    """The modules of `ductape_asgi` that a module imports; ``""`` is the package itself."""
    items = {item.partition(".")[2] for item in imports_of(name) if item.split(".")[0] == "ductape_asgi"}
    return {item if item in MODULES else item.rpartition(".")[0] for item in items} - {name} - PAIRS.get(name, set())


#: All but the package itself and what holds a docstring only.
LAYERED = sorted(name for name, path in MODULES.items() if name and len(ast.parse(path.read_text()).body) > 1)


@pytest.mark.parametrize("name", LAYERED)
def test_a_module_imports_lower_floors_only(name: str) -> None:
    floor = FLOORS[floor_of(name)]
    strangers = {other for other in own_imports(name) if unit_of(other, floor) != unit_of(name, floor) or not other}
    assert not {other for other in strangers if not other or floor_of(other) >= floor_of(name)}


def test_there_is_no_circle() -> None:
    graph = {name: own_imports(name) for name in LAYERED}
    while leaves := {name for name, others in graph.items() if not others & graph.keys()}:
        graph = {name: others for name, others in graph.items() if name not in leaves}
    assert not graph


@pytest.mark.parametrize("name", sorted(MODULES))
def test_other_packages_stay_behind_their_fences(name: str) -> None:
    roots = {item.split(".")[0] for item in imports_of(name)} - {"ductape_asgi"}
    fenced = {root for root in roots if root in FENCES or root not in sys.stdlib_module_names}
    assert not {root for root in fenced if not unit_of(name, FENCES.get(root, ()))}


def test_each_floor_and_fence_names_modules_that_exist() -> None:
    assert set().union(*FLOORS) | set().union(*FENCES.values()) <= MODULES.keys()


@pytest.mark.parametrize("name", sorted(ADAPTER_FENCES))
def test_an_adapter_uses_public_names_only(name: str) -> None:
    public = {f"ductape_asgi.{item}" for item in ductape_asgi.__all__}
    roots = ADAPTER_FENCES[name] | sys.stdlib_module_names | {name}
    items = {item for path in (ADAPTERS / name).rglob("*.py") for item in imports(path, name)}
    ours = {item for item in items if item.startswith("ductape_asgi.")}
    assert not {item for item in ours - public if not unit_of(item.partition(".")[2], FOR_ADAPTERS)}
    assert not {item for item in items - ours if item.split(".")[0] not in roots}
