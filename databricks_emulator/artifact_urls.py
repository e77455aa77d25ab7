"""Signed URLs for the files of runs and logged models: MLflow's way to them where the Files API does not let it in."""

from collections.abc import Awaitable, Callable
from pathlib import Path, PurePosixPath

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from databricks_emulator.files import Files
from databricks_emulator.storage import Storage
from databricks_emulator.tracking import ARTIFACTS, Tracking

KIND = "AWS_PRESIGNED_URL"
OF_RUN, OF_MODEL = "/api/2.0/mlflow/artifacts", "/api/2.0/mlflow/logged-models/{model_id}/artifacts"
Answer = Callable[[Request], Awaitable[JSONResponse]]


class ArtifactUrls:
    """What MLflow's own fallback asks: where to read or write a file, and what there is."""

    def __init__(self, files: Files, storage: Storage, tracking: Tracking) -> None:
        self._files, self._storage, self._tracking = files, storage, tracking

    @property
    def routes(self) -> list[Route]:
        return [
            Route(f"{OF_RUN}/credentials-for-read", self._of_run("GET"), methods=["POST"]),
            Route(f"{OF_RUN}/credentials-for-write", self._of_run("PUT"), methods=["POST"]),
            Route(f"{OF_RUN}/list", self._list, methods=["GET"]),
            Route(f"{OF_MODEL}/credentials-for-download", self._of_model("GET"), methods=["POST"]),
            Route(f"{OF_MODEL}/credentials-for-upload", self._of_model("PUT"), methods=["POST"]),
            Route(f"{OF_MODEL}/directories", self._list, methods=["GET"]),
        ]

    def _of_run(self, method: str) -> Answer:
        async def answer(request: Request) -> JSONResponse:
            asked = await request.json()
            signed = self._signed(request, method, await self._root(run_id=asked["run_id"]), asked["path"])
            return JSONResponse({"credential_infos": [{"run_id": asked["run_id"], **each} for each in signed]})

        return answer

    def _of_model(self, method: str) -> Answer:
        async def answer(request: Request) -> JSONResponse:
            root = await self._root(**request.path_params)
            signed = self._signed(request, method, root, (await request.json())["paths"])
            return JSONResponse({"credentials": [{"credential_info": each} for each in signed]})

        return answer

    def _signed(self, request: Request, method: str, root: PurePosixPath, paths: list[str]) -> list[dict[str, str]]:
        """A URL for each file; one that is not there is not signed for reading."""
        places = {path: root / path for path in paths}
        for place in places.values() if method == "GET" else ():
            self._files.readable(place)
        urls = {path: self._storage.signed(request, method, place) for path, place in places.items()}
        return [{"path": path, "signed_uri": url, "type": KIND} for path, url in urls.items()]

    async def _list(self, request: Request) -> JSONResponse:
        """What lies in a folder of a run or of a model; of a file, the file itself."""
        asked = dict(request.query_params) | request.path_params
        root = await self._root(**{name: asked[name] for name in ("run_id", "model_id") if name in asked})
        path = asked.get("path") or asked.get("artifact_directory_path") or ""
        place, base = self._files.place(root / path), self._files.place(root)
        found = sorted(place.iterdir()) if place.is_dir() else [place] if place.is_file() else []
        return JSONResponse({"root_uri": str(root), "files": [_described(each, base) for each in found]})

    async def _root(self, run_id: str = "", model_id: str = "") -> PurePosixPath:
        """Where the files of a run or a logged model lie for the Files API, by the URI that MLflow's server gives."""
        uri = await run_in_threadpool(self._tracking.artifact_uri, run_id, model_id)
        experiment, *levels = uri.removeprefix(f"{ARTIFACTS}/").split("/")
        if run_id:
            return PurePosixPath("/WorkspaceInternal/Mlflow/Artifacts", experiment, "Runs", *levels)
        return PurePosixPath("/WorkspaceInternal/Mlflow/Artifacts", experiment, "LoggedModels", *levels[1:])


def _described(child: Path, base: Path) -> dict[str, object]:
    entry: dict[str, object] = {"path": child.relative_to(base).as_posix(), "is_dir": child.is_dir()}
    return entry if child.is_dir() else entry | {"file_size": child.stat().st_size}
