"""An app with a mistake, for the test of a test."""

from __future__ import annotations

from fastapi import FastAPI

app = FastAPI()


@app.get("/divide")
async def divide(by: int) -> float:
    return 1 / by
