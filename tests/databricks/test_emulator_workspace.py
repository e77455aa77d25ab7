"""The workspace's tree of notebooks and files, through the SDK."""

import base64
import json
from collections.abc import Iterator
from uuid import uuid4

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import BadRequest, DatabricksError, NotFound, ResourceAlreadyExists
from databricks.sdk.service.workspace import ImportFormat, Language, ObjectInfo, ObjectType

from databricks_emulator import Emulator
from databricks_emulator.workspace import HEADER

NOTEBOOK = f"{HEADER}\nprint('hello')\n"


@pytest.fixture
def folder(client: WorkspaceClient) -> Iterator[str]:
    """A folder of the test's own, which is gone afterwards."""
    path = f"/Workspace/Shared/mlops-tests/{uuid4().hex}"
    client.workspace.mkdirs(path)
    yield path
    client.workspace.delete(path, recursive=True)


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def load(client: WorkspaceClient, path: str) -> str:
    return base64.b64decode(client.workspace.export(path).content or "").decode()


@pytest.mark.live
@pytest.mark.parametrize("source", [NOTEBOOK, "print('hello')\n"])
def test_python_source_becomes_a_notebook(client: WorkspaceClient, folder: str, source: str) -> None:
    python = {"format": ImportFormat.SOURCE, "language": Language.PYTHON}
    client.workspace.import_(f"{folder}/train", content=encoded(source), **python)
    about = client.workspace.get_status(f"{folder}/train")
    assert (about.object_type, about.language) == (ObjectType.NOTEBOOK, Language.PYTHON)
    assert load(client, f"{folder}/train") == NOTEBOOK
    assert load(client, f"{folder}/train".removeprefix("/Workspace")) == NOTEBOOK
    with pytest.raises(ResourceAlreadyExists, match="already exists"):
        client.workspace.import_(f"{folder}/train", content=encoded("1"), **python)
    client.workspace.import_(f"{folder}/train", content=encoded("x = 1"), overwrite=True, **python)
    assert load(client, f"{folder}/train") == f"{HEADER}\nx = 1"


@pytest.mark.live
def test_auto_tells_notebooks_from_files(client: WorkspaceClient, folder: str) -> None:
    jupyter = {"cells": [{"cell_type": "markdown", "source": ["# Title"]}, {"cell_type": "code", "source": ["x = 1"]}]}
    for name, content in (
        ("nb.py", NOTEBOOK),
        ("module.py", "x = 1"),
        ("ju.ipynb", json.dumps(jupyter)),
        ("a.txt", "a"),
    ):
        client.workspace.upload(f"{folder}/{name}", content.encode(), format=ImportFormat.AUTO)
    kinds = {entry.path: entry.object_type for entry in client.workspace.list(folder)}
    assert kinds == {
        f"{folder}/a.txt": ObjectType.FILE,
        f"{folder}/ju": ObjectType.NOTEBOOK,
        f"{folder}/module.py": ObjectType.FILE,
        f"{folder}/nb": ObjectType.NOTEBOOK,
    }
    assert load(client, f"{folder}/ju") == f"{HEADER}\n# MAGIC %md\n# MAGIC # Title\n\n# COMMAND ----------\n\nx = 1\n"
    assert client.workspace.download(f"{folder}/a.txt", format=ImportFormat.AUTO).read() == b"a"


@pytest.mark.live
def test_directories(client: WorkspaceClient, folder: str) -> None:
    client.workspace.mkdirs(f"{folder}/a/b")
    client.workspace.upload(f"{folder}/a/b/file", b"x", format=ImportFormat.AUTO)
    assert [entry.object_type for entry in client.workspace.list(folder)] == [ObjectType.DIRECTORY]
    assert [entry.path for entry in client.workspace.list(folder, recursive=True)] == [f"{folder}/a/b/file"]
    with pytest.raises(DatabricksError, match="not empty"):
        client.workspace.delete(f"{folder}/a")
    with pytest.raises(DatabricksError, match="in the way"):
        client.workspace.mkdirs(f"{folder}/a/b/file/c")
    client.workspace.delete(f"{folder}/a", recursive=True)
    assert list(client.workspace.list(folder)) == []


def test_what_a_workspace_refuses(client: WorkspaceClient, folder: str) -> None:
    with pytest.raises(NotFound, match="parent folder"):
        client.workspace.import_(f"{folder}/no/where", content=encoded("1"), format=ImportFormat.AUTO)
    with pytest.raises(BadRequest, match="language"):
        client.workspace.import_(f"{folder}/x", content=encoded("1"), format=ImportFormat.SOURCE)
    with pytest.raises(BadRequest, match="base64"):
        client.workspace.import_(f"{folder}/x", content="?", format=ImportFormat.AUTO)
    with pytest.raises(BadRequest, match="not a Jupyter"):
        client.workspace.import_(f"{folder}/x", content=encoded("1"), format=ImportFormat.JUPYTER)
    with pytest.raises(DatabricksError, match="not emulated"):
        client.workspace.import_(f"{folder}/x", content=encoded("1"), format=ImportFormat.DBC)
    for path in (f"{folder}/x", "/Users/nobody"):
        with pytest.raises(NotFound):
            client.workspace.get_status(path)
    with pytest.raises(BadRequest, match="Invalid path"):
        client.workspace.get_status("/Shared/../../../credentials.json")


def test_every_field_is_one_of_the_service(client: WorkspaceClient, databricks_env: Emulator, folder: str) -> None:
    client.workspace.upload(f"{folder}/nb.py", NOTEBOOK.encode(), format=ImportFormat.AUTO)
    client.workspace.upload(f"{folder}/file", b"x", format=ImportFormat.AUTO)
    headers = {"Authorization": f"Bearer {databricks_env.token}"}
    url = f"{databricks_env.url}/api/2.0/workspace/list"
    listed = requests.get(url, {"path": folder}, headers=headers, timeout=240).json()["objects"]
    assert [ObjectInfo.from_dict(entry).as_dict() for entry in listed] == listed
