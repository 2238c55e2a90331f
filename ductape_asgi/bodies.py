"""Looking into a request's body, within a bound, and playing it back so that the app finds it as it came."""

from __future__ import annotations

from .problems import Message, Receive


async def peek(receive: Receive, limit: int) -> tuple[bytes, bool, Receive]:
    """What came of a body until it ended, the client went or `limit` was passed; whether that is all of it; and a
    `receive` that plays it back.

    What was read reaches the app in one message.
    """
    body, end = await _read(receive, limit)
    gone = end["type"] != "http.request"
    more = gone or end.get("more_body", False)
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": more}] if body or not gone else []
    return body, not more, _replay([*messages, end] if gone else messages, receive)


async def _read(receive: Receive, limit: int) -> tuple[bytes, Message]:
    """What came, and the message that ended it.

    Only bytes are kept: of messages, empty ones too, a client may send any number.
    """
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] != "http.request" or not message.get("more_body", False) or len(body) > limit:
            return bytes(body), message


def _replay(messages: list[Message], receive: Receive) -> Receive:
    waiting = messages[::-1]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed
