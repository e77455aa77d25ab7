"""What a workspace refuses, rule by rule, with its source; `docs/databricks-rules.md` is made of this table.

`python -m databricks_emulator.rules` writes that page. What depends on the workspace rather than on the call (grants
that are missing, a catalog that is not there, no classic compute) is switched on by `/emulator/rules`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from databricks_emulator.errors import refusal

PAGE = Path(__file__).parents[1] / "docs" / "databricks-rules.md"
RESERVED = re.compile(r"[.,\-=/:]")
MOST_TAGS, MOST_KEY, MOST_VALUE = 50, 255, 1000
MOST_TASKS_AT_ONCE = 5
SERVERLESS_ONLY = "Only serverless compute is supported in the workspace."
ABSENT = {1: ("CATALOG_DOES_NOT_EXIST", "Catalog"), 2: ("SCHEMA_DOES_NOT_EXIST", "Schema"), 3: ("NOT_FOUND", "Volume")}

TAGS_PAGE = "https://learn.microsoft.com/azure/databricks/database-objects/tags"
PRIVILEGES_PAGE = "https://docs.databricks.com/aws/en/data-governance/unity-catalog/manage-privileges/privileges"
MODELS_PAGE = "https://docs.databricks.com/aws/en/machine-learning/manage-model-lifecycle/"
UPGRADE_PAGE = "https://docs.databricks.com/aws/en/machine-learning/manage-model-lifecycle/upgrade-workflows"
FREE_PAGE = "https://docs.databricks.com/aws/en/getting-started/free-edition-limitations"
DEPLOYMENT_PAGE = "https://docs.databricks.com/aws/en/mlflow/deployment-job"
ALIAS_PAGE = "https://docs.databricks.com/gcp/dev-tools/cli/reference/registered-models-commands"
ACCESS_PAGE = "https://docs.databricks.com/en/security/auth-authz/access-control/jobs-acl.html"
JOBS_PAGE = "https://docs.databricks.com/api/workspace/jobs"
VOLUMES_PAGE = "https://docs.databricks.com/gcp/en/volumes/privileges"


class Rule(NamedTuple):
    """What is refused, how the workspace answers, where that is written, and what of the emulator enforces it."""

    rule: str
    answer: str
    check: str
    source: str


RULES = (
    Rule(
        "The key of a tag in Unity Catalog holds none of `. , - = / :`",
        "400 INVALID_PARAMETER_VALUE, `Tag name … contains one or more of the reserved characters`",
        "`rules.check_tags`",
        TAGS_PAGE,
    ),
    Rule(
        f"A key has at most {MOST_KEY} characters, a value {MOST_VALUE:,}",
        "400 INVALID_PARAMETER_VALUE",
        "`rules.check_tags`",
        TAGS_PAGE,
    ),
    Rule(
        "Neither key nor value of a tag begins or ends with a space",
        "400 INVALID_PARAMETER_VALUE",
        "`rules.check_tags`",
        TAGS_PAGE,
    ),
    Rule(f"An object has at most {MOST_TAGS} tags", "400 INVALID_PARAMETER_VALUE", "`rules.check_tags`", TAGS_PAGE),
    Rule(
        "Whatever lies in a catalog or schema needs USE CATALOG and USE SCHEMA",
        "403 PERMISSION_DENIED, with the privilege",
        "`missing`",
        PRIVILEGES_PAGE,
    ),
    Rule("A registered model is made with CREATE MODEL", "403 PERMISSION_DENIED", "`missing`", PRIVILEGES_PAGE),
    Rule(
        "A version is added with CREATE MODEL VERSION, or by the owner",
        "403 PERMISSION_DENIED",
        "`missing`",
        UPGRADE_PAGE,
    ),
    Rule("A tag is set with APPLY TAG, or by the owner", "403 PERMISSION_DENIED", "`missing`", TAGS_PAGE),
    Rule("A version is read with EXECUTE", "403 PERMISSION_DENIED", "`missing`", PRIVILEGES_PAGE),
    Rule(
        "An alias is set, a model changed or deleted by its owner, or with MANAGE",
        "403 PERMISSION_DENIED",
        "`missing`",
        ALIAS_PAGE,
    ),
    Rule(
        "A new version starts the deployment job of its model, which takes `model_name` and `model_version`",
        "no run; the model says NOT_FOUND or REQUIRED_PARAMETERS_CHANGED instead of CONNECTED",
        "`deployment_jobs`",
        DEPLOYMENT_PAGE,
    ),
    Rule("A file of a volume is read with READ VOLUME", "403 PERMISSION_DENIED", "`missing`", VOLUMES_PAGE),
    Rule(
        "A file of a volume is written or removed with READ VOLUME and WRITE VOLUME",
        "403 PERMISSION_DENIED",
        "`missing`",
        VOLUMES_PAGE,
    ),
    Rule("A job is started or cancelled with CAN MANAGE RUN", "403 PERMISSION_DENIED", "`missing`", ACCESS_PAGE),
    Rule(
        "Catalog and schema of a model are there before it",
        "404 CATALOG_DOES_NOT_EXIST, SCHEMA_DOES_NOT_EXIST",
        "`absent`",
        MODELS_PAGE,
    ),
    Rule("Catalog, schema and volume of a file are there before it", "404 NOT_FOUND", "`absent`", VOLUMES_PAGE),
    Rule(
        "A workspace without classic compute takes no `new_cluster`, `job_clusters`, `existing_cluster_id`",
        f"400 INVALID_PARAMETER_VALUE as soon as the job is made, `{SERVERLESS_ONLY}`",
        "`serverless_only`",
        FREE_PAGE,
    ),
    Rule(
        f"Such a workspace runs at most {MOST_TASKS_AT_ONCE} tasks of jobs at a time",
        "further runs wait in the queue, or are SKIPPED without one",
        "`serverless_only`",
        FREE_PAGE,
    ),
    Rule(
        "The parameters of a run have at most 10,000 bytes as JSON, quotes and backslashes escaped",
        "400 INVALID_PARAMETER_VALUE, `job_parameters exceeds the limit`",
        "`jobs_settings._check_size`",
        JOBS_PAGE,
    ),
    Rule("An idempotency token has at most 64 characters", "400 INVALID_PARAMETER_VALUE", "`jobs.run_now`", JOBS_PAGE),
    Rule(
        "The token of a run that was deleted starts nothing",
        "400 INVALID_PARAMETER_VALUE, `The run with idempotency token … has been deleted`",
        "`jobs.run_now`",
        JOBS_PAGE,
    ),
    Rule(
        "What stands between answers in place of the workspace",
        "200 with a login page, half a body or none; 302 to a login",
        "`CallFault.text`, on demand",
        "a proxy or single sign-on; no page of Databricks",
    ),
)


@dataclass
class Rules:
    """Which of the rules that depend on the workspace are on; one event loop changes them."""

    serverless_only: bool = False
    missing: frozenset[str] = frozenset()
    absent: frozenset[str] = field(default_factory=frozenset)

    @property
    def routes(self) -> list[Route]:
        return [Route("/emulator/rules", self._set, methods=["PUT"])]

    async def _set(self, request: Request) -> Response:
        """Replace all switches; those that are not named are off."""
        asked: dict[str, Any] = await request.json()
        self.serverless_only = bool(asked.get("serverless_only"))
        self.missing, self.absent = frozenset(asked.get("missing", ())), frozenset(asked.get("absent", ()))
        return Response(status_code=204)

    def require(self, privileges: Iterable[str], subject: object) -> None:
        """Refuse who lacks a privilege, by its name."""
        for privilege in privileges:
            if privilege in self.missing:
                raise refusal("PERMISSION_DENIED", f"User does not have {privilege} on {subject}.")

    def require_there(self, levels: list[str], code: str = "") -> None:
        """Refuse what lies in a catalog, schema or volume that is not there."""
        for count in range(1, len(levels) + 1):
            if (name := ".".join(levels[:count])) in self.absent:
                own, noun = ABSENT[count]
                raise refusal(code or own, f"{noun} '{name}' does not exist.")

    def require_file(self, path: PurePosixPath, privilege: str) -> None:
        """Refuse a file of a volume that is not there or may not be used so."""
        if path.parts[1:2] != ("Volumes",):
            return
        self.require_there(list(path.parts[2:5]), code="NOT_FOUND")
        needed = dict.fromkeys(("USE CATALOG", "USE SCHEMA", "READ VOLUME", privilege))
        self.require(needed, f"Volume '{'.'.join(path.parts[2:5])}'")

    def require_compute(self, settings: dict[str, Any]) -> None:
        """Refuse classic compute where there is none."""
        parts = [settings, *settings.get("tasks", [])]
        named = {"new_cluster", "job_clusters", "existing_cluster_id", "job_cluster_key"}
        if self.serverless_only and any(named & part.keys() for part in parts):
            raise refusal("INVALID_PARAMETER_VALUE", SERVERLESS_ONLY)


def check_tags(tags: Iterable[tuple[str, str]], others: Iterable[str] = ()) -> None:
    """Refuse tags that Unity Catalog does not take on an object that has others already."""
    given = dict(tags)
    for key, value in given.items():
        if RESERVED.search(key):
            message = f"Tag name {key} contains one or more of the reserved characters: List(., ,, -, =, /, :)"
            raise refusal("INVALID_PARAMETER_VALUE", message)
        if key != key.strip() or value != value.strip():
            raise refusal("INVALID_PARAMETER_VALUE", f"Tag {key!r:.40} begins or ends with a space, or its value does.")
        if not 0 < len(key) <= MOST_KEY or len(value) > MOST_VALUE:
            message = f"Tag {key:.40} exceeds {MOST_KEY} characters for keys or {MOST_VALUE} for values."
            raise refusal("INVALID_PARAMETER_VALUE", message)
    if len({*given, *others}) > MOST_TAGS:
        raise refusal("INVALID_PARAMETER_VALUE", f"The number of tags exceeds the limit of {MOST_TAGS} tags.")


def page() -> str:
    """The list of rules for people."""
    head = (
        "# What a workspace of Databricks refuses\n\n"
        "Made by `python -m databricks_emulator.rules`; a test fails where the two differ. Each rule is documented,\n"
        "or was seen in answers that others published, and the emulator enforces it: those whose check is a word like\n"
        '`missing` on demand (`emulator.restrict(missing=["CREATE MODEL"])`), all others always. A workspace may\n'
        "word an answer otherwise than the emulator where no words stand here.\n\n"
        "| rule | how the workspace answers | check | source |\n|---|---|---|---|\n"
    )
    return head + "".join(f"| {' | '.join(_linked(each) for each in rule)} |\n" for rule in RULES)


def _linked(text: str) -> str:
    return f"[{text.rstrip('/').rpartition('/')[2]}]({text})" if text.startswith("https://") else text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
