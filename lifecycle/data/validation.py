"""Great Expectations on the canonical columns: what stops an ingest, and which rows go to quarantine.

An expectation of severity `critical` stops; one of severity `warning` names rows, with `meta.reason` as their reason.
An expectation that could not be computed stops too, whatever its severity: Great Expectations reports it as a plain
failure with an empty result.
"""

import copy
import html
import json
import logging
from collections.abc import Mapping
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


def check(frame: "pd.DataFrame", suite: Expectations, docs: Path) -> Report:
    """Run the suite through a Checkpoint and write its Data Docs into the folder `docs`.

    Raises:
        DataError: A critical expectation failed, or one could not be computed; each is named with examples.
    """
    outcome = _run_checkpoint(frame, suite, docs)
    results = tuple(_summary(result) for result in outcome.results)
    if len(results) != len(suite):
        raise DataError(f"Only {len(results)} of {len(suite)} expectations were evaluated.", "Check the suite.")
    stopping = [r for r in results if not r["success"] and (r["severity"] == "critical" or r["error"])]
    if stopping:
        raise DataError(f"{len(stopping)} expectations failed: {_bounded(stopping)}.", "Correct the data or the suite.")
    quarantine: dict[int, str] = {}
    for result, summary in zip(outcome.results, results, strict=True):
        for row in result.result.get("unexpected_index_list") or ():
            quarantine.setdefault(int(row), summary["reason"])
    logger.info("Validated %s rows with %d expectations", f"{len(frame):,}", len(results))
    return Report(results=results, quarantine=quarantine)


def _run_checkpoint(frame: "pd.DataFrame", suite: Expectations, docs: Path) -> Any:
    from lifecycle.data.expectations import ExpectationConfiguration, gx

    unnamed = frame.rename_axis(index=None)  # rows of a named index would come back as dicts
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    context.add_data_docs_site("dataset", _site(docs))
    context.delete_data_docs_site("local_site")
    try:
        # One by one: a suite of dicts drops those that are not valid.
        expectations = [ExpectationConfiguration(**copy.deepcopy(each)).to_domain_obj() for each in suite]
        rules = context.suites.add(gx.ExpectationSuite(name="rows", expectations=expectations))
    except Exception as error:  # GX raises its own, pydantic's and plain errors for a bad suite
        raise ConfigError(f"The expectation suite is not valid: {error!s:.300}.", "Correct it.") from None
    asset = context.data_sources.add_pandas("source").add_dataframe_asset("rows")
    data = asset.add_batch_definition_whole_dataframe("all")
    definition = context.validation_definitions.add(gx.ValidationDefinition(name="rows", data=data, suite=rules))
    checkpoint = gx.Checkpoint(
        name="ingest",
        validation_definitions=[definition],
        actions=[gx.checkpoint.UpdateDataDocsAction(name="docs", site_names=["dataset"])],
        result_format={"result_format": "COMPLETE"},
    )
    outcome = context.checkpoints.add(checkpoint).run(batch_parameters={"dataframe": unnamed})
    return next(iter(outcome.run_results.values()))


class EscapedPage:
    """Great Expectations' page of results; on its own it puts cells of the table into the page as HTML."""

    def __init__(self, **_: Any) -> None:
        pass

    def render(self, results: Any) -> Any:
        """Render results whose texts are escaped."""
        from great_expectations.render.renderer import ValidationResultsPageRenderer

        safe = copy.deepcopy(results)
        for each in safe.results:
            each.result = _escaped(each.result)
        return ValidationResultsPageRenderer().render(safe)


def _escaped(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _escaped(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_escaped(each) for each in value]
    return html.escape(value) if isinstance(value, str) else value


def _site(docs: Path) -> Any:
    page = {"module_name": EscapedPage.__module__, "class_name": EscapedPage.__name__}
    return {
        "class_name": "SiteBuilder",
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder"},
        "site_section_builders": {"validations": {"renderer": page}},
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(docs)},
    }


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
