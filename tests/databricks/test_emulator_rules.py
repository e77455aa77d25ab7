"""The rules of a workspace: each is in the list that people read, is enforced, and is said to a person with a way out."""

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import DatabricksError
from mlflow import MlflowClient

from databricks_emulator import Emulator, rules
from lifecycle.core.errors import ConfigError, MlopsError
from lifecycle.databricks import refusals
from lifecycle.registry import labels, store
from lifecycle.registry.store import Target
from lifecycle.storage import volumes
from tests.databricks.conftest import Scripts
from tests.databricks.remote import create_job, python_task

MODEL = Target(tracking_uri="databricks", registry_uri="databricks-uc", name="ruled.ml.sentiment")


@pytest.fixture
def registered(databricks_env: Emulator) -> Emulator:
    """A workspace in which the model is there."""
    store.create_model(MODEL)
    return databricks_env


def test_the_page_is_made_of_the_table() -> None:
    assert rules.PAGE.read_text(encoding="utf-8") == rules.page(), "python -m databricks_emulator.rules"


@pytest.mark.parametrize("sign", [*".,-=/:"])
def test_a_tag_key_that_unity_catalog_refuses(registered: Emulator, sign: str) -> None:
    key = f"cost{sign}centre"
    with pytest.raises(Exception, match="reserved characters"):
        MlflowClient().set_registered_model_tag(MODEL.name, key, "1")
    with pytest.raises(ConfigError, match=r"(?s)Unity Catalog takes none of.*cost_centre"):
        labels.put(MODEL, key, "1")
    labels.put(MODEL, f"cost_centre_{ord(sign)}", "1")


def test_what_a_tag_holds_and_how_many_there_are(registered: Emulator) -> None:
    with pytest.raises(Exception, match="1000 for values"):
        MlflowClient().set_registered_model_tag(MODEL.name, "long", "x" * 1001)
    held = len(store.model(MODEL).tags)
    for number in range(held, rules.MOST_TAGS):
        store.tag(MODEL, None, f"tag_{number}", "1")
    with pytest.raises(ConfigError, match="Unity Catalog holds at most 50"):
        labels.put(MODEL, "one_more", "1")
    with pytest.raises(ConfigError, match="mlops model tag --remove"):
        store.tag(MODEL, None, "one_more", "1")
    for number in range(held, rules.MOST_TAGS):
        labels.remove(MODEL, f"tag_{number}")


@pytest.mark.parametrize(
    ("missing", "grant"),
    [
        ("USE CATALOG", "GRANT USE CATALOG ON CATALOG"),
        ("USE SCHEMA", "GRANT USE SCHEMA ON SCHEMA"),
        ("CREATE MODEL", "GRANT CREATE MODEL ON SCHEMA"),
        ("CREATE MODEL VERSION", "GRANT CREATE MODEL VERSION ON MODEL"),
        ("APPLY TAG", "GRANT APPLY TAG ON MODEL"),
        ("MANAGE", "GRANT MANAGE ON MODEL"),
        ("EXECUTE", "GRANT EXECUTE ON MODEL"),
    ],
)
def test_a_privilege_that_is_missing_is_named_with_its_grant(registered: Emulator, missing: str, grant: str) -> None:
    registered.restrict(missing=[missing])
    with pytest.raises(ConfigError, match=grant):
        _everything(MODEL)
    registered.restrict()


def _everything(target: Target) -> None:
    store.create_model(target)
    store.tag(target, None, "used", "yes")
    try:
        store.create_version(target, "models:/m-none", "", {})
    except MlopsError as error:
        if "GRANT" in str(error):
            raise
    except Exception:  # noqa: BLE001, S110  the model is none: here it is about what comes before that
        pass
    store.find(target, 1)
    store.set_alias(target, "champion", 1)


@pytest.mark.parametrize(("absent", "way_out"), [("ruled", "CREATE CATALOG"), ("ruled.ml", "CREATE SCHEMA")])
def test_a_catalog_or_a_schema_that_is_not_there(databricks_env: Emulator, absent: str, way_out: str) -> None:
    databricks_env.restrict(absent=[absent])
    with pytest.raises(ConfigError, match=way_out):
        store.create_model(MODEL.named("ruled.ml.other"))
    databricks_env.restrict()


def test_a_volume_that_is_not_there_or_not_permitted(databricks_env: Emulator) -> None:
    path = volumes.RemotePath("/Volumes/ruled/ml/mlops/x.txt") if hasattr(volumes, "RemotePath") else None
    path = path or volumes.path("/Volumes/ruled/ml/mlops/x.txt")
    databricks_env.restrict(absent=["ruled.ml.mlops"])
    with pytest.raises(ConfigError, match="CREATE VOLUME"):
        volumes.write(path, b"1")
    databricks_env.restrict(missing=["WRITE VOLUME"])
    with pytest.raises(ConfigError, match="GRANT WRITE VOLUME ON VOLUME"):
        volumes.write(path, b"1")
    databricks_env.restrict()


def test_a_workspace_without_classic_compute(client: WorkspaceClient, script: Scripts, workspace: Emulator) -> None:
    workspace.restrict(serverless_only=True)
    classic = python_task(script("print(1)")) | {"new_cluster": {"num_workers": 1}}
    del classic["environment_key"]
    with pytest.raises(DatabricksError, match="Only serverless compute") as refused:
        create_job(client, "classic", classic)
    assert "clusters=false" in refusals.way_out(str(refused.value))
    slow = create_job(client, "slow", python_task(script("import time; time.sleep(60)")), max_concurrent_runs=10)
    for _ in range(7):
        client.jobs.run_now(slow)
    states = [run["state"]["life_cycle_state"] for run in workspace.runs()[:7]]
    assert len([state for state in states if state not in {"SKIPPED", "INTERNAL_ERROR"}]) == rules.MOST_TASKS_AT_ONCE


def test_a_login_page_in_place_of_an_answer(databricks_env: Emulator) -> None:
    databricks_env.inject("GET */jobs/list", text="<html>Sign In</html>")
    headers = {"Authorization": f"Bearer {databricks_env.token}"}
    found = requests.get(f"{databricks_env.url}/api/2.2/jobs/list", headers=headers, timeout=30)
    assert (found.status_code, found.text) == (200, "<html>Sign In</html>")
