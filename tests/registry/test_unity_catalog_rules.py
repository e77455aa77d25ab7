"""The real MLflow client against the emulated Unity Catalog: what it can do there and what it is refused."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import mlflow
import pandas as pd
import pytest
import requests
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, Schema

from databricks_emulator import Emulator, running
from tests.conftest import exhaustive

# The model stands for any that has a signature; how it came by one is not the point here.
pytestmark = pytest.mark.filterwarnings("ignore:.*input example:UserWarning")

CODE = """
import mlflow
import pandas as pd

class Shout(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        return [text.upper() for text in model_input["text"]]

mlflow.models.set_model(Shout())
"""
SIGNATURE = ModelSignature(Schema([ColSpec("string", "text")]), Schema([ColSpec("string")]))
REGISTRY = "/api/2.0/mlflow/unity-catalog"
FIVE_VERSIONS = """
import requests, sys
url, token, name = sys.argv[1:]
for _ in range(5):
    asked = {"name": name, "source": "nowhere"}
    reply = requests.post(f"{url}/model-versions/create", json=asked, headers={"Authorization": f"Bearer {token}"})
    print(reply.json()["model_version"]["version"])
"""


class Workplace(NamedTuple):
    """Local tracking, a copy of a model that was logged there, and a model that has no signature."""

    tracking_uri: str
    folder: Path
    unsigned: Path


@pytest.fixture(scope="module")
def emulator(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[Emulator]:
    root = tmp_path_factory.mktemp("workspace")
    shutil.copy(migrated, root / "uc.db")
    with running(root) as found:
        yield found


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Workplace:
    folder = tmp_path_factory.mktemp("tracking")
    shutil.copy(migrated, folder / "mlflow.db")
    code = folder / "shout.py"
    code.write_text(CODE, encoding="utf-8")
    before = mlflow.get_tracking_uri()
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(uri)
    try:
        experiment = MlflowClient(uri).create_experiment("any", (folder / "artifacts").as_uri())
        with mlflow.start_run(experiment_id=experiment):
            logged = log_shout(folder)
        signed = Path(mlflow.artifacts.download_artifacts(logged.model_uri, dst_path=str(folder / "signed")))
    finally:
        mlflow.set_tracking_uri(before)
    mlflow.pyfunc.save_model(folder / "unsigned", python_model=str(code), pip_requirements=["mlflow"])
    return Workplace(uri, signed, folder / "unsigned")


def log_shout(folder: Path) -> ModelInfo:
    code = str(folder / "shout.py")
    return mlflow.pyfunc.log_model(name="shout", python_model=code, signature=SIGNATURE, pip_requirements=["mlflow"])


@pytest.fixture(autouse=True)
def _environment(emulator: Emulator, workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A client that reaches the emulator by access token and tracks in a local database."""
    for name, value in emulator.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", "/nonexistent")
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(workplace.tracking_uri)
    mlflow.set_registry_uri("databricks-uc")
    yield
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1] if before[1] != before[0] else "")


@pytest.fixture
def client(workplace: Workplace) -> MlflowClient:
    return MlflowClient(workplace.tracking_uri, "databricks-uc")


@pytest.fixture
def name(request: pytest.FixtureRequest, client: MlflowClient) -> str:
    """A registered model of the test's own."""
    chosen = f"dev.ml.{request.node.originalname}"
    client.create_registered_model(chosen, tags={"owner": "tests"}, description="shouts")
    return chosen


def call(emulator: Emulator, method: str, path: str, **fields: object) -> requests.Response:
    """A bare call to the registry, as no client would make it."""
    headers = {"Authorization": f"Bearer {emulator.token}"}
    return requests.request(method, f"{emulator.url}{REGISTRY}/{path}", json=fields, headers=headers, timeout=240)


def pending(emulator: Emulator, name: str, **fields: object) -> dict:
    """A version whose files are not there yet."""
    created = call(emulator, "POST", "model-versions/create", name=name, source="nowhere", **fields)
    created.raise_for_status()
    return created.json()["model_version"]


