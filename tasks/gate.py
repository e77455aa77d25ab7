"""`lifecycle.gate` under orchestration. A verdict's key holds both models, so a changed champion is judged anew."""

from lifecycle.gate import judge as judging
from lifecycle.gate import limits
from lifecycle.registry import comparison
from tasks.policies import on_data, on_registry

planned = on_registry(comparison.planned).with_options(name="plan the comparison")
evaluations = on_data(judging.evaluations).with_options(name="choose what to predict")
rows_for = on_registry(comparison.rows_for).with_options(name="choose the rows to judge on")
judge = on_data(judging.judge)
require_before_training = on_registry(limits.require_before_training).with_options(name="check the gate's rules")
