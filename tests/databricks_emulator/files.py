"""The Files API below `/api/2.0/fs`, which keeps what it is given below one directory."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from tests.databricks_emulator.errors import refusal

MEDIA_TYPE = "application/octet-stream"
Guard = Callable[[PurePosixPath], None]


class Files:
    """Files and directories by absolute path; a guard may refuse that a path is written."""

    def __init__(self, root: Path, guard: Guard) -> None:
        self._root = root.resolve()
        self._root.mkdir(parents=True, exist_ok=True)
        self._guard = guard

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/api/2.0/fs/files/{path:path}", self._upload, methods=["PUT"]),
            Route("/api/2.0/fs/files/{path:path}", self._download, methods=["GET", "HEAD"]),
            Route("/api/2.0/fs/files/{path:path}", self._delete, methods=["DELETE"]),
            Route("/api/2.0/fs/directories/{path:path}", self._make_directory, methods=["PUT"]),
            Route("/api/2.0/fs/directories/{path:path}", self._list, methods=["GET", "HEAD"]),
            Route("/api/2.0/fs/directories/{path:path}", self._delete_directory, methods=["DELETE"]),
            Route("/api/2.0/fs/create-download-url", _no_presigned_urls, methods=["POST"]),
            Route("/api/2.0/fs/create-upload-url", _no_presigned_urls, methods=["POST"]),
            Route("/api/2.0/fs/create-upload-part-urls", _no_presigned_urls, methods=["POST"]),
        ]

    def place(self, path: PurePosixPath) -> Path:
        """Where an absolute path lies on disk; a path that leads out of the root is refused."""
        names = path.parts[1:]
        if not names or any(name in {"..", "."} or "\0" in name for name in names):
            raise refusal("INVALID_PARAMETER_VALUE", f"Invalid path: {path}")
        place = self._root.joinpath(*names)
        if not place.resolve().is_relative_to(self._root):
            raise refusal("INVALID_PARAMETER_VALUE", f"Invalid path: {path}")
        return place

    def remove(self, path: PurePosixPath) -> None:
        """Remove a directory with all it holds."""
        shutil.rmtree(self.place(path), ignore_errors=True)

    def move(self, path: PurePosixPath, target: PurePosixPath) -> None:
        """Give a directory another path."""
        if self.place(path).exists():
            self.place(target).parent.mkdir(parents=True, exist_ok=True)
            self.place(path).rename(self.place(target))

    async def _upload(self, request: Request) -> Response:
        path, place = self._asked(request)
        self._guard(path)
        if place.is_dir():
            raise refusal("INVALID_PARAMETER_VALUE", f"{path} is a directory")
        if place.exists() and request.query_params.get("overwrite", "false").lower() != "true":
            raise refusal("ALREADY_EXISTS", f"The file being created already exists: {path}")
        # A client that goes away in the middle leaves nothing: the file appears whole or not at all.
        with tempfile.TemporaryDirectory(dir=self._root.parent) as folder:
            received = Path(folder, "received")
            with received.open("wb") as file:
                async for chunk in request.stream():
                    file.write(chunk)
            place.parent.mkdir(parents=True, exist_ok=True)
            received.replace(place)
        return Response(status_code=204)

    async def _download(self, request: Request) -> Response:
        path, place = self._asked(request)
        if not place.is_file():
            raise refusal("NOT_FOUND", f"The file being accessed is not found: {path}")
        return FileResponse(place, media_type=MEDIA_TYPE)

    async def _delete(self, request: Request) -> Response:
        path, place = self._asked(request)
        self._guard(path)
        if not place.is_file():
            raise refusal("NOT_FOUND", f"The file being accessed is not found: {path}")
        place.unlink()
        return Response(status_code=204)

    async def _make_directory(self, request: Request) -> Response:
        path, place = self._asked(request)
        self._guard(path)
        place.mkdir(parents=True, exist_ok=True)
        return Response(status_code=204)

    async def _list(self, request: Request) -> Response:
        path, place = self._asked(request)
        if not place.is_dir():
            raise refusal("NOT_FOUND", f"The directory being accessed is not found: {path}")
        if request.method == "HEAD":
            return Response()
        return JSONResponse({"contents": [_entry(path, child) for child in sorted(place.iterdir())]})

    async def _delete_directory(self, request: Request) -> Response:
        path, place = self._asked(request)
        self._guard(path)
        if not place.is_dir():
            raise refusal("NOT_FOUND", f"The directory being accessed is not found: {path}")
        if any(place.iterdir()):
            raise refusal("DIRECTORY_NOT_EMPTY", f"The directory is not empty: {path}")
        place.rmdir()
        return Response(status_code=204)

    def _asked(self, request: Request) -> tuple[PurePosixPath, Path]:
        path = PurePosixPath("/", request.path_params["path"].strip("/"))
        return path, self.place(path)


def _entry(folder: PurePosixPath, child: Path) -> dict[str, object]:
    found = child.stat()
    entry = {"path": str(folder / child.name), "name": child.name, "is_directory": child.is_dir()}
    if child.is_dir():
        return entry
    return entry | {"file_size": found.st_size, "last_modified": int(found.st_mtime * 1000)}


async def _no_presigned_urls(_: Request) -> JSONResponse:
    """Refuse as a workspace without presigned URLs does, at which the SDK turns to the Files API itself."""
    detail = {
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": "FILES_API_API_IS_NOT_ENABLED",
        "domain": "filesystem.databricks.com",
    }
    body = {"error_code": "PERMISSION_DENIED", "message": "Presigned URLs are not enabled.", "details": [detail]}
    return JSONResponse(body, 403)
