"""Who may call: a personal access token, or a service principal that changes a secret, or a token of GitHub's, into
short-lived tokens.

GitHub's issuer of tokens is here as well, so that both halves of its way in are exercised.
"""

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from databricks_emulator.errors import refusal, respond

LIFETIME = 3600
WORKSPACE_ID = "1234567890"
USER = "someone@example.com"
ISSUER = "https://token.actions.githubusercontent.com"
SUBJECT = "repo:example/mlops:environment:prod"
"""The only subject that the service principal's federation policy lets in."""

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"


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

    @property
    def of_the_job(self) -> str:
        """What a GitHub job shows to be given a token of its own; it is no credential of the workspace."""
        return self.sign("a job on GitHub")

    def github_actions(self, url: str, subject: str = SUBJECT) -> dict[str, str]:
        """The variables with which a job of GitHub Actions reaches the emulator at `url` without any secret."""
        return {
            "DATABRICKS_HOST": url,
            "DATABRICKS_AUTH_TYPE": "github-oidc",
            "DATABRICKS_CLIENT_ID": self.client_id,
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{url}/emulator/github/token?{urlencode({'subject': subject})}",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self.of_the_job,
        }

    def sign(self, text: str) -> str:
        """A signature that only who has the secret can make."""
        return hmac.new(self.client_secret.encode(), text.encode(), hashlib.sha256).hexdigest()


class Authentication:
    """Issues tokens to the service principal and tells good tokens from bad ones."""

    def __init__(self, credentials: Credentials) -> None:
        self._credentials = credentials
        self._lifetime = LIFETIME

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/.well-known/databricks-config", _workspace),
            Route("/oidc/.well-known/oauth-authorization-server", _endpoints),
            Route("/oidc/v1/token", self._issue, methods=["POST"]),
            Route("/api/2.0/preview/scim/v2/Me", self._me),
            Route("/emulator/github/token", self._github),
            Route("/emulator/tokens", self._set_lifetime, methods=["POST"]),
        ]

    def identity(self, authorization: str) -> str | None:
        """Whose access token the header of a call carries; None if it is none, or an issued one that has expired."""
        scheme, _, token = authorization.partition(" ")
        if scheme != "Bearer":
            return None
        expiry, _, signature = token.partition(".")
        if expiry.isdecimal() and int(expiry) > time.time() and _same(signature, self._credentials.sign(expiry)):
            return self._credentials.client_id
        return USER if _same(token, self._credentials.token) else None

    async def _issue(self, request: Request) -> JSONResponse:
        """Change what proves who calls into an access token."""
        form = dict(parse_qsl((await request.body()).decode()))
        grant = form.get("grant_type")
        if grant == "client_credentials":
            identity = _basic(request.headers.get("authorization", ""))
            proven = _same(identity, f"{self._credentials.client_id}:{self._credentials.client_secret}")
        elif grant == EXCHANGE and form.get("subject_token_type") == JWT:
            audience = f"{request.base_url}oidc/v1/token"
            proven = self._is_from_github(form.get("subject_token", ""), audience) and _same(
                form.get("client_id", ""), self._credentials.client_id
            )
        else:
            return JSONResponse({"error": "unsupported_grant_type"}, 400)
        if not proven:
            return JSONResponse({"error": "invalid_client", "error_description": "Client authentication failed"}, 401)
        expiry = str(int(time.time()) + self._lifetime)
        token = f"{expiry}.{self._credentials.sign(expiry)}"
        reply = {"access_token": token, "token_type": "Bearer", "expires_in": self._lifetime, "scope": "all-apis"}
        return JSONResponse(reply)

    async def _github(self, request: Request) -> JSONResponse:
        """What GitHub gives to a job that may ask for it: a signed statement which repository and environment it is."""
        if not _same(request.headers.get("authorization", ""), f"Bearer {self._credentials.of_the_job}"):
            return JSONResponse({"message": "Bad credentials"}, 401)
        claims = {
            "iss": ISSUER,
            "sub": request.query_params.get("subject", ""),
            "aud": request.query_params.get("audience", ""),
            "exp": int(time.time()) + 300,
        }
        signed = f"{_encoded({'alg': 'HS256', 'typ': 'JWT'})}.{_encoded(claims)}"
        return JSONResponse({"value": f"{signed}.{self._credentials.sign(signed)}"})

    def _is_from_github(self, jwt: str, audience: str) -> bool:
        """Whether a token is GitHub's, for us, in time, and about the job that the federation policy names."""
        signed, _, signature = jwt.rpartition(".")
        if not _same(signature, self._credentials.sign(signed)):
            return False
        claims = json.loads(base64.urlsafe_b64decode(signed.partition(".")[2] + "=="))
        expected = {"iss": ISSUER, "sub": SUBJECT, "aud": audience}
        return claims.pop("exp") > time.time() and claims == expected

    async def _me(self, request: Request) -> JSONResponse:
        name = self.identity(request.headers.get("authorization", ""))
        reply = {"id": "1", "userName": name, "displayName": name, "active": True}
        return JSONResponse(reply, headers={"x-databricks-org-id": WORKSPACE_ID})

    async def _set_lifetime(self, request: Request) -> Response:
        """Let tokens that are issued from now on live for so many seconds."""
        self._lifetime = int((await request.json())["lifetime"])
        return Response(status_code=204)


class BearerRequired:
    """Lets a call to the API, or to a model that is served, through only with a good token."""

    def __init__(self, app: ASGIApp, authentication: Authentication) -> None:
        self._app = app
        self._authentication = authentication

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith(("/api/", "/serving-endpoints/")):
            request = Request(scope, receive)
            if self._authentication.identity(request.headers.get("authorization", "")) is None:
                denied = refusal(
                    "UNAUTHENTICATED", "Credential was not sent or was of an unsupported type for this API."
                )
                await request.body()
                await respond(request, denied)(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _workspace(request: Request) -> JSONResponse:
    """What every client asks first: where tokens are issued and which workspace this is."""
    reply = {"oidc_endpoint": f"{request.base_url}oidc", "workspace_id": WORKSPACE_ID, "cloud": "AWS"}
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


def _encoded(claims: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())
