"""The name under which the wheel installs this project; importing it makes our packages findable.

`cli`, `flows`, `tasks` and `lifecycle` are names that anybody may use. In the wheel they lie in this folder, in a
checkout beside it, and after `import mlops_lifecycle` those names mean ours, whatever else is called so.
"""

from mlops_lifecycle import start

start.find()
