"""Who may call: a personal access token, or a service principal that changes its secret into short-lived tokens."""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.databricks_emulator.errors import refusal, respond

LIFETIME = 3600


class Credentials(NamedTuple):
    """What the emulator accepts: made once for a root directory, so that a restart accepts the same."""

    token: str
    client_id: str
    client_secret: str

    @classmethod
    def of(cls, root: Path) -> "Credentials":
        """Those of a root directory."""
        path = root / "credentials.json"
        if not path.exists():
            made = cls(f"dapi{secrets.token_hex(16)}", secrets.token_hex(8), f"dose{secrets.token_hex(16)}")
            path.touch(mode=0o600)
            path.write_text(json.dumps(made._asdict()), encoding="utf-8")
        return cls(**json.loads(path.read_text(encoding="utf-8")))


class Authentication:
    """Issues tokens to the service principal and tells good tokens from bad ones."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/.well-known/databricks-config", _workspace),
            Route("/oidc/.well-known/oauth-authorization-server", _endpoints),
            Route("/oidc/v1/token", self._issue, methods=["POST"]),
        ]

    def accepts(self, authorization: str) -> bool:
        """Whether the header of a call carries the access token, or an issued one that has not expired."""
        scheme, _, token = authorization.partition(" ")
        if scheme != "Bearer":
            return False
        expiry, _, signature = token.partition(".")
        issued = expiry.isdecimal() and int(expiry) > time.time() and _same(signature, self._signature(expiry))
        return issued or _same(token, self._credentials.token)

    async def _issue(self, request: Request) -> JSONResponse:
        form = dict(parse_qsl((await request.body()).decode()))
        if form.get("grant_type") != "client_credentials":
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        identity = _basic(request.headers.get("authorization", ""))
        if not _same(identity, f"{self._credentials.client_id}:{self._credentials.client_secret}"):
            return JSONResponse({"error": "invalid_client", "error_description": "Client authentication failed"}, 401)
        expiry = str(int(time.time()) + LIFETIME)
        token = f"{expiry}.{self._signature(expiry)}"
        reply = {"access_token": token, "token_type": "Bearer", "expires_in": LIFETIME, "scope": "all-apis"}
        return JSONResponse(reply)

    def _signature(self, expiry: str) -> str:
        return hmac.new(self._credentials.client_secret.encode(), expiry.encode(), hashlib.sha256).hexdigest()


class BearerRequired:
    """Lets a call to the API through only with a good token."""

    def __init__(self, app: ASGIApp, authentication: Authentication) -> None:
        self._app = app
        self._authentication = authentication

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            request = Request(scope, receive)
            if not self._authentication.accepts(request.headers.get("authorization", "")):
                denied = refusal(
                    "UNAUTHENTICATED", "Credential was not sent or was of an unsupported type for this API."
                )
                await request.body()
                await respond(request, denied)(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _workspace(request: Request) -> JSONResponse:
    """What every client asks first: where tokens are issued and which workspace this is."""
    reply = {"oidc_endpoint": f"{request.base_url}oidc", "workspace_id": "1234567890", "cloud": "AWS"}
    return JSONResponse(reply)


async def _endpoints(request: Request) -> JSONResponse:
    issuer = f"{request.base_url}oidc"
    reply = {
        "issuer": issuer,
        "authorization_endpoint": f"{issuer}/v1/authorize",
        "token_endpoint": f"{issuer}/v1/token",
    }
    return JSONResponse(reply)


def _basic(authorization: str) -> str:
    """`id:secret` of a Basic header, empty if it is no such header."""
    scheme, _, encoded = authorization.partition(" ")
    try:
        return base64.b64decode(encoded, validate=True).decode() if scheme == "Basic" else ""
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())
