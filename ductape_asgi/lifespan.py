"""Opening `Sessions` around an app's lifespan, whatever the app makes of the protocol."""

from __future__ import annotations

from typing import NoReturn

from .audit import logger
from .errors import DuctapeError, StoreUnavailable
from .problems import ASGIApp, Message, Receive, Scope, Send
from .sessions import Sessions


async def run_lifespan(app: ASGIApp, sessions: Sessions, scope: Scope, receive: Receive, send: Send) -> None:
    """Open before the app's start-up, close after its shutdown.

    A store that cannot be opened, or an error of ours out of the app, is a failed start-up, reported to the server.
    An app without lifespan support (it raises anything else, or returns, before it asks for a message) gets a
    lifespan all the same: ours alone.
    """
    try:
        await sessions.worker.lifetime.enter()
    except DuctapeError as error:
        await _fail(error, receive, send)
    except Exception as error:  # Servers that meet one take it that the app has no lifespan, and serve.
        logger.error("the sessions could not be opened", exc_info=error)
        await _fail(StoreUnavailable(f"the sessions could not be opened: {type(error).__name__}"), receive, send)
    try:
        await _forward(app, scope, receive, send)
    finally:
        await sessions.worker.lifetime.leave()


async def _forward(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    asked = False

    async def watched() -> Message:
        nonlocal asked
        asked = True
        return await receive()

    try:
        await app(scope, watched, send)
    except Exception as error:  # whatever an app raises that does not know the protocol
        if asked:
            raise
        if isinstance(error, DuctapeError):  # an inner middleware that was set up wrongly, built only now
            await _fail(error, receive, send)
        logger.warning("the app takes no part in the lifespan; sessions are opened and closed without it: %r", error)
        logger.debug("what it raised when it was asked", exc_info=error)
    if not asked:
        await _speak_for(receive, send)


async def _fail(error: DuctapeError, receive: Receive, send: Send) -> NoReturn:
    await receive()
    await send({"type": "lifespan.startup.failed", "message": f"ductape-asgi: {error}"})
    # As Starlette's own apps do: its `TestClient` takes an app that returns for one that has started.
    raise error.with_traceback(None)


async def _speak_for(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})
