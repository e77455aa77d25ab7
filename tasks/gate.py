"""`lifecycle.gate` under orchestration. A verdict's key holds both models, so a changed champion is judged anew."""

from lifecycle.evaluation import evaluate as evaluation
from lifecycle.gate import judge as judging
from lifecycle.gate import limits, retrained
from tasks.policies import on_data, on_registry

request_for = on_data(evaluation.request_for).with_options(name="choose the rows to judge on")
rule_for = on_data(retrained.rule_for).with_options(name="choose the rule")
further_requests = on_data(evaluation.further_requests).with_options(name="choose further rows to look at")
judge = on_data(judging.judge)
require_before_training = on_registry(limits.require_before_training).with_options(name="check the gate's rules")
require_before_judging = on_registry(limits.require_before_judging).with_options(name="check the gate's rules")
warn_of_too_few = on_registry(limits.warn_of_too_few).with_options(name="count the rows to judge on")
