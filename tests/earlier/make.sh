#!/usr/bin/env bash
# Makes the state directory of a release, by that release's own commands: an environment in /opt/mlops that holds its wheel.
set -euo pipefail
mlops=/opt/mlops/bin/mlops
sample=$(/opt/mlops/bin/python -c 'import mlops_lifecycle, pathlib; print(pathlib.Path(mlops_lifecycle.__file__).parent / "examples/financial_news.csv")')
rm -rf /var/tmp/earlier && mkdir -p /var/tmp/earlier/in && cd /var/tmp/earlier
export XDG_CACHE_HOME=/var/tmp/earlier/cache MLOPS_HOME=/var/tmp/earlier/state
head -701 "$sample" > in/news.csv
head -800 "$sample" > in/grown.csv
head -61 "$sample" > in/batch.csv
create() { "$mlops" data create --data-name news --text-column Sentence --label-column Sentiment "$@"; }
train() { "$mlops" train --data-name news --model-name sentiment "$@"; }

create --data-version 1.0.0 --source in/news.csv
train --data-version 1.0.0 --model-type logistic_regression
"$mlops" promote --model-name sentiment --from dev --to staging
"$mlops" promote --model-name sentiment --from staging --to prod
"$mlops" infer --model-name sentiment --env prod --input in/batch.csv --text-column Sentence --logical-date 2026-11-28
create --data-version 1.1.0 --source in/grown.csv
MLOPS_GATE__RETRAINING__MARGIN=0.2 train --data-version 1.1.0 --model-type logistic_regression
"$mlops" rollback --model-name sentiment --env dev --reason again
train --data-version 1.0.0 --model-type random_forest --model-params "{'max_depth': 1}" --register || test $? = 4
