"""What a workspace refuses; `python -m databricks_emulator.rules` makes docs/reference/databricks-rules.md of the list.

What depends on the workspace rather than on the call (grants that are missing, a catalog that is not there, no classic
compute) is switched on by `/emulator/rules`.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from databricks_emulator.errors import refusal
from databricks_emulator.rules_list import MOST_KEY, MOST_TAGS, MOST_VALUE, RULES, SERVERLESS_ONLY

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "databricks-rules.md"
RESERVED = re.compile(r"[.,\-=/:]")
ABSENT = {1: ("CATALOG_DOES_NOT_EXIST", "Catalog"), 2: ("SCHEMA_DOES_NOT_EXIST", "Schema"), 3: ("NOT_FOUND", "Volume")}


@dataclass
class Rules:
    """Which of the rules that depend on the workspace are on; one event loop changes them."""

    serverless_only: bool = False
    signed_urls_only: bool = False
    offline: bool = False
    missing: frozenset[str] = frozenset()
    absent: frozenset[str] = field(default_factory=frozenset)

    @property
    def routes(self) -> list[Route]:
        return [Route("/emulator/rules", self._set, methods=["PUT"])]

    async def _set(self, request: Request) -> Response:
        """Replace all switches; those that are not named are off."""
        asked: dict[str, Any] = await request.json()
        lists = {name: frozenset(asked.pop(name, ())) for name in ("missing", "absent")}
        vars(self).update(vars(Rules(**lists, **asked)))
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

    def require_files_api(self, path: PurePosixPath) -> None:
        """Refuse the files of runs and logged models where they are to be had by signed URLs alone."""
        if self.signed_urls_only and path.parts[1:2] == ("WorkspaceInternal",):
            raise refusal("PERMISSION_DENIED", f"The Files API does not serve {path}.")

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
        "word an answer otherwise than the emulator where no words stand here. Tests lie in `tests/databricks/`.\n\n"
        "| rule | how the workspace answers | check | test | source |\n|---|---|---|---|---|\n"
    )
    return head + "".join(f"| {' | '.join(_linked(each) for each in rule)} |\n" for rule in RULES)


def _linked(text: str) -> str:
    return f"[{text.rstrip('/').rpartition('/')[2]}]({text})" if text.startswith("https://") else text


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
