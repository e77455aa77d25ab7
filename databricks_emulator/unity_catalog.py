"""The model registry of Unity Catalog: MLflow's own database store under the rules that Unity Catalog adds."""

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag, RegisteredModel, RegisteredModelTag
from mlflow.protos import databricks_uc_registry_messages_pb2 as uc
from mlflow.protos.databricks_uc_registry_service_pb2 import UcModelRegistryService
from mlflow.store.model_registry.dbmodels.models import SqlModelVersion
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.proto_json_utils import message_to_json
from mlflow.utils.rest_utils import extract_api_info_for_service
from sqlalchemy import event
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from databricks_emulator.deployment_jobs import LINK, DeploymentJobs
from databricks_emulator.errors import refusal
from databricks_emulator.files import Files
from databricks_emulator.jobs import Jobs
from databricks_emulator.rules import Rules, check_tags
from lifecycle.storage import database_templates

PAGE = 100
LEVEL = re.compile(r"[^\s./\x00-\x1f\x7f]{1,255}")
CONDITION = re.compile(r"\s*(name|run_id)\s*=\s*(?:'([^']*)'|\"([^\"]*)\")\s*")
RESERVED_ALIAS = re.compile(r"latest|v\d+", re.IGNORECASE)
# Fields that clients of other registries send and that this one has no use for: not silently ignored.
REFUSED_FIELDS = {
    uc.SearchRegisteredModelsRequest: ("filter", "filter_string", "order_by"),
    uc.SearchModelVersionsRequest: ("order_by",),
}

OF_MODELS, READ = ("MANAGE",), ("EXECUTE",)
PRIVILEGES: dict[type[Message], tuple[str, ...]] = {
    uc.CreateRegisteredModelRequest: ("CREATE MODEL",),
    uc.UpdateRegisteredModelRequest: OF_MODELS,
    uc.DeleteRegisteredModelRequest: OF_MODELS,
    uc.SetRegisteredModelAliasRequest: OF_MODELS,
    uc.DeleteRegisteredModelAliasRequest: OF_MODELS,
    uc.CreateModelVersionRequest: ("CREATE MODEL VERSION",),
    uc.DeleteModelVersionRequest: OF_MODELS,
    uc.SetRegisteredModelTagRequest: ("APPLY TAG",),
    uc.SetModelVersionTagRequest: ("APPLY TAG",),
    uc.GetModelVersionRequest: READ,
    uc.GetModelVersionByAliasRequest: READ,
    uc.GenerateTemporaryModelVersionCredentialsRequest: READ,
}
"""What each call needs beside USE CATALOG and USE SCHEMA."""


def _pending(_mapper: object, _connection: object, version: SqlModelVersion) -> None:
    """Let a version begin its life before its files are there, in the very transaction that makes it."""
    version.status = "PENDING_REGISTRATION"


