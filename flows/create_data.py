"""Raw table → immutable dataset version."""

from prefect import flow

from flows.flow_requests import DatasetRequest
from flows.parameters import PERSISTED, Outcome, flat, for_its_day, named
from lifecycle.data.manifest import Manifest
from tasks import compute, data


def run(request: DatasetRequest) -> Outcome[Manifest]:
    """Make the version and look at it; the same one again changes nothing."""
    request = for_its_day(request.completed())
    config = compute.settings_of(request.env, request.model_name)
    request = request.versioned(config, data.version_for)
    planned = data.plan(config, request.source_of(), **request.arguments)
    compute.run_step("create-data", planned, config)
    manifest = data.load(config.datasets, planned.data_name, planned.data_version)
    data.warn_of_too_few(config, manifest)
    data.show(manifest, str(planned.folder))
    rows = f"{manifest.rows_split:,} rows"
    return Outcome(manifest, f"Dataset {manifest.data_name} {manifest.data_version}: {rows}")


@flow(name="create-data", flow_run_name=named("create {data_name} {data_version}", DatasetRequest), **PERSISTED)
@flat
def create_data(request: DatasetRequest) -> Outcome[Manifest]:
    """Read a table strictly, validate it, quarantine bad rows, and split the rest into a new dataset version."""
    return run(request)
