# The image of compose.yaml: the server, MLflow and the worker are the versions that constraints.txt pins.
FROM python:3.11.13-slim-bookworm

ENV PYTHONUNBUFFERED=1 DO_NOT_TRACK=1 MLFLOW_DISABLE_TELEMETRY=true GIT_PYTHON_REFRESH=quiet
WORKDIR /app
COPY . .
RUN pip install --no-cache-dir -c constraints.txt -e '.[prefect,server,databricks]' \
 && useradd --create-home --uid 1000 mlops && mkdir /state /artifacts && chown mlops /state /artifacts
USER 1000
