"""What a workspace refuses: one list, which the emulator keeps to, and of each refusal the way out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from databricks_emulator import rules, rules_list
from lifecycle.core.writer_process import OWNER
from lifecycle.databricks import refusals
from lifecycle.registry import log, tag_names

OURS = sorted({log.KEY, log.KIND, log.EXPECTED, log.PLACE, log.ARTIFACT, log.BY, log.SOURCE, OWNER})
OTHERS = st.text(st.characters(exclude_characters=".,-=/:"), min_size=1, max_size=20).filter(
    lambda name: not name.startswith("promotion_") and tag_names.ours(name) == name == name.strip()
)


def test_the_page_is_the_list() -> None:
    assert rules.PAGE.read_text(encoding="utf-8") == rules.page()


def test_the_names_of_our_tags_are_taken_by_unity_catalog() -> None:
    rules.check_tags((tag_names.stored(name), "value") for name in OURS)
    for key, value, said in ((log.KIND, "value", "reserved"), ("k", " value", "space"), ("k" * 256, "value", "255")):
        with pytest.raises(Exception, match=said):
            rules.check_tags([(key, value)])


@given(st.dictionaries(st.sampled_from(OURS) | OTHERS, st.text(max_size=9)))
def test_what_is_written_there_is_read_as_it_was(tags: dict[str, str]) -> None:
    written = tag_names.write(tags)
    rules.check_tags(written.items())
    assert tag_names.read(written) == {name: value.strip() for name, value in tags.items()}


def test_what_was_written_before_the_rule_was_known_is_read_and_the_newer_name_counts() -> None:
    assert tag_names.read({log.KIND: "old", "team": "a"}) == {log.KIND: "old", "team": "a"}
    for both in (
        {log.KIND: "old", tag_names.stored(log.KIND): "new"},
        {tag_names.stored(log.KIND): "new", log.KIND: "old"},
    ):
        assert tag_names.read(both) == {log.KIND: "new"}


@pytest.mark.parametrize(
    ("said", "step"),
    [
        ("User does not have USE CATALOG on Catalog 'dev'.", "GRANT USE CATALOG ON CATALOG"),
        ("User does not have USE SCHEMA on Schema 'dev.ml'.", "GRANT USE SCHEMA ON SCHEMA"),
        ("User does not have CREATE MODEL on Schema 'dev.ml'", "GRANT CREATE MODEL ON SCHEMA"),
        ("User does not have CREATE MODEL VERSION on 'dev.ml.a'", "GRANT CREATE MODEL VERSION ON MODEL"),
        ("User does not have APPLY TAG on 'dev.ml.a'", "GRANT APPLY TAG ON MODEL"),
        ("User does not have MANAGE on 'dev.ml.a'", "GRANT MANAGE ON MODEL"),
        ("User does not have WRITE VOLUME on Volume 'dev.ml.mlops'.", "GRANT WRITE VOLUME ON VOLUME"),
        ("User does not have CAN MANAGE RUN on job 7.", "Can Manage Run"),
        ("Catalog 'dev' does not exist.", "CREATE CATALOG"),
        ("Schema 'dev.ml' does not exist.", "CREATE SCHEMA"),
        (rules_list.SERVERLESS_ONLY, "--var clusters=false"),
        ("The number of tags exceeds the limit of 50 tags.", "mlops model tag delete"),
        ("something else", ""),
    ],
)
def test_each_refusal_has_its_way_out(said: str, step: str) -> None:
    found = refusals.way_out(said)
    assert step in found
    assert bool(found) == bool(step)


def test_a_switch_refuses_what_it_says_and_nothing_else() -> None:
    of_workspace = rules.Rules(serverless_only=True, missing=frozenset({"APPLY TAG"}), absent=frozenset({"dev.ml"}))
    of_workspace.require(("USE CATALOG",), "a catalog")
    of_workspace.require_there(["staging", "ml"])
    of_workspace.require_compute({"tasks": [{"task_key": "main"}]})
    for refused in (
        lambda: of_workspace.require(("APPLY TAG",), "a model"),
        lambda: of_workspace.require_there(["dev", "ml", "mlops"]),
        lambda: of_workspace.require_compute({"tasks": [{"new_cluster": {}}]}),
    ):
        with pytest.raises(Exception, match=r"APPLY TAG|does not exist|serverless"):
            refused()