class UnityCatalog:
    """Registered models and their versions; one lock makes each request a step that others see whole."""

    def __init__(self, root: Path, rules: Rules) -> None:
        self._rules = rules
        self.files = Files(root / "files", self._guard, rules)
        if not (root / "uc.db").exists():
            database_templates.copy("mlflow", root / "uc.db")
        self._store = SqlAlchemyStore(f"sqlite:///{root / 'uc.db'}")
        self._lock = threading.RLock()
        event.listen(SqlModelVersion, "before_insert", _pending)  # not for who only imports this
        self._deployment_jobs: DeploymentJobs

    def link(self, jobs: Jobs) -> None:
        """Name the jobs to which models may be linked; they themselves need the files of this catalog."""
        self._deployment_jobs = DeploymentJobs(self._store, jobs)

    @property
    def routes(self) -> list[Route]:
        """One route for each method of the service, at the path that its definition gives."""
        methods = extract_api_info_for_service(UcModelRegistryService, "/api/2.0")
        return [self._route(message, *methods[message], answer) for message, answer in self._answers.items()]

    @property
    def _answers(self) -> dict[type[Message], Callable[[Any], Message]]:
        return {
            uc.CreateRegisteredModelRequest: self.create_model,
            uc.UpdateRegisteredModelRequest: self.update_model,
            uc.DeleteRegisteredModelRequest: self.delete_model,
            uc.GetRegisteredModelRequest: self.get_model,
            uc.SearchRegisteredModelsRequest: self.search_models,
            uc.SetRegisteredModelTagRequest: self.set_model_tag,
            uc.DeleteRegisteredModelTagRequest: self.delete_model_tag,
            uc.SetRegisteredModelAliasRequest: self.set_alias,
            uc.DeleteRegisteredModelAliasRequest: self.delete_alias,
            uc.GetModelVersionByAliasRequest: self.get_by_alias,
            uc.CreateModelVersionRequest: self.create_version,
            uc.FinalizeModelVersionRequest: self.finalize_version,
            uc.GetModelVersionRequest: self.get_version,
            uc.UpdateModelVersionRequest: self.update_version,
            uc.DeleteModelVersionRequest: self.delete_version,
            uc.SearchModelVersionsRequest: self.search_versions,
            uc.SetModelVersionTagRequest: self.set_version_tag,
            uc.DeleteModelVersionTagRequest: self.delete_version_tag,
            uc.GetModelVersionDownloadUriRequest: self.get_download_uri,
            uc.GenerateTemporaryModelVersionCredentialsRequest: self.generate_credentials,
            uc.EmitModelVersionLineageRequest: self.emit_lineage,
            uc.IsDatabricksSdkModelsArtifactRepositoryEnabledRequest: self.files_api_enabled,
        }

    def _route(self, message: type[Message], path: str, method: str, answer: Callable[[Any], Message]) -> Route:
        async def endpoint(request: Request) -> JSONResponse:
            body = await request.body()
            fields = dict(request.query_params) | (json.loads(body) if body else {})
            asked = _parsed(message, fields)
            self._check(asked)
            reply = await run_in_threadpool(self._answer, answer, asked)
            if isinstance(asked, uc.FinalizeModelVersionRequest):
                self._deployment_jobs.start(asked.name, asked.version)
            return JSONResponse(json.loads(message_to_json(reply)))

        return Route(path, endpoint, methods=[method])

    def _check(self, asked: Any) -> None:
        """Refuse what the workspace does not hold or does not permit, as it is now."""
        if "name" in asked.DESCRIPTOR.fields_by_name:
            levels = asked.name.split(".")
            self._rules.require_there(levels[:2])
            self._rules.require(("USE CATALOG",), f"Catalog '{levels[0]}'")
            self._rules.require(("USE SCHEMA",), f"Schema '{'.'.join(levels[:2])}'")
            self._rules.require(PRIVILEGES.get(type(asked), ()), f"'{asked.name}'")

    def _answer(self, answer: Callable[[Any], Message], asked: Any) -> Message:
        with self._lock:
            return answer(asked)

    def create_model(self, asked: uc.CreateRegisteredModelRequest) -> Message:
        check_tags((tag.key, tag.value) for tag in asked.tags)
        tags = [RegisteredModelTag(tag.key, tag.value) for tag in asked.tags]
        self._store.create_registered_model(asked.name, tags, asked.description or None)
        if asked.deployment_job_id:
            self._deployment_jobs.link(asked.name, asked.deployment_job_id)
        return uc.CreateRegisteredModelResponse(registered_model=self._model(asked.name))

    def update_model(self, asked: uc.UpdateRegisteredModelRequest) -> Message:
        name = asked.name
        if asked.HasField("description"):
            self._store.update_registered_model(name, asked.description)
        if asked.new_name and asked.new_name != name:
            _check_name(asked.new_name)
            self._store.rename_registered_model(name, asked.new_name)
            self.files.move(_folder(name), _folder(asked.new_name))
            name = asked.new_name
        if asked.HasField("deployment_job_id"):
            self._deployment_jobs.link(name, asked.deployment_job_id)
        return uc.UpdateRegisteredModelResponse(registered_model=self._model(name))

    def delete_model(self, asked: uc.DeleteRegisteredModelRequest) -> Message:
        self._store.delete_registered_model(asked.name)
        self.files.remove(_folder(asked.name))
        return uc.DeleteRegisteredModelResponse()

    def get_model(self, asked: uc.GetRegisteredModelRequest) -> Message:
        return uc.GetRegisteredModelResponse(registered_model=self._model(asked.name))

    def _model(self, name: str) -> uc.RegisteredModel:
        model = self._store.get_registered_model(name)
        described = _model(model)
        self._deployment_jobs.describe(model, described)
        return described

    def search_models(self, asked: uc.SearchRegisteredModelsRequest) -> Message:
        page = self._store.search_registered_models(max_results=_page_size(asked), page_token=asked.page_token or None)
        models = [_model(model, found=True) for model in page]
        return uc.SearchRegisteredModelsResponse(registered_models=models, next_page_token=page.token or None)

    def set_model_tag(self, asked: uc.SetRegisteredModelTagRequest) -> Message:
        check_tags([(asked.key, asked.value)], self._store.get_registered_model(asked.name).tags)
        self._store.set_registered_model_tag(asked.name, RegisteredModelTag(asked.key, asked.value))
        return uc.SetRegisteredModelTagResponse()

    def delete_model_tag(self, asked: uc.DeleteRegisteredModelTagRequest) -> Message:
        self._store.delete_registered_model_tag(asked.name, asked.key)
        return uc.DeleteRegisteredModelTagResponse()

    def set_alias(self, asked: uc.SetRegisteredModelAliasRequest) -> Message:
        """Point an alias at a version, also at one that is not ready: no rule is known that forbids it."""
        if RESERVED_ALIAS.fullmatch(asked.alias):
            raise refusal("INVALID_PARAMETER_VALUE", f"The alias name '{asked.alias}' is reserved.")
        self._store.set_registered_model_alias(asked.name, asked.alias, asked.version)
        return uc.SetRegisteredModelAliasResponse()

    def delete_alias(self, asked: uc.DeleteRegisteredModelAliasRequest) -> Message:
        self._version_behind(asked.name, asked.alias)
        self._store.delete_registered_model_alias(asked.name, asked.alias)
        return uc.DeleteRegisteredModelAliasResponse()

    def get_by_alias(self, asked: uc.GetModelVersionByAliasRequest) -> Message:
        version = self._store.get_model_version(asked.name, self._version_behind(asked.name, asked.alias))
        return uc.GetModelVersionByAliasResponse(model_version=_version(version))

    def create_version(self, asked: uc.CreateModelVersionRequest) -> Message:
        """Make the next version; its origin is kept as JSON because the store would resolve a `models:/` source."""
        check_tags((tag.key, tag.value) for tag in asked.tags)
        fields = ("source", "model_id", "run_tracking_server_id")
        origin = {field: getattr(asked, field) for field in fields if asked.HasField(field)}
        version = self._store.create_model_version(
            asked.name,
            source=json.dumps(origin),
            run_id=asked.run_id or None,
            tags=[ModelVersionTag(tag.key, tag.value) for tag in asked.tags],
            description=asked.description or None,
        )
        return uc.CreateModelVersionResponse(model_version=_version(version))

    def finalize_version(self, asked: uc.FinalizeModelVersionRequest) -> Message:
        with self._store.ManagedSessionMaker(read_only=False) as session:
            self._store._get_sql_model_version(session, asked.name, int(asked.version)).status = "READY"
        version = self._store.get_model_version(asked.name, asked.version)
        return uc.FinalizeModelVersionResponse(model_version=_version(version))

    def get_version(self, asked: uc.GetModelVersionRequest) -> Message:
        return uc.GetModelVersionResponse(model_version=_version(self._found(asked)))

    def update_version(self, asked: uc.UpdateModelVersionRequest) -> Message:
        self._store.update_model_version(asked.name, asked.version, asked.description)
        return uc.UpdateModelVersionResponse(model_version=_version(self._found(asked)))

    def delete_version(self, asked: uc.DeleteModelVersionRequest) -> Message:
        self._store.delete_model_version(asked.name, asked.version)
        self.files.remove(_folder(asked.name) / asked.version)
        return uc.DeleteModelVersionResponse()

    def search_versions(self, asked: uc.SearchModelVersionsRequest) -> Message:
        condition = CONDITION.fullmatch(asked.filter)
        if condition is None:
            message = f"Unsupported filter query: {asked.filter!r}; use one of name = '...' and run_id = '...'"
            raise refusal("INVALID_PARAMETER_VALUE", message)
        if condition[1] == "name":
            _check_name(condition[2] or condition[3])
        page = self._store.search_model_versions(
            asked.filter, max_results=_page_size(asked), page_token=asked.page_token or None
        )
        versions = [_version(version, found=True) for version in page]
        return uc.SearchModelVersionsResponse(model_versions=versions, next_page_token=page.token or None)

    def set_version_tag(self, asked: uc.SetModelVersionTagRequest) -> Message:
        check_tags([(asked.key, asked.value)], self._found(asked).tags)
        self._store.set_model_version_tag(asked.name, asked.version, ModelVersionTag(asked.key, asked.value))
        return uc.SetModelVersionTagResponse()

    def delete_version_tag(self, asked: uc.DeleteModelVersionTagRequest) -> Message:
        self._store.delete_model_version_tag(asked.name, asked.version, asked.key)
        return uc.DeleteModelVersionTagResponse()

    def get_download_uri(self, asked: uc.GetModelVersionDownloadUriRequest) -> Message:
        return uc.GetModelVersionDownloadUriResponse(artifact_uri=_version(self._found(asked)).storage_location)

    def generate_credentials(self, asked: uc.GenerateTemporaryModelVersionCredentialsRequest) -> Message:
        """Name the default storage, which needs no credentials of a cloud; a finished version is only read."""
        version = self._found(asked)
        if asked.operation == uc.MODEL_VERSION_OPERATION_READ_WRITE:
            _check_pending(version)
        default = uc.TemporaryCredentials(storage_mode=uc.StorageMode.DEFAULT_STORAGE)
        return uc.GenerateTemporaryModelVersionCredentialsResponse(credentials=default)

    def emit_lineage(self, asked: uc.EmitModelVersionLineageRequest) -> Message:
        self._found(asked)
        return uc.EmitModelVersionLineageResponse()

    def files_api_enabled(self, _: uc.IsDatabricksSdkModelsArtifactRepositoryEnabledRequest) -> Message:
        enabled = {"is_databricks_sdk_models_artifact_repository_enabled": True}
        return uc.IsDatabricksSdkModelsArtifactRepositoryEnabledResponse(**enabled)

    def _found(self, asked: Any) -> ModelVersion:
        return self._store.get_model_version(asked.name, asked.version)

    def _version_behind(self, name: str, alias: str) -> str:
        """The number an alias points at; the store itself answers a missing one with another error code."""
        aliases = self._store.get_registered_model(name).aliases
        if alias not in aliases:
            raise refusal("RESOURCE_DOES_NOT_EXIST", f"Alias '{alias}' does not exist for model '{name}'.")
        return str(aliases[alias])

    def folder_of(self, name: str, number: str) -> Path:
        """Where the files of a finished version lie on disk."""
        _check_name(name)
        version = self._store.get_model_version(name, number)
        if version.status != "READY":
            raise refusal("INVALID_PARAMETER_VALUE", f"Version {number} of {name} is {version.status}.")
        return self.files.place(_folder(name) / number)

    def _guard(self, path: PurePosixPath) -> None:
        """Refuse to write the files of a version that does not exist or is finished."""
        match path.parts:
            case ("/", "Models", catalog, schema, model, version, _, *_):
                with self._lock:
                    _check_pending(self._store.get_model_version(f"{catalog}.{schema}.{model}", version))
            case ("/", "Models", *_):
                raise refusal("PERMISSION_DENIED", f"{path} belongs to no model version")


