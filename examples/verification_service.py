"""Verification service: two photos in, a decision out, over HTTP.

    pip install fastapi uvicorn python-multipart slowapi
    uvicorn --app-dir examples verification_service:app --host 127.0.0.1 --port 8000
    curl -F a=@one.jpg -F b=@two.jpg http://127.0.0.1:8000/verify

Uploads are limited in size before they are parsed and pictures in pixels before they are decoded; each client
is limited in rate. Photos are held in memory for the request alone and never stored or logged. Put TLS and
authentication before it; face data must not cross a network in the clear.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

from fastapi import FastAPI, HTTPException, Request, UploadFile
from fastapi.responses import JSONResponse
from slowapi import Limiter
from slowapi.errors import RateLimitExceeded
from slowapi.util import get_remote_address
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pocketface import FaceRecognizer
from pocketface.errors import ImageError, NoFaceError, ThresholdError

MAX_BYTES = 16 << 20
MAX_PIXELS = 24_000_000
RATE = "30/minute"


class TooLargeError(Exception):
    """More bytes than a request may have."""


class SizeLimit:
    """Stops a request as soon as it exceeds a number of bytes, whatever length it claims."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count what is received."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        claimed = dict(scope["headers"]).get(b"content-length", b"0")
        received = self.limit + 1 if not claimed.isdigit() or int(claimed) > self.limit else 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self.limit:
                raise TooLargeError
            return message

        async def answer(message: Message) -> None:
            # What the application says of a request that was cut off is not what the client should read.
            if received <= self.limit:
                await send(message)

        if received <= self.limit:
            with suppress(TooLargeError):
                await self.app(scope, counted, answer)
        if received > self.limit:
            refusal = JSONResponse({"detail": f"a request has at most {self.limit} bytes"}, status_code=413)
            await refusal(scope, receive, send)


recognizer = FaceRecognizer(max_pixels=MAX_PIXELS)
limiter = Limiter(key_func=get_remote_address)
app = FastAPI(title="Face verification")
app.state.limiter = limiter
app.add_middleware(SizeLimit, limit=MAX_BYTES)


@app.exception_handler(RateLimitExceeded)
async def too_many(request: Request, error: RateLimitExceeded) -> JSONResponse:
    return JSONResponse({"detail": f"at most {error.detail}"}, status_code=429)


@app.post("/verify")
@limiter.limit(RATE)
def verify(
    request: Request, a: UploadFile, b: UploadFile, fmr: Annotated[float, "false match rate"] = 1e-3
) -> dict[str, object]:
    """Compare the largest faces of two photos. Runs in a worker thread; the recogniser may be shared."""
    if not 0 < fmr <= 0.1:
        raise HTTPException(422, "fmr lies above 0 and at most at 0.1")
    try:
        result = recognizer.verify(a.file.read(), b.file.read(), fmr=fmr)
    except (ImageError, NoFaceError, ThresholdError) as error:
        raise HTTPException(422, str(error)) from None
    return {
        "verified": result.verified,
        "similarity": round(result.similarity, 4),
        "threshold": round(result.threshold.value, 4),
        "fmr": result.fmr,
        "model": result.model,
    }
