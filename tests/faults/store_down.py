"""What clients of a real app see while its store is down: over HTTP, timed beside a page that knows no sessions."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.servers import free_port

from .lateness import overlap

APP = Path(__file__).with_name("served.py")


@contextmanager
def serving(store: str, key: str) -> Iterator[str]:
    """The URL of the app, while it runs."""
    port = free_port()
    named = {"ACCESS_KEY": key, "PRODUCT": "shop", "ENV": "prd", "STORE": store}
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "served:app", "--port", str(port), "--log-level", "critical"],
        cwd=APP.parent,
        env={**os.environ, **{f"DUCTAPE_{name}": value for name, value in named.items()}},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"{url}/null")
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline, "the app did not start"
                time.sleep(0.05)
        yield url
    finally:
        process.kill()
        process.wait()


@dataclass
class Answers:
    """What some requests were answered; times in seconds."""

    statuses: set[int]
    retry_after: set[str | None]
    cookies: int
    #: Begin and end of each.
    spans: list[tuple[float, float]]
    #: The same of the page before the middleware, asked by turns with the others.
    null_spans: list[tuple[float, float]]

    @property
    def median(self) -> float:
        return _median(self.spans)

    @property
    def null_median(self) -> float:
        return _median(self.null_spans)

    def longest_without(self, gaps: list[tuple[float, float]]) -> float:
        """The longest, without the time in which client or app did not run by themselves."""
        return max(end - begin - overlap(gaps, begin, end) for begin, end in self.spans)


def _median(spans: list[tuple[float, float]]) -> float:
    return sorted(end - begin for begin, end in spans)[len(spans) // 2]


def gaps_of(url: str) -> list[tuple[float, float]]:
    """When the app did not run because the machine was busy with others."""
    return [(since, until) for since, until in httpx.get(f"{url}/gaps").json()]


def ask(url: str, path: str, tokens: Sequence[str | None], *, at_once: int = 1) -> Answers:
    answers: list[httpx.Response] = []
    spans: list[tuple[float, float]] = []
    nulls: list[tuple[float, float]] = []
    with httpx.Client(base_url=url, timeout=30, verify=False, limits=httpx.Limits(max_connections=100)) as client:

        def one(token: str | None) -> None:
            began = time.monotonic()
            client.get("/null")
            middle = time.monotonic()
            answers.append(client.get(path, headers={"Authorization": f"Bearer {token}"} if token else {}))
            spans.append((middle, time.monotonic()))
            nulls.append((began, middle))

        with ThreadPoolExecutor(at_once) as threads:
            list(threads.map(one, tokens))
    return Answers(
        {answer.status_code for answer in answers},
        {answer.headers.get("retry-after") for answer in answers},
        sum("set-cookie" in answer.headers for answer in answers),
        spans,
        nulls,
    )
