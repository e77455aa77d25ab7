"""The workspace's own tree of notebooks and files, below `/api/2.0/workspace`.

`/Workspace/Shared/a` and `/Shared/a` are the same object. A notebook is kept as source without a suffix and begins with
`# Databricks notebook source`; whatever does not is a file.
"""

import base64
import binascii
import email
import email.policy
import json
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from databricks_emulator.auth import USER
from databricks_emulator.errors import refusal
from databricks_emulator.files import Files

HEADER = "# Databricks notebook source"
CELL = "\n\n# COMMAND ----------\n\n"
MOST_BYTES = 10 * 1024 * 1024


class Workspace:
    """Notebooks, files and directories by absolute path; they lie where the Files API keeps `/Workspace`."""

    def __init__(self, files: Files) -> None:
        self._files = files
        for path in ("/Shared", f"/Users/{USER}"):
            self.place(path).mkdir(parents=True, exist_ok=True)

    @property
    def routes(self) -> list[Route]:
        changes = {"import": self._import, "mkdirs": self._make_directories, "delete": self._delete}
        reads = {"get-status": self._status, "list": self._list, "export": self._export}
        return [
            *(Route(f"/api/2.0/workspace/{name}", answer, methods=["POST"]) for name, answer in changes.items()),
            *(Route(f"/api/2.0/workspace/{name}", answer, methods=["GET"]) for name, answer in reads.items()),
        ]

    def place(self, path: str) -> Path:
        """Where an object lies on disk, whether it is there or not."""
        if not path.startswith("/"):
            raise refusal("INVALID_PARAMETER_VALUE", f"Path ({path}) doesn't start with '/'")
        names = PurePosixPath(path).parts[1:]
        return self._files.place(PurePosixPath("/Workspace", *(names[1:] if names[:1] == ("Workspace",) else names)))

    def found(self, path: str) -> Path:
        """Where an object lies on disk; one that is not there is refused."""
        place = self.place(path)
        if not place.exists():
            raise refusal("RESOURCE_DOES_NOT_EXIST", f"Path ({path}) doesn't exist.")
        return place

    async def _import(self, request: Request) -> Response:
        fields = _fields(await request.body(), request.headers.get("content-type", ""))
        path, content = str(fields.get("path", "")), _content(fields)
        name, content = _imported(path, content, str(fields.get("format", "SOURCE")), fields.get("language"))
        place = self.place(path).with_name(name)
        if not place.parent.is_dir():
            raise refusal(
                "RESOURCE_DOES_NOT_EXIST", f"The parent folder ({PurePosixPath(path).parent}) does not exist."
            )
        overwrite = str(fields.get("overwrite", "false")).lower() == "true"
        if place.is_dir() or (place.exists() and not overwrite):
            raise refusal("RESOURCE_ALREADY_EXISTS", f"Path ({path}) already exists.")
        place.write_bytes(content)
        return JSONResponse({"object_id": place.stat().st_ino})

    async def _make_directories(self, request: Request) -> Response:
        path = str((await request.json()).get("path", ""))
        try:
            self.place(path).mkdir(parents=True, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise refusal("RESOURCE_ALREADY_EXISTS", f"A file is in the way of the directory {path}.") from None
        return JSONResponse({})

    async def _delete(self, request: Request) -> Response:
        asked = await request.json()
        path, place = asked.get("path", ""), self.found(asked.get("path", ""))
        if place.is_file():
            place.unlink()
        elif any(place.iterdir()) and not asked.get("recursive"):
            raise refusal("DIRECTORY_NOT_EMPTY", f"Folder ({path}) is not empty.")
        else:
            shutil.rmtree(place)
        return JSONResponse({})

    async def _status(self, request: Request) -> Response:
        path = request.query_params.get("path", "")
        return JSONResponse(_object(path, self.found(path)))

    async def _list(self, request: Request) -> Response:
        path = request.query_params.get("path", "")
        place = self.found(path)
        if place.is_file():
            return JSONResponse({"objects": [_object(path, place)]})
        children = [_object(str(PurePosixPath(path, child.name)), child) for child in sorted(place.iterdir())]
        return JSONResponse({"objects": children} if children else {})

    async def _export(self, request: Request) -> Response:
        path, wanted = request.query_params.get("path", ""), request.query_params.get("format", "SOURCE")
        place = self.found(path)
        if place.is_dir() or wanted not in {"SOURCE", "AUTO"}:
            raise refusal("NOT_IMPLEMENTED", f"The export of {path} as {wanted} is not emulated.")
        content, notebook = place.read_bytes(), _is_notebook(place)
        if request.query_params.get("direct_download") == "true":
            return Response(content, media_type="application/octet-stream")
        suffix = "py" if notebook else place.suffix.removeprefix(".")
        return JSONResponse({"content": base64.b64encode(content).decode(), "file_type": suffix})


def _fields(body: bytes, content_type: str) -> dict[str, Any]:
    """The fields of an import: JSON with the content in base64, or a form whose content is a file."""
    if not content_type.startswith("multipart/form-data"):
        return dict(json.loads(body or b"{}"))
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    form = email.message_from_bytes(head + body, policy=email.policy.HTTP)
    parts = {str(part.get_param("name", header="content-disposition")): part for part in form.iter_parts()}
    values = {name: part.get_payload(decode=True) for name, part in parts.items()}
    return {name: value if name == "content" else value.decode().strip() for name, value in values.items()}


def _content(fields: dict[str, Any]) -> bytes:
    given = fields.get("content", b"")
    try:
        content = given if isinstance(given, bytes) else base64.b64decode(given, validate=True)
    except (binascii.Error, TypeError):
        raise refusal("INVALID_PARAMETER_VALUE", "The content is not base64.") from None
    if len(content) > MOST_BYTES:
        raise refusal("MAX_NOTEBOOK_SIZE_EXCEEDED", f"File size imported is ({len(content)} bytes), over 10 MB.")
    return content


def _imported(path: str, content: bytes, form: str, language: str | None) -> tuple[str, bytes]:
    """The name and the bytes under which an import is kept: as a notebook, or as the file that it is."""
    pure, is_source = PurePosixPath(path), content.startswith(HEADER.encode())
    if not pure.name:
        raise refusal("INVALID_PARAMETER_VALUE", f"{path!r} names no object.")
    if form == "JUPYTER":
        return pure.name, _from_jupyter(content)
    if form == "SOURCE":
        if language is None:
            raise refusal("INVALID_PARAMETER_VALUE", f"The language must be set to import {path} as SOURCE.")
        if language != "PYTHON":
            raise refusal("NOT_IMPLEMENTED", f"Notebooks in {language} are not emulated: {path}")
        return pure.name, content if is_source else f"{HEADER}\n".encode() + content
    if form != "AUTO":
        raise refusal("NOT_IMPLEMENTED", f"The import of {path} as {form} is not emulated.")
    if pure.suffix == ".ipynb":
        return pure.stem, _from_jupyter(content)
    return (pure.stem, content) if pure.suffix == ".py" and is_source else (pure.name, content)


def _from_jupyter(content: bytes) -> bytes:
    """The source form of a Jupyter notebook; text cells become magic comments, as in an export."""
    try:
        cells = [(cell["cell_type"], "".join(cell["source"])) for cell in json.loads(content)["cells"]]
    except (ValueError, KeyError, TypeError):
        raise refusal("INVALID_PARAMETER_VALUE", "The content is not a Jupyter notebook.") from None
    sources = [source if kind == "code" else _magic(source) for kind, source in cells]
    return f"{HEADER}\n{CELL.join(sources)}\n".encode()


def _magic(text: str) -> str:
    return "\n".join(f"# MAGIC {line}".rstrip() for line in ("%md", *text.splitlines()))


def _is_notebook(place: Path) -> bool:
    with place.open("rb") as file:
        return file.read(len(HEADER)) == HEADER.encode()


def _object(path: str, place: Path) -> dict[str, Any]:
    """What the workspace says about an object."""
    about: dict[str, Any] = {"path": path, "object_id": place.stat().st_ino}
    if place.is_dir():
        return about | {"object_type": "DIRECTORY"}
    if _is_notebook(place):
        return about | {"object_type": "NOTEBOOK", "language": "PYTHON"}
    times = {"created_at": int(place.stat().st_ctime * 1000), "modified_at": int(place.stat().st_mtime * 1000)}
    return about | times | {"object_type": "FILE", "size": place.stat().st_size}
