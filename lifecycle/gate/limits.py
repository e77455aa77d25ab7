"""What a gate can ask of a dataset, found out before anything is computed that it would then refuse.

`require_before_training`  the rules of an environment can be asked of the data that a new model will be judged on
`require_before_judging`   the same for a model that there is
"""

from collections.abc import Iterable, Iterator

from pyarrow import parquet

from lifecycle.core import class_names
from lifecycle.core.errors import ConfigError, NotFoundError
from lifecycle.core.names import Side
from lifecycle.core.references import ModelRef
from lifecycle.data import dataset, lock
from lifecycle.data.manifest import Manifest
from lifecycle.evaluation import evaluate as evaluation
from lifecycle.evaluation.slices import column_of, require_few
from lifecycle.problems.behaviour import suites
from lifecycle.problems.judging import CATEGORIES, Judging
from lifecycle.problems.known import named
from lifecycle.problems.metric import own_function
from lifecycle.settings import Settings
from lifecycle.settings.gate_rules import OF_A_CLASS, GateRules
from lifecycle.storage import volumes
from lifecycle.training import train as training

SHOWN = 10
"""How many classes a message names."""


def require_before_training(config: Settings, data_name: str, data_version: str) -> None:
    """Refuse rules that the gate could not ask of a model trained on a dataset version.

    Raises:
        ConfigError: A rule names a class, a suite or a function of one's own that there is not; or there is no such
            dataset to judge on.
        DataError: A column that is to make slices of the rows is not there, or makes too many.
    """
    chosen = config.gate_data
    judged_on = _named(config, chosen.data_name or data_name, chosen.data_version or data_version)
    _require(config, judged_on, _named(config, data_name, data_version))


def require_before_judging(config: Settings, challenger: ModelRef, data_name: str, data_version: str) -> None:
    """Refuse rules that the gate could not ask of a challenger on a dataset version.

    Raises:
        ConfigError, DataError: As before a training.
    """
    origin = _origin(config, challenger) if config.gate.costs else None
    _require(config, _named(config, data_name, data_version), origin)


def _named(config: Settings, data_name: str, data_version: str) -> Manifest:
    version = dataset.resolve(config.datasets, data_name, data_version)
    return dataset.load(config.datasets, data_name, version)


def _origin(config: Settings, model: ModelRef) -> Manifest | None:
    """What a model was trained on, as far as its run says and it lies here."""
    try:
        return _named(config, *training.trained_on(model.tracking_uri, model.run_id))
    except NotFoundError:
        return None


def _require(config: Settings, judged_on: Manifest, origin: Manifest | None) -> None:
    judging = named(judged_on.problem).judging
    rules = judging.completed(config.gate)
    _require_applicable(judged_on, judging, rules)
    suites.load(rules.behaviour, named(judged_on.problem).table.texts)
    _require_functions(rules)
    side = evaluation.judged_side(judged_on)
    where = f"the {side} of {judged_on.data_name} {judged_on.data_version}"
    for rule, label in _classes_of_metrics(rules):
        _require_class(rule, label, judged_on.counts.get(side, {}), where)
    if origin is not None:  # what a model may answer costs something, even where no row is of that class
        for rule, label in _classes_of_costs(rules):
            _require_class(rule, label, (*judged_on.classes, *origin.classes), f"{where}, like what it is trained on,")
    _require_slices(config, judged_on, side)


def _require_applicable(judged_on: Manifest, judging: Judging, rules: GateRules) -> None:
    """Refuse rules, and metrics in them, that the problem does not have: they would never be asked."""
    if inapplicable := [*judging.inapplicable(rules)]:
        what = f"{', '.join(inapplicable)}: {judged_on.data_name} is about {judged_on.problem}, which has no such rule."
        raise ConfigError(what, "Take it out of the gate's rules: mlops config show")
    for metric in (rules.metric, *rules.floors, *rules.ceilings):
        judging.named(metric, rules)


def _require_functions(rules: GateRules) -> None:
    for name, path in rules.own_metrics.items():
        try:
            own_function(path)
        except (Exception, SystemExit) as error:  # a module may raise anything
            what = f"gate.own_metrics: {name} is {path}, which cannot be imported: {type(error).__name__}: {error}."
            raise ConfigError(what, "Correct it, or put the folder of its module on PYTHONPATH.") from None


def _classes_of_metrics(rules: GateRules) -> Iterator[tuple[str, str]]:
    """The classes whose metric a rule asks for, each with that rule."""
    asked = [("metric", rules.metric), *(("floors", name) for name in rules.floors)]
    for place, name in asked:
        if name.startswith(OF_A_CLASS) and name not in rules.own_metrics:
            yield f"gate.{place}: {name}", name.split(".", 1)[1]


def _classes_of_costs(rules: GateRules) -> Iterator[tuple[str, str]]:
    for truth, by_label in (rules.costs.matrix if rules.costs else {}).items():
        for label in (truth, *by_label):
            yield "gate.costs", label


def _require_class(rule: str, label: str, there: Iterable[str], where: str) -> None:
    known = sorted({class_names.canonical(each) for each in there})
    if label in known:
        return
    meant = class_names.nearest(label, known)
    asked = f" Did you mean {meant!r:.40}?" if meant is not None else ""
    shown = ", ".join(f"{each!r:.40}" for each in known[:SHOWN]) + (", …" if len(known) > SHOWN else "")
    what = f"{rule}: {where} has no class {label!r:.40}, only {shown}.{asked}"
    raise ConfigError(what, "Correct the rule (mlops config show), or judge on data that has the class.")


def _require_slices(config: Settings, judged_on: Manifest, side: Side) -> None:
    """Look at the columns that make slices, and at no others."""
    rules, problem = config.gate.slices, named(judged_on.problem)
    columns = [by for by in rules.by or () if by not in {CATEGORIES, *problem.judging.slices}]
    if not columns:
        return
    with lock.undisturbed(config.datasets):
        path = volumes.local(dataset.rows_file(config.datasets, judged_on.data_name, judged_on.data_version))
        there = {"truth", *parquet.read_schema(path).names} - {problem.target, "key", "split"}
        stored = {by: problem.target if by == "truth" else column_of(by, there) for by in columns}
        rows = parquet.read_table(path, columns=[*{*stored.values(), "split"}], filters=[("split", "==", str(side))])
    for by, name in stored.items():
        values = rows[name].to_pandas()
        if values.dtype.kind not in "fiu":  # numbers make quarters
            require_few(by, values.nunique(), rules.max_values)
