"""`lifecycle.monitoring` under orchestration: the batch is published by then, and nothing here unmakes it."""

import logging

from lifecycle.core.errors import MlopsError
from lifecycle.data import delta
from lifecycle.inference import tables
from lifecycle.inference.manifest import BatchRequest
from lifecycle.monitoring import examples, served, store, watch
from lifecycle.monitoring import report as pages
from lifecycle.monitoring.findings import Alert, Standing
from lifecycle.monitoring.subject import Subject
from lifecycle.registry import catalog
from lifecycle.settings import Settings, definitions
from tasks import compute, events, reports
from tasks.policies import on_registry

logger = logging.getLogger("lifecycle.monitoring")

requests_of = on_registry(served.requests_of).with_options(name="look for served requests")
measure_requests = on_registry(served.measure).with_options(name="measure the requests")
measure = on_registry(watch.watch).with_options(name="measure the batch")


def with_sample(batch: BatchRequest, config: Settings) -> BatchRequest:
    """The same batch, of which some inputs are kept until it is measured; not if it is not to be."""
    return (
        batch.model_copy(update={"sample": watch.sample_of(batch, config.measurements)})
        if is_watched(batch, config)
        else batch
    )


def after(batch: BatchRequest, config: Settings) -> None:
    """Measure a published batch and tell of alerts."""
    request = watch.Watch(
        batch=batch,
        rules=config.monitoring,
        root=config.measurements,
        data_root=config.datasets,
        gate=config.gate,
    )
    tell(measure(request), config)


def of_requests(config: Settings, subject: Subject, model_name: str) -> MlopsError | None:
    """Measure what was asked of servers since; a table of a catalog is read by a job, where Spark is.

    What goes wrong is the answer, so that batches are looked at all the same.
    """
    try:
        table, definition = config.monitoring.served.table, definitions.chosen(model_name)[1]
        place = tables.absolute(table) if table else str(config.requests / subject.name)
        found = requests_of(subject, place, definition.row_key if definition else None)
        if found and config.platform == "databricks" and delta.is_name(found.table):
            compute.run_step("monitor", found, config)
        elif found:
            measure_requests(found)
    except MlopsError as error:
        logger.warning("Requests were not measured: %s", error)
        return error
    return None


def refresh(config: Settings, model_name: str) -> Standing | None:
    """Where a model stands by all that was measured, and what nobody was told of is told; None before the first."""
    name = config.registered_name(model_name)
    tell(tuple(store.untold(config.measurements, name, config.monitoring)), config)
    return store.refresh(config.measurements, name, config.monitoring)


def write_page(config: Settings, subject: Subject) -> None:
    """Write the page of a model beside what was measured of it, and link it."""
    history = pages.gathered(config.measurements, subject.name, config.monitoring, config.predictions)
    champions = pages.promotions(catalog.history(subject.target))
    path = config.measurements / subject.name / "report.html"
    store.write(path, pages.render(history._replace(promotions=champions)).encode())
    reports.link_page(path, subject.name)


def tell(alerts: tuple[Alert, ...], config: Settings) -> None:
    """Send the event of each new alert, show it, and record that it was told: at least once, whatever is killed."""
    for each in alerts:
        alert = examples.with_keys(each, config.predictions)
        logger.warning("ALERT %s. See: %s", alert.told, watch.next_command(alert))
        events.emit_alert(alert, config.env, watch.next_command(alert))
        reports.show_alert(alert, watch.next_command(alert))
        store.mark_told(config.measurements, each)  # without keys: what was told stays


def is_watched(batch: BatchRequest, config: Settings) -> bool:
    """Whether it is to be measured: what was scored by a run alone is nobody's production."""
    return config.monitoring.enabled and batch.model.version is not None
