"""`ductape`, the command, in this process on a real SQLite file; as a script where the process matters."""

from __future__ import annotations

import asyncio
import io
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ductape_asgi.cli import main
from ductape_asgi.keys import new_access_key
from ductape_asgi.models import ClientInfo, IssuedSession
from ductape_asgi.sessions import Sessions

TAG = "user-session"


@dataclass
class Answer:
    code: int
    out: str
    err: str


class Shell:
    """Runs the command with the environment of one app."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch
        self.set(ACCESS_KEY=new_access_key(), PRODUCT="shop", ENV="test", STORE=f"sqlite:///{folder / 'sessions.db'}")
        self.set(PUBLISHABLE_KEY=None)

    def set(self, **values: str | None) -> None:
        for name, value in values.items():
            if value is None:
                self._monkeypatch.delenv(f"DUCTAPE_{name}", raising=False)
            else:
                self._monkeypatch.setenv(f"DUCTAPE_{name}", value)

    def __call__(self, *arguments: str, stdin: str = "") -> Answer:
        self._monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        out, err = self._capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Answer(ended.value.code, out, err)

    def json(self, *arguments: str) -> Any:
        answer = self(*arguments, "--json")
        assert (answer.code, answer.err) == (0, "")
        return json.loads(answer.out)

    @staticmethod
    def start(identifier: str = "ann", agent: str = "curl/8.0") -> IssuedSession:
        """A sign-in, as the app would make it."""

        async def start() -> IssuedSession:
            async with Sessions.from_env() as sessions:
                client = ClientInfo(ip="192.0.2.1", user_agent=agent, label=None)
                return await sessions.start(tag=TAG, data={"userId": identifier, "pin": "s3cr3t"}, client=client)

        return asyncio.run(start())


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    return Shell(capsys, monkeypatch, tmp_path)


def test_keys_new_prints_a_key_that_works_on_a_line_of_its_own(shell: Shell) -> None:
    answer = shell("keys", "new")
    assert (answer.code, answer.err, answer.out.count("\n")) == (0, "", 1)
    Sessions(access_key=answer.out.strip(), product="shop", env="test", store="memory://")


def test_keys_new_needs_no_environment(shell: Shell) -> None:
    shell.set(ACCESS_KEY=None, PRODUCT=None, ENV=None, STORE=None)
    assert shell("keys", "new").code == 0


def test_two_new_keys_differ(shell: Shell) -> None:
    assert shell("keys", "new").out != shell("keys", "new").out


def test_keys_publishable_prints_the_key_of_the_realm(shell: Shell) -> None:
    answer = shell("keys", "publishable")
    assert (answer.code, answer.err, answer.out.count("\n")) == (0, "", 1)
    assert Sessions(publishable_key=answer.out.strip()).realm.audience == "shop:test"


def test_keys_rotate_walks_from_the_old_key_to_the_new_one(shell: Shell) -> None:
    old = os.environ["DUCTAPE_ACCESS_KEY"]

    added = shell("keys", "rotate")
    both = added.out.strip().split(",")
    shell.set(ACCESS_KEY=added.out.strip())
    promoted = shell("keys", "rotate", "--step", "promote")
    shell.set(ACCESS_KEY=promoted.out.strip())
    retired = shell("keys", "rotate", "--step", "retire")

    assert [answer.code for answer in (added, promoted, retired)] == [0, 0, 0]
    assert (both[0], len(both)) == (old, 2)
    assert promoted.out.strip() == f"{both[1]},{old}"
    assert retired.out.strip() == both[1]


def test_keys_rotate_says_what_to_do_apart_from_the_value(shell: Shell) -> None:
    answer = shell("keys", "rotate")
    assert "every worker" in answer.err
    assert answer.out.count("\n") == 1
    assert "dak_" not in answer.err


def test_keys_rotate_with_two_keys_asks_for_the_step(shell: Shell) -> None:
    shell.set(ACCESS_KEY=f"{new_access_key()},{new_access_key()}")
    answer = shell("keys", "rotate")
    assert (answer.code, answer.out) == (2, "")
    assert "--step promote" in answer.err


@pytest.mark.parametrize(("step", "count"), [("add", 2), ("promote", 1), ("retire", 1), ("retire", 3)])
def test_keys_rotate_refuses_a_step_that_does_not_fit(shell: Shell, step: str, count: int) -> None:
    shell.set(ACCESS_KEY=",".join(new_access_key() for _ in range(count)))
    answer = shell("keys", "rotate", "--step", step)
    assert (answer.code, answer.out) == (1, "")
    assert f"--step {step}" in answer.err


@pytest.mark.parametrize("value", [None, "", "dak_short"])
def test_keys_rotate_without_a_good_key_says_how_to_make_one(shell: Shell, value: str | None) -> None:
    shell.set(ACCESS_KEY=value)
    answer = shell("keys", "rotate")
    assert (answer.code, answer.out) == (1, "")
    assert "ductape keys new" in answer.err


def test_sessions_list_shows_a_table_newest_first(shell: Shell) -> None:
    first, second = shell.start(), shell.start(agent="Mozilla/5.0 Firefox/140.0")
    answer = shell("sessions", "list", "--tag", TAG, "--identifier", "ann")
    heads, *rows = answer.out.splitlines()
    assert heads.split("  ")[0] == "SESSION"
    assert [row.split()[0] for row in rows] == [second.session_id, first.session_id]
    assert len({row.index("192.0.2.1") for row in rows} | {heads.index("ADDRESS")}) == 1


def test_sessions_list_answers_json(shell: Shell) -> None:
    issued = shell.start()
    document = shell.json("sessions", "list", "--tag", TAG, "--identifier", "ann")
    (info,) = document["sessions"]
    assert document["count"] == 1
    assert (info["sessionId"], info["identifier"], info["tag"]) == (issued.session_id, "ann", TAG)
    assert info["client"] == {"ip": "192.0.2.1", "userAgent": "curl/8.0", "label": None}
    assert info["expiresAt"] == f"{issued.session_expires_at:%Y-%m-%dT%H:%M:%SZ}"


def test_sessions_list_stops_at_its_limit_and_says_so(shell: Shell) -> None:
    for _ in range(3):
        shell.start()
    answer = shell("sessions", "list", "--tag", TAG, "--identifier", "ann", "--limit", "2")
    assert len(answer.out.splitlines()) == 3
    assert "2 of 3 shown" in answer.err


def test_sessions_list_reads_on_where_one_page_does_not_hold_all(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ductape_asgi.cli.PAGE", 2)
    for _ in range(5):
        shell.start()
    arguments = ("sessions", "list", "--tag", TAG, "--identifier", "ann", "--limit", "5")
    assert len({info["sessionId"] for info in shell.json(*arguments)["sessions"]}) == 5


def test_a_client_cannot_write_control_characters_to_the_terminal(shell: Shell) -> None:
    shell.start(agent="\x1b[2Jgone\u202e")
    answer = shell("sessions", "list", "--tag", TAG, "--identifier", "ann")
    assert "?[2Jgone?" in answer.out


def test_sessions_revoke_ends_one_and_says_whether_it_was_live(shell: Shell) -> None:
    issued = shell.start()
    arguments = ("sessions", "revoke", "--tag", TAG, "--session-id", issued.session_id)
    assert shell.json(*arguments) == {"revoked": True}
    assert shell.json("sessions", "list", "--tag", TAG, "--identifier", "ann")["count"] == 0


@pytest.mark.parametrize(("extra", "out"), [((), ""), (("--json",), '{"revoked": false}\n')])
def test_sessions_revoke_that_finds_nothing_is_an_error(shell: Shell, extra: tuple[str, ...], out: str) -> None:
    issued = shell.start()
    answer = shell("sessions", "revoke", "--tag", "another-tag", "--session-id", issued.session_id, *extra)
    assert (answer.code, answer.out) == (1, out)
    assert answer.err == "no live session in shop:test has this id and tag\n"
    assert shell.json("sessions", "list", "--tag", TAG, "--identifier", "ann")["count"] == 1


def test_sessions_list_says_whose_sessions_it_did_not_find(shell: Shell) -> None:
    shell.start()
    answer = shell("sessions", "list", "--tag", TAG, "--identifier", "Ann")
    assert (answer.code, answer.out) == (0, "")
    assert answer.err.startswith(f'no live sessions of "Ann" with tag "{TAG}" in shop:test; are access key, product')


@pytest.mark.parametrize(("extra", "out"), [((), "ended 0 sessions\n"), (("--json",), '{"revoked": 0}\n')])
def test_sessions_revoke_all_that_finds_nobody_is_an_error(shell: Shell, extra: tuple[str, ...], out: str) -> None:
    shell.start()
    shell.set(ACCESS_KEY=new_access_key())
    answer = shell("sessions", "revoke-all", "--tag", TAG, "--identifier", "ann", *extra)
    assert (answer.code, answer.out) == (1, out)
    assert "are access key, product, env, tag and store those of your app?" in answer.err


def test_sessions_in_another_process_s_memory_are_out_of_reach(shell: Shell) -> None:
    shell.set(STORE="memory://")
    answer = shell("sessions", "list", "--tag", TAG, "--identifier", "ann")
    assert answer.code == 1
    assert "inside your app" in answer.err


def test_all_that_is_missing_is_said_at_once(shell: Shell) -> None:
    shell.set(ACCESS_KEY="", PRODUCT="", ENV="")
    answer = shell("sessions", "list", "--tag", TAG, "--identifier", "ann")
    assert answer.code == 1
    for name in ("DUCTAPE_ACCESS_KEY", "ductape keys new", "DUCTAPE_PRODUCT", "DUCTAPE_ENV"):
        assert name in answer.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("list", "--tag", TAG, "--identifier", "ann"),
        ("revoke", "--tag", TAG, "--session-id", "x"),
        ("revoke-all", "--tag", TAG, "--identifier", "ann"),
        ("purge",),
    ],
    ids=lambda arguments: arguments[0],
)
def test_no_sessions_command_creates_a_store(shell: Shell, arguments: tuple[str, ...], tmp_path: Path) -> None:
    shell.set(STORE=f"sqlite:///{tmp_path / 'typo.db'}")
    answer = shell("sessions", *arguments)
    assert (answer.code, answer.out) == (1, "")
    assert f"no session store at {tmp_path / 'typo.db'}; set DUCTAPE_STORE" in answer.err
    assert not list(tmp_path.iterdir())


def test_sessions_revoke_all_spares_the_excepted_one(shell: Shell) -> None:
    spared = shell.start()
    shell.start()
    arguments = ("sessions", "revoke-all", "--tag", TAG, "--identifier", "ann")
    assert shell.json(*arguments, "--except", spared.session_id) == {"revoked": 1}
    assert shell(*arguments).out == "ended 1 session\n"
    assert shell(*arguments).out == "ended 0 sessions\n"


def test_sessions_revoke_all_refuses_to_spare_the_session_of_another(shell: Shell) -> None:
    shell.start()
    other = shell.start("bob")
    arguments = ("--tag", TAG, "--identifier", "ann", "--except", other.session_id)
    answer = shell("sessions", "revoke-all", *arguments)
    assert (answer.code, answer.out) == (1, "")
    assert shell.json("sessions", "list", "--tag", TAG, "--identifier", "ann")["count"] == 1


def test_sessions_purge_counts_what_it_removed(shell: Shell) -> None:
    shell.start()
    assert shell.json("sessions", "purge") == {"purged": 0}
    assert shell("sessions", "purge").out == "removed 0 sessions\n"


def test_token_inspect_shows_claims_and_no_secret(shell: Shell) -> None:
    issued = shell.start()
    answer = shell("token", "inspect", issued.token)
    assert answer.code == 0
    assert issued.session_id in answer.out
    assert issued.token not in answer.out
    assert "s3cr3t" not in answer.out
    assert "ann" not in answer.out


def test_token_inspect_reads_standard_input(shell: Shell) -> None:
    issued = shell.start()
    answer = shell("token", "inspect", "--json", stdin=f"{issued.token}\n")
    claims = json.loads(answer.out)
    assert (claims["sessionId"], claims["tag"], claims["realm"]) == (issued.session_id, TAG, "shop:test")


def test_token_inspect_works_with_a_publishable_key(shell: Shell) -> None:
    issued = shell.start()
    shell.set(PUBLISHABLE_KEY=Sessions.from_env().publishable_key, ACCESS_KEY=None)
    assert shell.json("token", "inspect", issued.token)["sessionId"] == issued.session_id


def test_a_publishable_key_may_not_list(shell: Shell) -> None:
    shell.set(PUBLISHABLE_KEY=Sessions.from_env().publishable_key, ACCESS_KEY=None)
    answer = shell("sessions", "list", "--tag", TAG, "--identifier", "ann")
    assert (answer.code, answer.out) == (1, "")


@pytest.mark.parametrize("token", ["junk", "", "a.b.c"])
def test_token_inspect_refuses_junk_without_repeating_it(shell: Shell, token: str) -> None:
    answer = shell("token", "inspect", stdin=token)
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("ductape: ")
    assert "junk" not in answer.err


@pytest.mark.parametrize("name", ["ACCESS_KEY", "PRODUCT", "ENV"])
def test_a_missing_setting_is_named(shell: Shell, name: str) -> None:
    shell.set(**{name: None})
    answer = shell("sessions", "purge")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err.startswith("ductape: ")


@pytest.mark.parametrize(
    "arguments", [("sessions", "list"), ("nonsense",), ("sessions", "revoke", "--tag"), ("demo", "--port", "0")]
)
def test_wrong_usage_is_exit_code_2(shell: Shell, arguments: tuple[str, ...]) -> None:
    assert shell(*arguments).code == 2


def test_help_says_what_a_command_does_not_do(shell: Shell) -> None:
    assert "may have expired, and its session may have been ended" in " ".join(
        shell("token", "inspect", "--help").out.split()
    )
    assert "An app that runs does so by itself" in " ".join(shell("sessions", "purge", "--help").out.split())


def test_help_and_version_are_there(shell: Shell) -> None:
    assert "keys" in shell("--help").out
    assert "0.1.0" in shell("--version").out


def test_without_click_the_command_says_what_to_install() -> None:
    code = "import sys; sys.modules['click'] = None; import ductape_asgi.cli"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stdout) == (1, "")
    assert 'pip install "ductape-asgi[cli]"' in answer.stderr


@pytest.mark.parametrize("module", ["fastapi", "jinja2", "python_multipart", "uvicorn"])
def test_without_its_extra_the_demo_says_what_to_install(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    answer = shell("demo")
    assert (answer.code, answer.out) == (1, "")
    assert answer.err == 'ductape: the demo needs more: pip install "ductape-asgi[demo]"\n'


def test_an_installation_without_the_demo_says_where_it_is(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("ductape_asgi.cli.__file__", str(tmp_path / "ductape_asgi" / "cli.py"))
    answer = shell("demo")
    assert answer.code == 1
    assert "examples/demo" in answer.err
