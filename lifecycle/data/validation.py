"""Great Expectations on the canonical columns: what stops an ingest, and which rows go to quarantine.

An expectation of severity `critical` stops; one of severity `warning` names rows, with `meta.reason` as their reason.
An expectation that could not be computed stops too, whatever its severity: Great Expectations reports it as a plain
failure with an empty result.

A long table is validated some rows at a time, since Great Expectations copies what it looks at several times; where an
expectation asks about all rows together (a mean, repeats), the whole is.
"""

import copy
import html
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lifecycle.core.errors import ConfigError, DataError
from lifecycle.core.frozen import Frozen
from lifecycle.core.names import TEXT_CLASSIFICATION
from lifecycle.settings.files import located

if TYPE_CHECKING:
    import pandas as pd

Expectations = tuple[dict[str, Any], ...]

logger = logging.getLogger(__name__)


SUITE = "rows"
"""What Great Expectations' pages call the suite."""
AT_ONCE = 200_000
"""Rows that are validated together."""
EXAMPLES = 20
"""Cells that Great Expectations shows of those that fail."""
OF_COLUMNS = frozenset(
    {"expect_table_columns_to_match_set", "expect_column_to_exist", "expect_column_values_to_be_of_type"}
)
"""What they say is the same of any rows of a table whose columns have a type."""
OF_ROWS = frozenset(
    {
        "expect_column_pair_values_a_to_be_greater_than_b",
        "expect_column_pair_values_to_be_equal",
        "expect_column_value_lengths_to_be_between",
        "expect_column_value_lengths_to_equal",
        "expect_column_values_to_be_between",
        "expect_column_values_to_be_in_set",
        "expect_column_values_to_be_null",
        "expect_column_values_to_match_regex",
        "expect_column_values_to_match_regex_list",
        "expect_column_values_to_not_be_in_set",
        "expect_column_values_to_not_be_null",
        "expect_column_values_to_not_match_regex",
        "expect_column_values_to_not_match_regex_list",
    }
)
"""What they say of a row depends on it alone."""


class Report(Frozen):
    """The outcome of one validation: each expectation with its failures, and the rows to set aside by reason."""

    results: tuple[dict[str, Any], ...]
    quarantine: dict[int, str]