def _parsed(message: type[Message], fields: dict[str, Any]) -> Message:
    """The request that the fields of a call make, after the rules that hold for every request."""
    for field in REFUSED_FIELDS.get(message, ()):
        if fields.get(field):
            raise refusal("INVALID_PARAMETER_VALUE", f"Argument '{field}' is unsupported in the Unity Catalog.")
    try:
        asked = ParseDict(fields, message(), ignore_unknown_fields=True)
    except ParseError as error:
        raise refusal("INVALID_PARAMETER_VALUE", str(error)) from error
    if "name" in message.DESCRIPTOR.fields_by_name:
        _check_name(asked.name)
    if "version" in message.DESCRIPTOR.fields_by_name and not re.fullmatch(r"[1-9][0-9]{0,8}", asked.version):
        raise refusal("INVALID_PARAMETER_VALUE", f"Invalid model version: '{asked.version}'")
    return asked


def _check_name(name: str) -> None:
    levels = name.split(".")
    if len(levels) != 3 or not all(LEVEL.fullmatch(level) for level in levels):
        message = f"'{name}' is not a valid name: specify all three levels, 'catalog.schema.model'."
        raise refusal("INVALID_PARAMETER_VALUE", message)


def _check_pending(version: ModelVersion) -> None:
    if version.status != "PENDING_REGISTRATION":
        message = f"Version {version.version} of {version.name} is {version.status}: its files cannot be written."
        raise refusal("PERMISSION_DENIED", message)


