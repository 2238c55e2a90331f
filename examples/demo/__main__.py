"""Serve the demo on loopback: `make demo`, `ductape demo`, or `python examples/demo`."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn

from app import create_app
from people import PEOPLE

parser = argparse.ArgumentParser(prog="ductape demo", description=__doc__)
parser.add_argument("--port", type=int, default=8000)
parser.add_argument("--folder", type=Path, default=Path(".ductape-demo"), help="where its key and its sessions live")
options = parser.parse_args()

print(f"\n  Open      http://127.0.0.1:{options.port}/")
for person in PEOPLE.values():
    print(f"  Sign in   {person.user_id} / {person.password}   ({person.role})")
print("  Stop      Ctrl-C\n", flush=True)

uvicorn.run(create_app(options.folder), host="127.0.0.1", port=options.port, log_level="warning")
