"""The rules of `compose.yaml` and its image: nothing secret, nothing open, nothing unpinned, nothing dangling."""

import re
from typing import Any

import pytest
import yaml

from tests.conftest import ROOT

TEXT = (ROOT / "compose.yaml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
SECRET = re.compile(r"PASSWORD|AUTH_STRING|SECRET|TOKEN|KEY")
REQUIRED = re.compile(r"\$\{([A-Z_]+):\?[^}]+\}")
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_services_are_those_that_the_document_names() -> None:
    page = (ROOT / "docs" / "server.md").read_text(encoding="utf-8")
    assert set(SERVICES) == {
        *("postgres", "redis", "prefect-server", "prefect-services", "mlflow", "deployments", "worker")
    }
    assert all(f"`{name}`" in page for name in SERVICES)


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_secret_comes_from_outside_and_has_no_default(name: str) -> None:
    for key, value in SERVICES[name].get("environment", {}).items():
        if SECRET.search(key):
            assert REQUIRED.fullmatch(value), key
        assert "://" not in value or "@" not in value or re.search(r"//[a-z]+:\$\{[A-Z_]+:\?[^}]+\}@", value), key


def test_every_variable_is_required_and_in_the_example_without_a_value() -> None:
    example = (ROOT / "compose.env.example").read_text(encoding="utf-8")
    named = set(re.findall(r"^([A-Z_]+)=$", example, re.M))
    assert named == {found.group(1) for found in REQUIRED.finditer(TEXT)}
    assert len(REQUIRED.findall(TEXT)) == TEXT.count("${")
    assert not re.search(r"^[A-Z_]+=.", example, re.M)
    assert "\n.env\n" in (ROOT / ".gitignore").read_text(encoding="utf-8")
    assert "\n.env\n" in (ROOT / ".dockerignore").read_text(encoding="utf-8")


def test_ports_are_open_on_this_machine_only() -> None:
    ports = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert ports == {"prefect-server": ["127.0.0.1:4200:4200"], "mlflow": ["127.0.0.1:5000:5000"]}
    assert all("network_mode" not in service for service in SERVICES.values())


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_waits_for_services_that_can_tell_that_they_are_ready(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        if how["condition"] == "service_healthy":
            assert SERVICES[other]["healthcheck"]["test"][0] == "CMD"
        else:
            assert how["condition"] == "service_completed_successfully"
            assert SERVICES[other]["restart"] == "no"


def test_all_but_the_background_services_and_the_one_run_have_a_health_check() -> None:
    assert {name for name in SERVICES if "healthcheck" not in SERVICES[name]} == {"prefect-services", "deployments"}


def test_images_are_pinned_and_ours_takes_the_versions_of_the_constraints() -> None:
    foreign = {service["image"] for name, service in SERVICES.items() if name not in OURS}
    base = re.findall(r"^FROM (\S+)$", DOCKERFILE, re.M)
    assert all(re.fullmatch(r"[a-z]+:\d+\.\d+(\.\d+)?(-[a-z-]+)?", image) for image in [*foreign, *base])
    version = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert version is not None
    assert {service["image"] for service in OURS.values()} == {f"mlops-lifecycle:{version.group(1)}"}
    assert "-c constraints.txt -e '.[prefect,server,databricks]'" in DOCKERFILE
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()}
    assert {"prefect", "mlflow", "prefect-redis", "psycopg2-binary"} <= pinned
    assert re.search(r"^USER 1000$", DOCKERFILE, re.M)


def test_volumes_and_configs_that_are_used_are_declared() -> None:
    used = {volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", ())}
    assert used == set(COMPOSE["volumes"])
    assert {c["source"] for service in SERVICES.values() for c in service.get("configs", ())} == set(COMPOSE["configs"])


def test_server_and_background_services_share_database_messages_and_login() -> None:
    server, services = (SERVICES[name]["environment"] for name in ("prefect-server", "prefect-services"))
    assert services.items() <= server.items()
    assert server["PREFECT_SERVER_EVENTS_MESSAGING_BROKER"] == "prefect_redis.messaging"
    assert SERVICES["worker"]["environment"]["PREFECT_API_AUTH_STRING"] == server["PREFECT_SERVER_API_AUTH_STRING"]
    assert "--no-services" in SERVICES["prefect-server"]["command"]


def test_the_variables_of_prefect_are_settings_that_it_knows() -> None:
    import prefect.settings

    used = {key for service in SERVICES.values() for key in service.get("environment", {}) if key.startswith("PREFECT")}
    of_prefect_redis = {key for key in used if key.startswith("PREFECT_REDIS_")}
    assert {key for key in used - of_prefect_redis if not hasattr(prefect.settings, key)} == set()
