"""The query service's routes: documents in, documents out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.responses import StreamingResponse
from fastapi.security import HTTPBearer
from pydantic import SecretStr
from starlette.exceptions import HTTPException

from mlflow_ledger.bus import ChangedMeanwhile, Position
from mlflow_ledger.consumers.wire import dump, error_in, event_from, load
from mlflow_ledger.schemas import (
    DecodeError,
    LedgerError,
    LogForeign,
    LogUnavailable,
    Refused,
    SettingsError,
)

from . import documents as d
from .door import Door
from .reader import Reader

__all__ = ["build_app"]

_REAP_S = 1.0
_WAIT_POLL_S = 0.02
_JSON = "application/json"
_STATUSES: tuple[tuple[type[Exception], int], ...] = (
    (Refused, 409), (LogForeign, 409), (SettingsError, 422), (DecodeError, 422),
    (ChangedMeanwhile, 410), (LogUnavailable, 503), (LedgerError, 500),
)  # fmt: skip
_BYTES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The bytes.",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
_FAILURES: dict[int | str, dict[str, Any]] = {
    "default": {"model": d.Failure, "description": "What went wrong, in words."}
}


def build_app(
    reader: Reader, token: SecretStr | None = None, hosts: frozenset[str] | None = None
) -> FastAPI:
    """The application; ``hosts`` are the names by which it may be asked, where it has no token."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        reaping = asyncio.create_task(_reap(reader))
        yield
        reaping.cancel()
        with suppress(asyncio.CancelledError):
            await reaping
        await run_in_threadpool(reader.close)

    app = FastAPI(
        title="mlflow-ledger query service",
        version=version("mlflow-ledger"),
        summary="A ledger's state, searches and verdicts, for clients that keep no replica.",
        lifespan=lifespan,
    )
    app.add_exception_handler(Exception, _unforeseen)
    app.add_exception_handler(LedgerError, _failed)
    app.add_exception_handler(RequestValidationError, _misformed)
    app.add_exception_handler(HTTPException, _not_answered)
    app.add_middleware(Door, token=token, hosts=hosts)
    _add_health(app)
    app.include_router(_routes(reader))
    return app


def _add_health(app: FastAPI) -> None:
    @app.get("/health")
    async def health() -> d.Health:
        """Whether the service answers. Asks for no token, and looks at nothing."""
        return d.Health()


def _routes(reader: Reader) -> APIRouter:
    bearer = HTTPBearer(auto_error=False, description="MLFLOW_LEDGER_QUERY_TOKEN, if it is set")
    routes = APIRouter(prefix="/v1", responses=_FAILURES, dependencies=[Depends(bearer)])
    _add_positions(routes, reader)
    _add_views(routes, reader)
    _add_verdicts(routes, reader)
    _add_blobs(routes, reader)
    return routes


def _add_positions(routes: APIRouter, reader: Reader) -> None:

    @routes.get("/ledger", response_model=d.LedgerFacts)
    def ledger() -> Response:
        """Which ledger this is, and which versions its answers are of."""
        return _answer(reader.facts())

    @routes.get("/position", response_model=d.Where)
    def position() -> Response:
        """How far the state has come, once it has caught up with the log."""
        return _answer({"position": str(reader.position())})

    @routes.post("/wait", response_model=d.Reached)
    async def wait(asked: d.Waiting) -> Response:
        """Wait until everything before a position is folded, for so many seconds at most."""
        wanted = Position.parse(asked.position)
        deadline = time.monotonic() + asked.timeout_s
        while not (reached := await run_in_threadpool(reader.has_reached, wanted)):
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(_WAIT_POLL_S)
        where = await run_in_threadpool(reader.position)
        return _answer({"position": str(where), "reached": reached})


def _add_views(routes: APIRouter, reader: Reader) -> None:
    @routes.post("/views", response_model=d.Opened)
    def open_view(asked: Annotated[d.Opening, Body()]) -> Response:
        """Open a view of the state, ask in it, and perhaps search runs at the same cut.

        A view is open for 10 seconds, or until it is closed. There are 64 at once; where all are
        taken the answer is 503: ask again.
        """
        return _answer(reader.open(_plain(asked)))

    @routes.post("/views/{view}", response_model=d.Results)
    def ask(view: str, asked: Annotated[d.Asked, Body()]) -> Response:
        """Ask more in a view that is open. Only SELECT is answered, within 10 seconds."""
        return _answer({"results": reader.ask(view, _plain(asked)["statements"])})

    @routes.delete("/views/{view}", status_code=204)
    def close_view(view: str) -> None:
        """Close a view; it need not be open."""
        reader.leases.drop(view)


def _add_verdicts(routes: APIRouter, reader: Reader) -> None:
    @routes.post("/rehearsals", status_code=200, response_model=d.Rehearsed)
    def rehearse(asked: Annotated[d.Rehearsal, Body()]) -> Response:
        """Whether the rules would take these events if they were next; 409 where they would not."""
        document = _plain(asked)
        reader.rehearse(document, [event_from(event) for event in document["events"]])
        return _answer({"verdict": "accepted"})

    @routes.post("/verdicts", response_model=d.Verdicts)
    def verdicts(asked: Annotated[d.Said, Body()]) -> Response:
        """Follow the topics until what was said is folded, and tell what became of it."""
        found = reader.verdicts(asked.said, asked.timeout_s)
        return _answer({"verdicts": [_verdict(verdict) for verdict in found]})


def _add_blobs(routes: APIRouter, reader: Reader) -> None:
    @routes.get("/blobs/{digest}", response_class=StreamingResponse, responses=_BYTES)
    def blob(digest: str) -> Response:
        """The bytes of an artifact, by digest, from the log or the blob store."""
        return StreamingResponse(reader.blob(digest), media_type="application/octet-stream")


def _verdict(verdict: tuple[str, ...] | None) -> dict[str, str]:
    if verdict is None:
        return {"verdict": "unknown"}
    if not verdict:
        return {"verdict": "accepted"}
    code, message = verdict
    return {"verdict": "refused", "code": code, "message": message}


def _plain(document: Any) -> dict[str, Any]:
    """A document as it was sent, with what JSON lacks in the place of its marks."""
    plain: dict[str, Any] = load(dump(document.model_dump()))
    return plain


def _answer(document: dict[str, Any], status: int = 200) -> Response:
    return Response(dump(document), status, media_type=_JSON)


async def _failed(_: Request, error: Exception) -> Response:
    status = next(status for kind, status in _STATUSES if isinstance(error, kind))
    return _answer({"error": error_in(error)}, status)


async def _misformed(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    problems = "; ".join(
        f"{'.'.join(map(str, found['loc']))}: {found['msg']}" for found in error.errors()
    )
    return _answer({"error": {"kind": "SettingsError", "message": problems}}, 422)


async def _not_answered(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _answer(
        {"error": {"kind": "SettingsError", "message": str(error.detail)}}, error.status_code
    )


async def _unforeseen(_: Request, error: Exception) -> Response:
    return _answer({"error": error_in(error)}, 500)


async def _reap(reader: Reader) -> None:
    while True:
        await asyncio.sleep(_REAP_S)
        await run_in_threadpool(reader.leases.reap)
