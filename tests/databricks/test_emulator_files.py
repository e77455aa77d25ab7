"""The Files API through the SDK and through MLflow's own signed URLs: whole or not at all, and at most one first."""

import io
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import AlreadyExists, BadRequest, NotFound, ResourceConflict
from databricks.sdk.service.files import DirectoryEntry

from databricks_emulator import Emulator
from lifecycle.bundle import definition
from tests.conftest import ROOT

MEGABYTE = 1024 * 1024
VOLUME = str(definition.read(ROOT, "dev").wheels.parent)
"""That of the bundle, by `BUNDLE_VAR_…` another: some tests meet a real workspace."""


@pytest.fixture
def folder(client: WorkspaceClient) -> Iterator[str]:
    """A folder of the test's own on a volume, which is gone afterwards."""
    path = f"{VOLUME}/mlops-tests/{uuid4().hex}"
    client.files.create_directory(path)
    yield path
    remove(client, path)


def remove(client: WorkspaceClient, folder: str) -> None:
    """Remove a folder with all that lies in it, which the service does not do at once."""
    for entry in client.files.list_directory_contents(folder):
        if entry.is_directory:
            remove(client, entry.path)
        else:
            client.files.delete(entry.path)
    client.files.delete_directory(folder)


def call(workspace: Emulator, method: str, path: str, **what: object) -> requests.Response:
    headers = {"Authorization": f"Bearer {workspace.token}"}
    return requests.request(method, f"{workspace.url}/api/2.0/fs/{path}", headers=headers, timeout=240, **what)


@pytest.mark.live
@pytest.mark.parametrize("name", ["a.txt", "empty", "two words.csv", "Größe 100%.txt", "q?x=1&y#z"])
def test_what_is_uploaded_comes_back(client: WorkspaceClient, folder: str, name: str) -> None:
    content = b"" if name == "empty" else os.urandom(70_000)
    client.files.upload(f"{folder}/{name}", io.BytesIO(content))
    assert client.files.download(f"{folder}/{name}").contents.read() == content
    about = client.files.get_metadata(f"{folder}/{name}")
    assert (about.content_length, about.content_type) == (len(content), "application/octet-stream")
    client.files.delete(f"{folder}/{name}")
    with pytest.raises(NotFound):
        client.files.download(f"{folder}/{name}")


@pytest.mark.live
def test_a_file_is_replaced_only_on_demand(client: WorkspaceClient, folder: str) -> None:
    path = f"{folder}/manifest.json"
    client.files.upload(path, io.BytesIO(b"first"), overwrite=False)
    with pytest.raises((AlreadyExists, ResourceConflict)):
        client.files.upload(path, io.BytesIO(b"second" * 100_000), overwrite=False)
    assert client.files.download(path).contents.read() == b"first"
    client.files.upload(path, io.BytesIO(b"third"), overwrite=True)
    assert client.files.download(path).contents.read() == b"third"


