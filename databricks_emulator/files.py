"""The Files API below `/api/2.0/fs`, which keeps what it is given below one directory."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterable, Callable
from pathlib import Path, PurePosixPath

from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

from databricks_emulator.errors import refusal
from databricks_emulator.rules import Rules

MEDIA_TYPE = "application/octet-stream"
PAGE = 1000
Guard = Callable[[PurePosixPath], None]


class Files:
    """Files and directories by absolute path; a guard may refuse that a path is written."""

    def __init__(self, root: Path, guard: Guard, rules: Rules) -> None:
        self._root = root.resolve()
        self._root.mkdir(parents=True, exist_ok=True)
        self._of_versions, self._rules = guard, rules

    @property
    def routes(self) -> list[Route]:
        return [
            Route("/api/2.0/fs/files/{path:path}", self._upload, methods=["PUT"]),
            Route("/api/2.0/fs/files/{path:path}", self._download, methods=["GET", "HEAD"]),
            Route("/api/2.0/fs/files/{path:path}", self._delete, methods=["DELETE"]),
            Route("/api/2.0/fs/directories/{path:path}", self._make_directory, methods=["PUT"]),
            Route("/api/2.0/fs/directories/{path:path}", self._list, methods=["GET", "HEAD"]),
            Route("/api/2.0/fs/directories/{path:path}", self._delete_directory, methods=["DELETE"]),
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

    def _guard(self, path: PurePosixPath) -> None:
        """Refuse to write where this may not be."""
        self._rules.require_file(path, "WRITE VOLUME")
        self._of_versions(path)

    def remove(self, path: PurePosixPath) -> None:
        """Remove a directory with all it holds."""
        shutil.rmtree(self.place(path), ignore_errors=True)

    def move(self, path: PurePosixPath, target: PurePosixPath) -> None:
        """Give a directory another path."""
        if self.place(path).exists():
            self.place(target).parent.mkdir(parents=True, exist_ok=True)
            self.place(path).rename(self.place(target))

    async def receive(self, path: PurePosixPath, content: AsyncIterable[bytes], *, overwrite: bool) -> None:
        """Keep a file: whole or not at all, and without `overwrite` only if there is none.

        It is taken in before it is refused: a client that is cut off while it sends does not hear why.
        """
        # Beside the root: a client that goes away in the middle leaves nothing that another one could see.
        with tempfile.TemporaryDirectory(dir=self._root.parent) as folder:
            received = Path(folder, "received")
            with received.open("wb") as file:
                async for chunk in content:
                    file.write(chunk)
            place = self.writable(path, overwrite=overwrite)
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                received.replace(place) if overwrite else os.link(received, place)
            except FileExistsError:
                raise _exists(path) from None

    def writable(self, path: PurePosixPath, *, overwrite: bool) -> Path:
        """Where a file is to lie; refused where it may not be."""
        self._guard(path)
        place = self.place(path)
        if path.parts[1:2] == ("Volumes",) and len(path.parts) < 6:
            raise refusal(
                "INVALID_PARAMETER_VALUE", f"{path} lies in no volume: /Volumes/<catalog>/<schema>/<volume>/…"
            )
        if place.is_dir():
            raise refusal("INVALID_PARAMETER_VALUE", f"{path} is a directory")
        if place.exists() and not overwrite:
            raise _exists(path)
        return place

    def readable(self, path: PurePosixPath) -> Path:
        """Where a file lies; one that is not there is refused."""
        self._rules.require_file(path, "READ VOLUME")
        place = self.place(path)
        if not place.is_file():
            raise refusal("NOT_FOUND", f"The file being accessed is not found: {path}")
        return place

    def _asked(self, request: Request) -> PurePosixPath:
        path = asked(request)
        self._rules.require_files_api(path)
        return path

    async def _upload(self, request: Request) -> Response:
        await self.receive(self._asked(request), request.stream(), overwrite=may_overwrite(request))
        return Response(status_code=204)

    async def _download(self, request: Request) -> Response:
        return FileResponse(self.readable(self._asked(request)), media_type=MEDIA_TYPE)

    async def _delete(self, request: Request) -> Response:
        path = self._asked(request)
        self._guard(path)
        self.readable(path).unlink()
        return Response(status_code=204)

    async def _make_directory(self, request: Request) -> Response:
        path = self._asked(request)
        self._guard(path)
        try:
            self.place(path).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise refusal("ALREADY_EXISTS", f"A file is in the way of the directory {path}") from None
        return Response(status_code=204)

    async def _list(self, request: Request) -> Response:
        """The directory's content, a page at a time; the token of a page is where it begins."""
        path = self._asked(request)
        place = self._directory(path)
        if request.method == "HEAD":
            return Response()
        start = int(request.query_params.get("page_token") or 0)
        end = start + min(int(request.query_params.get("page_size") or PAGE), PAGE)
        children = sorted(place.iterdir())
        more = {"next_page_token": str(end)} if end < len(children) else {}
        return JSONResponse({"contents": [_entry(path, child) for child in children[start:end]]} | more)

    async def _delete_directory(self, request: Request) -> Response:
        path = self._asked(request)
        self._guard(path)
        place = self._directory(path)
        if any(place.iterdir()):
            raise refusal("DIRECTORY_NOT_EMPTY", f"The directory is not empty: {path}")
        place.rmdir()
        return Response(status_code=204)

    def _directory(self, path: PurePosixPath) -> Path:
        self._rules.require_file(path, "READ VOLUME")
        place = self.place(path)
        if not place.is_dir():
            raise refusal("NOT_FOUND", f"The directory being accessed is not found: {path}")
        return place


def asked(request: Request) -> PurePosixPath:
    """The absolute path that a call names after the part that says what to do."""
    return PurePosixPath("/", request.path_params["path"].strip("/"))


def may_overwrite(request: Request) -> bool:
    """Whether a call may replace a file; it must say so."""
    return request.query_params.get("overwrite", "false").lower() == "true"


def _exists(path: PurePosixPath) -> Exception:
    return refusal("ALREADY_EXISTS", f"The file being created already exists: {path}")


def _entry(folder: PurePosixPath, child: Path) -> dict[str, object]:
    found = child.stat()
    entry = {"path": str(folder / child.name), "name": child.name, "is_directory": child.is_dir()}
    if child.is_dir():
        return entry
    return entry | {"file_size": found.st_size, "last_modified": int(found.st_mtime * 1000)}