def _folder(name: str) -> PurePosixPath:
    return PurePosixPath("/Models", *name.split("."))


def _page_size(asked: Any) -> int:
    return min(asked.max_results or PAGE, PAGE)


def _model(model: RegisteredModel, *, found: bool = False) -> uc.RegisteredModel:
    """A model as the service describes it; one that was found by a search comes without tags and aliases."""
    described = uc.RegisteredModel(
        name=model.name,
        creation_timestamp=model.creation_timestamp,
        last_updated_timestamp=model.last_updated_timestamp,
        description=model.description,
    )
    if not found:
        described.aliases.extend(uc.RegisteredModelAlias(alias=a, version=str(v)) for a, v in model.aliases.items())
        described.tags.extend(
            uc.RegisteredModelTag(key=key, value=value) for key, value in model.tags.items() if key != LINK
        )
    return described


def _version(version: ModelVersion, *, found: bool = False) -> uc.ModelVersion:
    """A version as the service describes it; one that was found by a search comes without tags and aliases."""
    number = str(version.version)
    described = uc.ModelVersion(
        name=version.name,
        version=number,
        creation_timestamp=version.creation_timestamp,
        last_updated_timestamp=version.last_updated_timestamp,
        description=version.description,
        run_id=version.run_id,
        status=uc.ModelVersionStatus.Value(version.status),
        storage_location=f"s3://unity-catalog{_folder(version.name) / number}",
        **json.loads(version.source),
    )
    if not found:
        described.aliases.extend(uc.RegisteredModelAlias(alias=alias, version=number) for alias in version.aliases)
        described.tags.extend(uc.ModelVersionTag(key=key, value=value) for key, value in version.tags.items())
    return described