def contents(folder: Path) -> dict[str, bytes]:
    """The files of a model but the one in which the client notes where it downloaded it from."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "registered_model_meta"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def refused(code: str, text: str | None = None):
    """Expect an error with this code and text."""
    return pytest.raises(MlflowException, match=text, check=lambda error: error.error_code == code)


def test_a_registered_model_comes_back_byte_for_byte(
    client: MlflowClient, name: str, workplace: Workplace, tmp_path: Path
) -> None:
    version = client.create_model_version(name, str(workplace.folder), tags={"digest": "abc"}, description="first")
    client.set_registered_model_alias(name, "champion", version.version)
    assert (version.version, version.status, version.tags, version.description) == (
        "1",
        "READY",
        {"digest": "abc"},
        "first",
    )
    downloaded = mlflow.artifacts.download_artifacts(f"models:/{name}@champion", dst_path=str(tmp_path))
    assert contents(Path(downloaded)) == contents(workplace.folder)


def test_a_registered_model_loads_and_predicts_by_alias(client: MlflowClient, name: str, workplace: Workplace) -> None:
    version = client.create_model_version(name, str(workplace.folder))
    client.set_registered_model_alias(name, "champion", version.version)
    model = mlflow.pyfunc.load_model(f"models:/{name}@champion")
    assert model.predict(pd.DataFrame({"text": ["profit"]})) == ["PROFIT"]


def test_registering_a_logged_model_by_its_uri_removes_the_logged_files(
    client: MlflowClient, name: str, workplace: Workplace
) -> None:
    """What the client does with local artifacts (3.17.2), and why only copies in plain folders are registered."""
    experiment = client.get_experiment_by_name("any")
    with mlflow.start_run(experiment_id=experiment.experiment_id):
        logged = log_shout(workplace.folder.parent)
    [artifacts] = Path(workplace.folder.parent, "artifacts").glob(f"**/{logged.model_id}/artifacts")
    assert contents(artifacts)
    assert client.create_model_version(name, logged.model_uri).status == "READY"
    assert not artifacts.exists()


def test_a_version_is_copied_to_another_catalog_by_its_number(
    client: MlflowClient, name: str, workplace: Workplace
) -> None:
    client.create_model_version(name, str(workplace.folder), tags={"digest": "abc"})
    target = name.replace("dev.", "prod.")
    client.create_registered_model(target)
    copied = client.create_model_version(target, f"models:/{name}/1", tags={"from": name})
    assert (copied.name, copied.version, copied.status, copied.tags) == (target, "1", "READY", {"from": name})


def test_an_alias_is_set_moved_read_and_deleted(emulator: Emulator, client: MlflowClient, name: str) -> None:
    for _ in range(2):
        pending(emulator, name)
    client.set_registered_model_alias(name, "champion", "1")
    client.set_registered_model_alias(name, "champion", "2")
    assert client.get_registered_model(name).aliases == {"champion": "2"}
    assert client.get_model_version_by_alias(name, "champion").aliases == ["champion"]
    client.delete_registered_model_alias(name, "champion")
    with refused("RESOURCE_DOES_NOT_EXIST", "champion"):
        client.get_model_version_by_alias(name, "champion")


@pytest.mark.parametrize("alias", ["latest", "v7", "LATEST"])
def test_reserved_aliases_are_refused(emulator: Emulator, alias: str) -> None:
    call(emulator, "POST", "registered-models/create", name="dev.ml.reserved")
    pending(emulator, "dev.ml.reserved")
    reply = call(emulator, "POST", "registered-models/alias", name="dev.ml.reserved", alias=alias, version="1")
    assert (reply.status_code, reply.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_tags_are_set_and_deleted_and_left_out_of_searches(emulator: Emulator, client: MlflowClient, name: str) -> None:
    pending(emulator, name, tags=[{"key": "digest", "value": "abc"}])
    client.set_model_version_tag(name, "1", "state", "tested")
    client.delete_model_version_tag(name, "1", "digest")
    client.set_registered_model_tag(name, "team", "text")
    client.delete_registered_model_tag(name, "owner")
    client.set_registered_model_alias(name, "champion", "1")
    assert client.get_model_version(name, "1").tags == {"state": "tested"}
    assert client.get_registered_model(name).tags == {"team": "text"}
    reply = call(emulator, "GET", "model-versions/search", filter=f"name='{name}'").json()
    assert not {"tags", "aliases"} & set(reply["model_versions"][0])
    [found] = client.search_model_versions(f"name='{name}'")
    with pytest.raises(Exception, match="do not have tags"):
        found.tags()


def test_a_search_gives_pages_and_takes_one_condition(emulator: Emulator, client: MlflowClient, name: str) -> None:
    for _ in range(3):
        pending(emulator, name, run_id="0" * 31 + "7")
    first = client.search_model_versions(f"name='{name}'", max_results=2)
    second = client.search_model_versions(f"name='{name}'", max_results=2, page_token=first.token)
    assert sorted(found.version for found in [*first, *second]) == ["1", "2", "3"]
    assert not second.token
    assert len(client.search_model_versions(f"run_id='{'0' * 31}7'")) == 3
    for condition in (f"name='{name}' and run_id='7'", "tags.digest='abc'", "name LIKE 'dev%'", ""):
        with refused("INVALID_PARAMETER_VALUE"):
            client.search_model_versions(condition)
    reply = call(emulator, "GET", "registered-models/search", filter="name='x'")
    assert reply.json()["error_code"] == "INVALID_PARAMETER_VALUE"
    assert name in {model.name for model in client.search_registered_models()}


def test_a_version_is_pending_until_it_is_finalized_and_read_only_after(
    emulator: Emulator, client: MlflowClient, name: str
) -> None:
    assert pending(emulator, name)["status"] == "PENDING_REGISTRATION"
    assert client.get_model_version(name, "1").status == "PENDING_REGISTRATION"
    file = f"{emulator.url}/api/2.0/fs/files/Models/{name.replace('.', '/')}/1/MLmodel"
    headers = {"Authorization": f"Bearer {emulator.token}"}
    assert requests.put(file, data=b"x", headers=headers, timeout=240).status_code == 204
    for _ in range(2):
        reply = call(emulator, "POST", "model-versions/finalize", name=name, version="1").json()
        assert reply["model_version"]["status"] == "READY"
    assert requests.put(f"{file}?overwrite=true", data=b"y", headers=headers, timeout=240).status_code == 403
    assert requests.get(file, headers=headers, timeout=240).content == b"x"


def test_a_model_without_signature_and_a_name_without_catalog_are_refused(
    client: MlflowClient, name: str, workplace: Workplace
) -> None:
    with pytest.raises(MlflowException, match="signature"):
        client.create_model_version(name, str(workplace.unsigned))
    assert client.search_model_versions(f"name='{name}'") == []
    with pytest.raises(MlflowException, match="specify all three levels"):
        client.create_registered_model("ml.shout")
    with refused("RESOURCE_ALREADY_EXISTS"):
        client.create_registered_model(name)
    with refused("RESOURCE_DOES_NOT_EXIST"):
        client.get_model_version(name, "1")


def test_a_deleted_version_takes_its_files_and_aliases_along_but_not_its_number(
    emulator: Emulator, client: MlflowClient, name: str, workplace: Workplace
) -> None:
    client.create_model_version(name, str(workplace.folder))
    client.set_registered_model_alias(name, "champion", "1")
    client.delete_model_version(name, "1")
    folder = f"{emulator.url}/api/2.0/fs/directories/Models/{name.replace('.', '/')}/1"
    headers = {"Authorization": f"Bearer {emulator.token}"}
    assert requests.head(folder, headers=headers, timeout=240).status_code == 404
    assert client.get_registered_model(name).aliases == {}
    assert pending(emulator, name)["version"] == "2"


def test_a_renamed_model_keeps_its_files_and_aliases(
    client: MlflowClient, name: str, workplace: Workplace, tmp_path: Path
) -> None:
    client.create_model_version(name, str(workplace.folder))
    client.set_registered_model_alias(name, "champion", "1")
    client.rename_registered_model(name, f"{name}_2")
    downloaded = mlflow.artifacts.download_artifacts(f"models:/{name}_2@champion", dst_path=str(tmp_path))
    assert contents(Path(downloaded)) == contents(workplace.folder)


def test_versions_made_at_once_have_numbers_without_gaps(emulator: Emulator, name: str) -> None:
    arguments = [sys.executable, "-c", FIVE_VERSIONS, f"{emulator.url}{REGISTRY}", emulator.token, name]
    clients = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    numbers = [int(number) for client in clients for number in client.communicate(timeout=240)[0].split()]
    assert sorted(numbers) == list(range(1, 16))


def test_a_wrong_token_is_refused(client: MlflowClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-wrong")
    with refused("UNAUTHENTICATED"):
        client.get_registered_model("dev.ml.any")


def test_a_service_principal_reads_and_registers(
    emulator: Emulator, client: MlflowClient, name: str, workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABRICKS_TOKEN")
    for variable, value in emulator.service_principal.items():
        monkeypatch.setenv(variable, value)
    assert client.create_model_version(name, str(workplace.folder)).status == "READY"
    form = {"grant_type": "client_credentials", "scope": "all-apis"}
    wrong = requests.post(f"{emulator.url}/oidc/v1/token", form, auth=(emulator.client_id, "wrong"), timeout=240)
    assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")


def test_a_profile_of_the_config_file_reads_and_registers(
    emulator: Emulator, name: str, workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "databrickscfg"
    config.write_text(f"[staging]\nhost = {emulator.url}\ntoken = {emulator.token}\n", encoding="utf-8")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(config))
    monkeypatch.delenv("DATABRICKS_HOST")
    monkeypatch.delenv("DATABRICKS_TOKEN")
    client = MlflowClient(workplace.tracking_uri, "databricks-uc://staging")
    assert client.create_model_version(name, str(workplace.folder)).status == "READY"


def test_a_fault_hits_before_or_after_the_effect(emulator: Emulator, name: str) -> None:
    emulator.fail("model-versions/create", 503)
    assert call(emulator, "POST", "model-versions/create", name=name, source="nowhere").status_code == 503
    emulator.fail("model-versions/create", 503, after=True)
    reply = call(emulator, "POST", "model-versions/create", name=name, source="nowhere")
    assert (reply.status_code, reply.json()["error_code"]) == (503, "TEMPORARILY_UNAVAILABLE")
    assert pending(emulator, name)["version"] == "2"


@pytest.mark.parametrize("path", ["files/Volumes/%2e%2e/%2e%2e/uc.db", "files/%2e%2e/credentials.json", "files/a%00b"])
def test_no_path_leads_out_of_the_root(emulator: Emulator, path: str) -> None:
    request = requests.Request("GET", emulator.url, headers={"Authorization": f"Bearer {emulator.token}"}).prepare()
    request.url = f"{emulator.url}/api/2.0/fs/{path}"
    with requests.Session() as session:
        reply = session.send(request, timeout=240)
    assert (reply.status_code, reply.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer 9999999999.0"}, {"Authorization": "Basic YTpi"}])
def test_every_call_needs_a_good_token(emulator: Emulator, headers: dict[str, str]) -> None:
    for path in ("mlflow/unity-catalog/registered-models/search", "fs/directories/Models", "fs/files/a", "no/such"):
        reply = requests.get(f"{emulator.url}/api/2.0/{path}", headers=headers, timeout=240)
        assert (reply.status_code, reply.json()["error_code"]) == (401, "UNAUTHENTICATED")


def test_what_is_not_emulated_is_refused_by_name(emulator: Emulator) -> None:
    reply = requests.get(
        f"{emulator.url}/api/2.0/clusters/list", headers={"Authorization": f"Bearer {emulator.token}"}, timeout=240
    )
    assert (reply.status_code, reply.json()["error_code"]) == (501, "NOT_IMPLEMENTED")


@exhaustive  # of the emulator alone
def test_a_restart_keeps_everything(
    workplace: Workplace, migrated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(migrated, tmp_path / "uc.db")
    name = "dev.ml.kept"
    with running(tmp_path) as first:
        monkeypatch.setenv("DATABRICKS_HOST", first.url)
        monkeypatch.setenv("DATABRICKS_TOKEN", first.token)
        client = MlflowClient(workplace.tracking_uri, "databricks-uc")
        client.create_registered_model(name)
        client.create_model_version(name, str(workplace.folder), tags={"digest": "abc"})
        client.set_registered_model_alias(name, "champion", "1")
        pending(first, name)
    with running(tmp_path) as second:
        monkeypatch.setenv("DATABRICKS_HOST", second.url)
        assert second.token == first.token
        champion = client.get_model_version_by_alias(name, "champion")
        assert (champion.version, champion.status, champion.tags) == ("1", "READY", {"digest": "abc"})
        assert client.get_model_version(name, "2").status == "PENDING_REGISTRATION"
        downloaded = mlflow.artifacts.download_artifacts(f"models:/{name}@champion", dst_path=str(tmp_path / "copy"))
        assert contents(Path(downloaded)) == contents(workplace.folder)
