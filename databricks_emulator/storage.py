"""The cloud storage below the Files API: URLs that are signed for one file, and large files in parts.

Whoever holds such a URL needs no token, as with a cloud's own storage, until the URL expires.
"""

import hashlib
import hmac
import secrets
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from databricks_emulator.errors import refusal
from databricks_emulator.files import MEDIA_TYPE, Files, asked, may_overwrite
from databricks_emulator.rules import Rules

SECONDS = 900


class Upload(NamedTuple):
    """A file that is being uploaded in parts."""

    path: PurePosixPath
    overwrite: bool
    folder: Path


class Storage:
    """Signs URLs and serves them; what is uploaded in parts appears when it is completed."""

    def __init__(self, root: Path, files: Files, rules: Rules) -> None:
        self._files, self._rules = files, rules
        self._parts = root / "parts"
        shutil.rmtree(self._parts, ignore_errors=True)
        self._uploads: dict[str, Upload] = {}
        self._key = secrets.token_bytes(32)

    @property
    def routes(self) -> list[Route]:
        signers = {
            "create-download-url": self._sign_download,
            "create-upload-url": self._sign_upload,
            "create-upload-part-urls": self._sign_parts,
            "create-abort-upload-url": self._sign_abort,
        }
        served = {"GET": self._download, "PUT": self._upload, "DELETE": self._abort}
        return [
            *(Route(f"/api/2.0/fs/{name}", sign, methods=["POST"]) for name, sign in signers.items()),
            Route("/api/2.0/fs/files/{path:path}", self._in_parts, methods=["POST"]),
            *(Route("/emulator/storage/{path:path}", answer, methods=[method]) for method, answer in served.items()),
        ]

    async def _sign_download(self, request: Request) -> JSONResponse:
        """Of the path in the query, as the SDK asks, or in the body, as MLflow does."""
        path = PurePosixPath(request.query_params.get("path") or (await request.json())["path"])
        self._rules.require_files_api(path)
        self._files.readable(path)
        return JSONResponse({"url": self.signed(request, "GET", path), "headers": []})

    async def _sign_upload(self, request: Request) -> JSONResponse:
        path = PurePosixPath((await request.json())["path"])
        self._rules.require_files_api(path)
        self._files.writable(path, overwrite=True)
        return JSONResponse({"url": self.signed(request, "PUT", path), "headers": []})

    async def _sign_parts(self, request: Request) -> JSONResponse:
        body = await request.json()
        upload, first = self._upload_of(body["session_token"]), int(body["start_part_number"])
        urls = [
            {
                "part_number": number,
                "url": self.signed(request, "PUT", upload.path, session=body["session_token"], part=str(number)),
                "headers": [],
            }
            for number in range(first, first + int(body["count"]))
        ]
        return JSONResponse({"upload_part_urls": urls})

    async def _sign_abort(self, request: Request) -> JSONResponse:
        body = await request.json()
        upload = self._upload_of(body["session_token"])
        url = self.signed(request, "DELETE", upload.path, session=body["session_token"])
        return JSONResponse({"abort_upload_url": {"url": url, "headers": []}})

    async def _in_parts(self, request: Request) -> Response:
        """Begin or complete an upload in parts."""
        action, path = request.query_params.get("action"), asked(request)
        self._rules.require_files_api(path)
        if action == "initiate-upload":
            self._files.writable(path, overwrite=may_overwrite(request))
            session, folder = secrets.token_hex(8), self._parts / secrets.token_hex(8)
            folder.mkdir(parents=True)
            self._uploads[session] = Upload(path, may_overwrite(request), folder)
            return JSONResponse({"multipart_upload": {"session_token": session}})
        if action != "complete-upload":
            raise refusal("INVALID_PARAMETER_VALUE", f"There is no action {action!r}.")
        session = request.query_params.get("session_token", "")
        upload = self._upload_of(session)
        named = [(int(part["part_number"]), part["etag"]) for part in (await request.json())["parts"]]
        await self._files.receive(upload.path, _joined(upload, named), overwrite=upload.overwrite)
        shutil.rmtree(self._uploads.pop(session).folder)
        return Response(status_code=200)

    async def _download(self, request: Request) -> Response:
        self._check(request)
        return FileResponse(self._files.readable(asked(request)), media_type=MEDIA_TYPE)

    async def _upload(self, request: Request) -> Response:
        self._check(request)
        session = request.query_params.get("session")
        if session is None:
            await self._files.receive(asked(request), request.stream(), overwrite=True)
            return Response(status_code=200)
        part = self._upload_of(session).folder / request.query_params["part"]
        part.write_bytes(await request.body())
        return Response(status_code=200, headers={"ETag": _etag(part)})

    async def _abort(self, request: Request) -> Response:
        self._check(request)
        shutil.rmtree(self._uploads.pop(request.query_params["session"]).folder)
        return Response(status_code=200)

    def _upload_of(self, session: str) -> Upload:
        if session not in self._uploads:
            raise refusal("NOT_FOUND", "There is no such upload.")
        return self._uploads[session]

    def signed(self, request: Request, method: str, path: PurePosixPath, **about: str) -> str:
        """A URL that allows one method on one file for some minutes."""
        about["expires"] = str(int(time.time()) + SECONDS)
        query = urlencode(about | {"signature": self._signature(method, str(path), about)})
        return f"{request.base_url}emulator/storage{quote(str(path))}?{query}"

    def _check(self, request: Request) -> None:
        about = dict(request.query_params)
        given = about.pop("signature", "")
        expected = self._signature(request.method, str(asked(request)), about)
        if not hmac.compare_digest(given, expected) or int(about["expires"]) < time.time():
            raise refusal("PERMISSION_DENIED", "The signature of the URL is wrong or has expired.")

    def _signature(self, method: str, path: str, about: dict[str, str]) -> str:
        text = "\n".join([method, path, *(f"{name}={value}" for name, value in sorted(about.items()))])
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


async def _joined(upload: Upload, named: list[tuple[int, str]]) -> AsyncIterator[bytes]:
    """The parts in order; every one must be what the client was told that it had uploaded."""
    for number, etag in sorted(named):
        part = upload.folder / str(number)
        if not part.is_file() or _etag(part) != etag:
            raise refusal("INVALID_PARAMETER_VALUE", f"Part {number} is not what was uploaded.")
        yield part.read_bytes()


def _etag(part: Path) -> str:
    return f'"{hashlib.sha256(part.read_bytes()).hexdigest()}"'
