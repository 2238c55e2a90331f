"""``python -m benchmarks [--json FILE] [--only hit miss ...]``: measure, and set it against what we promise.

The exit code is 0 unless a benchmark breaks: a gate that falls short is for people to judge.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path

from . import bench_cache, bench_hit, bench_miss, bench_revocation, bench_sockets, bench_store
from ._measure import Report

BENCHES: dict[str, Callable[[Report, str], Awaitable[None]]] = {
    "hit": bench_hit.bench,
    "miss": bench_miss.bench,
    "cache": bench_cache.bench,
    "store": bench_store.bench,
    "revocation": bench_revocation.bench,
    "sockets": bench_sockets.bench,
}
_COMPARED = ("cryptography", "starlette", "itsdangerous", "PyJWT", "aiosqlite")


def main() -> int:
    arguments = _arguments()
    report, began = Report(), time.monotonic()
    print(_machine())
    with tempfile.TemporaryDirectory(dir=arguments.dir) as folder:
        for name in arguments.only:
            asyncio.run(_bench(name, report, folder))
    report.summary()
    print(f"\n{time.monotonic() - began:.0f} s; read these as ratios, and again when the machine was busy.")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({"machine": _machine(), **report.as_json()}, indent=2) + "\n")
    return 0


async def _bench(name: str, report: Report, folder: str) -> None:
    await BENCHES[name](report, folder)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure, and set it against what we promise."
    )
    parser.add_argument("--only", nargs="+", choices=BENCHES, default=list(BENCHES), help="some of them")
    parser.add_argument("--json", metavar="FILE", help="keep the results there as well")
    parser.add_argument("--dir", metavar="DIR", help="put the databases on this disk; default: the temporary directory")
    return parser.parse_args()


def _machine() -> str:
    packages = ", ".join(f"{name} {version(name)}" for name in _COMPARED)
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"Python {platform.python_version()}, {os.cpu_count()} processors{load}; {packages}"


if __name__ == "__main__":
    sys.exit(main())
