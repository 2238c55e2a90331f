"""Serve the demo on loopback: `make demo`, `ductape demo`, or `python examples/demo`."""

from __future__ import annotations

import argparse
import contextlib
import errno
import os
import socket
from pathlib import Path

import uvicorn

from app import create_app
from people import PEOPLE


def listening(port: int) -> socket.socket:
    """A socket that has the port for sure, so that nobody is told to open a page of another program.

    Raises:
        SystemExit: the port is not to be had; says what to try.
    """
    bound = socket.socket()
    if os.name == "posix":  # elsewhere the option means that two may share a port
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(("127.0.0.1", port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
        other = 9000 if port != 9000 else 9001
        checkout = (Path(__file__).parents[2] / "Makefile").exists()
        retry = f"PORT={other} make demo" if checkout else f"ductape demo --port {other}"
        raise SystemExit(f"port {port} {why}; try: {retry}") from None
    return bound


parser = argparse.ArgumentParser(prog="ductape demo", description=__doc__)
parser.add_argument("--port", type=int, default=8000)
parser.add_argument("--folder", type=Path, default=Path(".ductape-demo"), help="where its key and its sessions live")
options = parser.parse_args()

with listening(options.port) as ours:
    server = uvicorn.Server(uvicorn.Config(create_app(options.folder), log_level="warning"))
    print(f"\n  Open      http://127.0.0.1:{options.port}/")
    for person in PEOPLE.values():
        print(f"  Sign in   {person.user_id} / {person.password}   ({person.role})")
    print("  Stop      Ctrl-C\n", flush=True)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets=[ours])