def test_of_those_who_create_a_file_at_once_one_succeeds(workspace: Emulator, folder: str) -> None:
    replies: dict[bytes, int] = {}
    start = threading.Barrier(8)

    def create(content: bytes) -> None:
        start.wait()
        replies[content] = call(workspace, "PUT", f"files{folder}/one", data=content).status_code

    threads = [threading.Thread(target=create, args=(bytes([65 + number]) * 50_000,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(replies.values()) == [204] + [409] * 7
    winner = next(content for content, status in replies.items() if status == 204)
    assert call(workspace, "GET", f"files{folder}/one").content == winner


def test_a_directory_is_listed_page_by_page(client: WorkspaceClient, workspace: Emulator, folder: str) -> None:
    for name in "abcef":
        client.files.upload(f"{folder}/{name}", io.BytesIO(name.encode()))
    client.files.create_directory(f"{folder}/deep/er")
    listed = list(client.files.list_directory_contents(folder, page_size=2))
    assert [(entry.name, entry.is_directory) for entry in listed] == [
        *((name, False) for name in "abc"),
        ("deep", True),
        *((name, False) for name in "ef"),
    ]
    page = call(workspace, "GET", f"directories{folder}?page_size=2").json()
    assert len(page["contents"]) == 2
    assert [DirectoryEntry.from_dict(entry).as_dict() for entry in page["contents"]] == page["contents"]


def test_what_is_not_allowed_is_refused(client: WorkspaceClient, workspace: Emulator, folder: str) -> None:
    client.files.upload(f"{folder}/file", io.BytesIO(b"x"))
    with pytest.raises(BadRequest, match="not empty"):
        client.files.delete_directory(folder)
    with pytest.raises(BadRequest, match="lies in no volume"):
        client.files.upload("/Volumes/dev/ml/file", io.BytesIO(b"x"))
    with pytest.raises(BadRequest, match="is a directory"):
        client.files.upload(folder, io.BytesIO(b"x"), overwrite=True)
    with pytest.raises(NotFound):
        list(client.files.list_directory_contents(f"{folder}/nowhere"))
    assert call(workspace, "PUT", f"directories{folder}/file/deeper").status_code == 409


def test_a_client_that_goes_away_leaves_nothing(workspace: Emulator, folder: str) -> None:
    address = urlsplit(workspace.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        head = f"PUT /api/2.0/fs/files{folder}/half HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: 1000\r\n"
        connection.sendall(f"{head}Authorization: Bearer {workspace.token}\r\n\r\nonly a part".encode())
    assert call(workspace, "GET", f"files{folder}/half").status_code == 404


@pytest.mark.parametrize("form", ["query", "body"])
def test_a_signed_url_needs_no_token_and_opens_one_file(workspace: Emulator, folder: str, form: str) -> None:
    call(workspace, "PUT", f"files{folder}/a b", data=b"content")
    asked = {"params" if form == "query" else "json": {"path": f"{folder}/a b"}}
    url = call(workspace, "POST", "create-download-url", **asked).json()["url"]
    assert requests.get(url, timeout=240).content == b"content"
    for wrong in (url.replace("a%20b", "other"), url.replace("expires=", "expires=9")):
        assert requests.get(wrong, timeout=240).status_code == 403
    assert requests.put(url, data=b"mine", timeout=240).status_code == 403
    missing = call(workspace, "POST", "create-download-url", json={"path": f"{folder}/none"})
    assert (missing.status_code, missing.json()["error_code"]) == (404, "NOT_FOUND")


@pytest.mark.live
def test_a_large_file_goes_up_in_parts(client: WorkspaceClient, tmp_path: Path, folder: str) -> None:
    source = tmp_path / "large"
    source.write_bytes(os.urandom(12 * MEGABYTE + 5))
    client.files._config.files_ext_multipart_upload_min_stream_size = MEGABYTE
    client.files.upload_from(f"{folder}/large", str(source), part_size=5 * MEGABYTE, overwrite=False)
    assert client.files.download(f"{folder}/large").contents.read() == source.read_bytes()
    with pytest.raises((AlreadyExists, ResourceConflict)):
        client.files.upload_from(f"{folder}/large", str(source), part_size=5 * MEGABYTE, overwrite=False)


def test_parts_are_no_file_until_they_are_completed(workspace: Emulator, folder: str) -> None:
    begun = call(workspace, "POST", f"files{folder}/slow?action=initiate-upload").json()
    session = begun["multipart_upload"]["session_token"]
    asked = {"path": f"{folder}/slow", "session_token": session, "start_part_number": 1, "count": 1}
    url = call(workspace, "POST", "create-upload-part-urls", json=asked).json()["upload_part_urls"][0]["url"]
    etag = requests.put(url, data=b"part", timeout=240).headers["ETag"]
    complete = f"files{folder}/slow?action=complete-upload&upload_type=multipart&session_token={session}"
    wrong = call(workspace, "POST", complete, json={"parts": [{"part_number": 1, "etag": "wrong"}]})
    assert (wrong.status_code, wrong.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert call(workspace, "GET", f"files{folder}/slow").status_code == 404
    assert call(workspace, "POST", complete, json={"parts": [{"part_number": 1, "etag": etag}]}).status_code == 200
    assert call(workspace, "GET", f"files{folder}/slow").content == b"part"
    again = call(workspace, "POST", complete, json={"parts": [{"part_number": 1, "etag": etag}]})
    assert again.status_code == 404


def test_an_upload_in_parts_can_be_given_up(workspace: Emulator, folder: str) -> None:
    begun = call(workspace, "POST", f"files{folder}/slow?action=initiate-upload").json()
    asked = {"path": f"{folder}/slow", "session_token": begun["multipart_upload"]["session_token"]}
    url = call(workspace, "POST", "create-abort-upload-url", json=asked).json()["abort_upload_url"]["url"]
    assert requests.delete(url, timeout=240).status_code == 200
    assert call(workspace, "POST", "create-abort-upload-url", json=asked).status_code == 404
    assert call(workspace, "GET", f"files{folder}/slow").status_code == 404