def load_suite(data_name: str, problem: str | None = None) -> Expectations:
    """The expectations of a dataset: `config/expectations/<data_name>.json`; else, of texts, `default.json`.

    Those of a table follow from its columns (`Table.suite`).
    """
    own, default = (located(f"expectations/{name}.json") for name in (data_name, "default"))
    if problem not in (None, TEXT_CLASSIFICATION) and not own.exists():
        return ()
    path = own if own.exists() else default
    if not path.exists():
        raise ConfigError(f"No expectations: {default} does not exist.", "Restore it.")
    try:
        return tuple(json.loads(path.read_text(encoding="utf-8"))["expectations"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path} is not a Great Expectations suite: {error!r}.", "Correct the file.") from None


def check(
    frame: "pd.DataFrame", suite: Expectations, docs: Path, *, but: Collection[int] = (), at_once: int = AT_ONCE
) -> Report:
    """Run the suite on the rows, `but` for some, and write its Data Docs into the folder `docs`.

    Raises:
        DataError: A critical expectation failed, or one could not be computed; each is named with examples.
    """
    outcomes = _run(frame, suite, docs, but, at_once)
    results = tuple(_summary(result) for result in outcomes)
    if len(results) != len(suite):
        raise DataError(f"Only {len(results)} of {len(suite)} expectations were evaluated.", "Check the suite.")
    stopping = [r for r in results if not r["success"] and (r["severity"] == "critical" or r["error"])]
    if stopping:
        raise DataError(f"{len(stopping)} expectations failed: {_bounded(stopping)}.", "Correct the data or the suite.")
    quarantine: dict[int, str] = {}
    for result, summary in zip(outcomes, results, strict=True):
        for row in result.result.get("unexpected_index_list") or ():
            quarantine.setdefault(int(row), summary["reason"])
    logger.info("Validated %s rows with %d expectations", f"{len(frame) - len(but):,}", len(results))
    return Report(results=results, quarantine=quarantine)


def _run(frame: "pd.DataFrame", suite: Expectations, docs: Path, but: Collection[int], at_once: int) -> list[Any]:
    """The results of Great Expectations on all rows together."""
    from lifecycle.data.expectations import ExpectationConfiguration, gx

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    try:
        # One by one: a suite of dicts drops those that are not valid.
        expectations = [ExpectationConfiguration(**copy.deepcopy(each)).to_domain_obj() for each in suite]
        rules = context.suites.add(gx.ExpectationSuite(name=SUITE, expectations=expectations))
    except Exception as error:  # GX raises its own, pydantic's and plain errors for a bad suite
        raise ConfigError(f"The expectation suite is not valid: {error!s:.300}.", "Correct it.") from None
    kinds = {each["type"] for each in suite}
    size = at_once if kinds <= OF_ROWS | OF_COLUMNS and not any(map(_is_of_some, suite)) else max(1, len(frame))
    parts = [_results(rows, rules, context) for rows in _in_parts(frame, but, size)]
    whole = [_merged(of_parts) for of_parts in zip(*parts, strict=True)]
    _write_docs(whole, rules, docs)
    return whole


def _is_of_some(expectation: Mapping[str, Any]) -> bool:
    """Whether an expectation is about some rows only."""
    return bool(expectation.get("kwargs", {}).get("row_condition"))


def _in_parts(frame: "pd.DataFrame", but: Collection[int], size: int) -> "Iterator[pd.DataFrame]":
    """The rows some at a time, at least once; rows of a named index would come back as dicts."""
    for start in range(0, max(1, len(frame)), size):
        rows = frame.iloc[start : start + size].rename_axis(index=None)
        yield rows[~rows.index.isin([*but])] if but else rows


def _results(rows: "pd.DataFrame", rules: Any, context: Any) -> list[Any]:
    from lifecycle.data.expectations import PandasExecutionEngine, Validator

    engine = PandasExecutionEngine(batch_data_dict={"rows": rows})
    complete = {"result_format": {"result_format": "COMPLETE", "partial_unexpected_count": EXAMPLES}}
    validator = Validator(execution_engine=engine, data_context=context)
    found: list[Any] = validator.graph_validate(rules.expectation_configurations, runtime_configuration=complete)
    return found


def _merged(parts: Sequence[Any]) -> Any:
    """One result of those on parts of the rows."""
    broken = next((part for part in parts if _computation_error(part.exception_info or {})), None)
    if broken or len(parts) == 1 or "element_count" not in parts[0].result:
        return broken or next((part for part in parts if not part.success), parts[0])
    whole, counts, lists = parts[0], Counter[str](), defaultdict[str, list[Any]](list)
    for part in parts:
        for name, value in part.result.items():
            if isinstance(value, list):
                lists[name] += value
            elif name.endswith("_count"):
                counts[name] += value or 0
    said: dict[str, Any] = {name: lists[name][:EXAMPLES] for name in lists if name.startswith("partial_")}
    common = Counter(lists["unexpected_list"]).most_common(EXAMPLES)
    said["partial_unexpected_counts"] = [{"value": value, "count": count} for value, count in common]
    said["unexpected_index_query"] = f"df.filter(items={lists['unexpected_index_list']}, axis=0)"
    told = {**counts, **lists, **said, **_shares(counts)}
    whole.result = {name: told.get(name, value) for name, value in whole.result.items()}
    there, kwargs = counts["element_count"] - counts["missing_count"], whole.expectation_config.kwargs
    whole.success = not there or (there - counts["unexpected_count"]) / there >= kwargs.get("mostly", 1)
    return whole


def _shares(counts: Mapping[str, int]) -> dict[str, Any]:
    """What Great Expectations says of counts in percent."""
    whole, missing, unexpected = (counts[f"{name}_count"] for name in ("element", "missing", "unexpected"))
    there = whole - missing
    of_there = unexpected / there * 100 if there else None
    shares = {"unexpected_percent": of_there, "unexpected_percent_nonmissing": of_there}
    return {**shares, "unexpected_percent_total": unexpected / whole * 100, "missing_percent": missing / whole * 100}


def _write_docs(results: Sequence[Any], rules: Any, docs: Path) -> None:
    """Write the pages of the suite and of its results; of one that cannot be rendered there is none, and a warning."""
    from lifecycle.data import expectations

    outcome = _outcome(results)
    for kind, renderer, content in (
        ("expectations", expectations.ExpectationSuitePageRenderer(), rules),
        ("validations", expectations.ValidationResultsPageRenderer(), outcome),
    ):
        try:
            page = expectations.view().render(renderer.render(content))
        except Exception as error:  # a page for people decides nothing
            logger.warning("Great Expectations did not render its page of %s: %r", kind, error)
            continue
        path = docs / kind / f"{SUITE}.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(page, encoding="utf-8")


def _outcome(results: Sequence[Any]) -> Any:
    """The results together, for a page into which Great Expectations puts cells of the table as HTML."""
    from lifecycle.data import expectations

    statistics = expectations.calc_validation_statistics(results)
    shown = copy.deepcopy(list(results))
    for each in shown:
        each.result = _escaped(each.result)
    now = datetime.now(UTC)
    return expectations.ExpectationSuiteValidationResult(
        results=shown,
        success=statistics.success,
        suite_name=SUITE,
        statistics={name: value for name, value in statistics._asdict().items() if name != "success"},
        meta={
            "run_id": expectations.RunIdentifier(run_time=now),
            "validation_time": now,
            "great_expectations_version": expectations.gx.__version__,
        },
    )


def _escaped(value: Any) -> Any:
    """Texts as they can stand in a page; what no file can hold as `?`."""
    if isinstance(value, Mapping):
        return {key: _escaped(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_escaped(each) for each in value]
    return html.escape(value.encode("utf-8", "replace").decode()) if isinstance(value, str) else value


def _summary(result: Any) -> dict[str, Any]:
    config = result.expectation_config
    return {
        "expectation": config.type,
        "column": config.kwargs.get("column"),
        "severity": str(getattr(config.severity, "value", config.severity)),
        "reason": (config.meta or {}).get("reason", config.type),
        "success": bool(result.success),
        "unexpected": int(result.result.get("unexpected_count") or 0),
        "examples": [str(value)[:40] for value in (result.result.get("partial_unexpected_list") or ())[:5]],
        "error": _computation_error(result.exception_info or {}),
    }


def _computation_error(info: Mapping[str, Any]) -> str | None:
    """The message of a metric that raised: GX nests it under the metric's id, or puts it flat."""
    nested = [value for value in info.values() if isinstance(value, Mapping)]
    for each in nested or [info]:
        if each.get("raised_exception"):
            return str(each.get("exception_message"))[:200]
    return None


def _bounded(failures: list[dict[str, Any]], limit: int = 5) -> str:
    shown = []
    for failure in failures[:limit]:
        why = failure["error"] or f"{failure['unexpected']} rows, such as {failure['examples']}"
        shown.append(f"{failure['expectation']}({failure['column'] or 'table'}): {why}")
    return "; ".join(shown) + (f"; and {len(failures) - limit} more" if len(failures) > limit else "")
