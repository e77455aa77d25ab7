"""What a flow answers: small values that say what happened and what is in place now."""

from collections import Counter

from lifecycle.core.frozen import Frozen
from lifecycle.core.names import Environment
from lifecycle.data.manifest import Manifest
from lifecycle.gate.verdict import Verdict
from lifecycle.inference.manifest import BatchManifest
from lifecycle.monitoring.findings import Standing
from lifecycle.monitoring.probation import Probation
from lifecycle.monitoring.restoration import Restored
from lifecycle.registry.promotion import Promotion
from lifecycle.serving.served import Served


class Approval(Frozen):
    """What a person answered to the verdict of this digest; `by` is empty where nobody did."""

    approved: bool
    by: str = ""
    reason: str
    verdict_digest: str


class Admission(Frozen):
    """How a challenger fared in one environment: its verdict, and the promotion if it was accepted.

    Without a verdict it was promoted by hand, or, without a promotion too, was champion already.
    """

    env: Environment
    model: str
    challenger: str
    verdict: Verdict | None = None
    approval: Approval | None = None
    promotion: Promotion | None = None
    message: str

    @property
    def refused(self) -> bool:
        """Whether the gate refused the challenger, or a person did not approve it."""
        by_gate = self.verdict is not None and not self.verdict.promote
        return by_gate or (self.approval is not None and not self.approval.approved)


class Batch(Frozen):
    """Predictions in place: where, and what they hold."""

    folder: str
    manifest: BatchManifest


class Monitored(Frozen):
    """Where a model stands in production: its open alerts, its probation, and rollbacks that were made just now."""

    model: str
    standing: Standing | None
    probation: Probation
    restored: tuple[Restored, ...] = ()
    served: Served | None = None
    """What its endpoint serves, if that was changed just now."""


class Retraining(Frozen):
    """What an event has led to: a training and what the gate said, or why there was none."""

    model: str
    refusal: str = ""
    admission: Admission | None = None


class Release(Frozen):
    """The whole way of one model: its data, each environment in order, and the first batch in production."""

    dataset: Manifest
    admissions: tuple[Admission, ...]
    batch: Batch | None = None

    @property
    def judged_alike(self) -> tuple[Environment, ...]:
        """The environments whose gates judged on the very same rows: together they are one test."""
        judged = [(each.env, each.verdict) for each in self.admissions if each.verdict]
        rows = Counter((verdict.dataset_digest, verdict.side) for _, verdict in judged)
        alike = [env for env, verdict in judged if rows[verdict.dataset_digest, verdict.side] > 1]
        return tuple(alike)

    @property
    def refused(self) -> bool:
        """Whether the model was refused in an environment; the release ended there."""
        return any(admission.refused for admission in self.admissions)
