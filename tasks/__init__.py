"""POLICY: how each step is run. Prefect tasks over the functions of `lifecycle`: retries, caching, engine, reports."""

import logging

from lifecycle.core.masking import guard

guard()
logging.getLogger("lifecycle").setLevel(logging.INFO)  # so that the steps' log lines reach Prefect's UI
