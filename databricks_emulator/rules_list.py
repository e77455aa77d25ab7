"""What a workspace refuses, rule by rule: its answer, what of the emulator enforces it, the test, the source."""

from typing import NamedTuple

MOST_TAGS, MOST_KEY, MOST_VALUE = 50, 255, 1000
MOST_TASKS_AT_ONCE = 5
SERVERLESS_ONLY = "Only serverless compute is supported in the workspace."

TAGS_PAGE = "https://learn.microsoft.com/azure/databricks/database-objects/tags"
PRIVILEGES_PAGE = "https://docs.databricks.com/aws/en/data-governance/unity-catalog/manage-privileges/privileges"
MODELS_PAGE = "https://docs.databricks.com/aws/en/machine-learning/manage-model-lifecycle/"
UPGRADE_PAGE = "https://docs.databricks.com/aws/en/machine-learning/manage-model-lifecycle/upgrade-workflows"
FREE_PAGE = "https://docs.databricks.com/aws/en/getting-started/free-edition-limitations"
DEPLOYMENT_PAGE = "https://docs.databricks.com/aws/en/mlflow/deployment-job"
ALIAS_PAGE = "https://docs.databricks.com/gcp/dev-tools/cli/reference/registered-models-commands"
ACCESS_PAGE = "https://docs.databricks.com/en/security/auth-authz/access-control/jobs-acl.html"
JOBS_PAGE = "https://docs.databricks.com/api/workspace/jobs"
VOLUMES_PAGE = "https://docs.databricks.com/gcp/en/volumes/privileges"
SERVING_PAGE = "https://docs.databricks.com/api/workspace/servingendpoints"
SIGNED = "mlflow 3.17.2, `store/artifact/databricks_tracking_artifact_repo.py`"
RUNTIME = "databricks-sdk 0.156.0, `runtime/__init__.py`"
BETWEEN = "a proxy or single sign-on; no page of Databricks"

REFUSED = "test_rules_kept.py::test_the_workspace_refuses_it_and_what_is_right_is_taken"
MISSING, INVALID = "403 PERMISSION_DENIED", "400 INVALID_PARAMETER_VALUE"


class Rule(NamedTuple):
    """What is refused, how the workspace answers, what of the emulator enforces it, the test, where it is written."""

    rule: str
    answer: str
    check: str
    test: str
    source: str


def _refused(rule: str, answer: str, check: str, source: str) -> Rule:
    """A rule that one call breaks: all of them have one test."""
    return Rule(rule, answer, check, REFUSED, source)


OF_TAGS = (
    _refused(
        "The key of a tag in Unity Catalog holds none of `. , - = / :`",
        f"{INVALID}, `Tag name … contains one or more of the reserved characters`",
        "`rules.check_tags`",
        TAGS_PAGE,
    ),
    _refused(
        f"A key has at most {MOST_KEY} characters, a value {MOST_VALUE:,}", INVALID, "`rules.check_tags`", TAGS_PAGE
    ),
    _refused("Neither key nor value of a tag begins or ends with a space", INVALID, "`rules.check_tags`", TAGS_PAGE),
    _refused(f"An object has at most {MOST_TAGS} tags", INVALID, "`rules.check_tags`", TAGS_PAGE),
)

OF_GRANTS = (
    _refused(
        "Whatever lies in a catalog or schema needs USE CATALOG and USE SCHEMA",
        f"{MISSING}, with the privilege",
        "`missing`",
        PRIVILEGES_PAGE,
    ),
    _refused("A registered model is made with CREATE MODEL", MISSING, "`missing`", PRIVILEGES_PAGE),
    _refused("A version is added with CREATE MODEL VERSION, or by the owner", MISSING, "`missing`", UPGRADE_PAGE),
    _refused("A tag is set with APPLY TAG, or by the owner", MISSING, "`missing`", TAGS_PAGE),
    _refused("A version is read with EXECUTE", MISSING, "`missing`", PRIVILEGES_PAGE),
    _refused(
        "An alias is set, a model changed or deleted by its owner, or with MANAGE", MISSING, "`missing`", ALIAS_PAGE
    ),
    _refused("A file of a volume is read with READ VOLUME", MISSING, "`missing`", VOLUMES_PAGE),
    _refused(
        "A file of a volume is written or removed with READ VOLUME and WRITE VOLUME", MISSING, "`missing`", VOLUMES_PAGE
    ),
    _refused("A job is started or cancelled with CAN MANAGE RUN", MISSING, "`missing`", ACCESS_PAGE),
    _refused(
        "Catalog and schema of a model are there before it",
        "404 CATALOG_DOES_NOT_EXIST, SCHEMA_DOES_NOT_EXIST",
        "`absent`",
        MODELS_PAGE,
    ),
    _refused("Catalog, schema and volume of a file are there before it", "404 NOT_FOUND", "`absent`", VOLUMES_PAGE),
)

OF_JOBS = (
    Rule(
        "A new version starts the deployment job of its model, which takes `model_name` and `model_version`",
        "no run; the model says NOT_FOUND or REQUIRED_PARAMETERS_CHANGED instead of CONNECTED",
        "`deployment_jobs`",
        "test_deploy.py::test_a_model_is_linked_to_its_deployment_job_which_judges_each_new_version",
        DEPLOYMENT_PAGE,
    ),
    _refused(
        "A workspace without classic compute takes no `new_cluster`, `job_clusters`, `existing_cluster_id`",
        f"{INVALID} as soon as the job is made, `{SERVERLESS_ONLY}`",
        "`serverless_only`",
        FREE_PAGE,
    ),
    Rule(
        f"Such a workspace runs at most {MOST_TASKS_AT_ONCE} tasks of jobs at a time",
        "further runs wait in the queue, or are SKIPPED without one",
        "`serverless_only`",
        "test_rules_kept.py::test_a_workspace_without_clusters_has_room_for_five_tasks",
        FREE_PAGE,
    ),
    Rule(
        "Jobs without clusters reach the workspace, and of the internet nothing that is not trusted",
        "the connection fails in the task",
        "`offline`",
        "test_rules_kept.py::test_a_job_that_may_not_go_out_says_where_to_put_the_file",
        FREE_PAGE,
    ),
    Rule(
        "A task finds neither host nor token in its environment: its runtime signs it in",
        "nothing is signed in by `DATABRICKS_HOST` and `DATABRICKS_TOKEN`",
        "`execution_launcher._offer`",
        "test_emulator_jobs.py::test_a_task_reaches_its_workspace_by_its_runtime_alone",
        RUNTIME,
    ),
    _refused(
        "The parameters of a run have at most 10,000 bytes as JSON, quotes and backslashes escaped",
        f"{INVALID}, `job_parameters exceeds the limit`",
        "`jobs_settings._check_size`",
        JOBS_PAGE,
    ),
    _refused("An idempotency token has at most 64 characters", INVALID, "`jobs.run_now`", JOBS_PAGE),
    Rule(
        "The token of a run that was deleted starts nothing",
        f"{INVALID}, `The run with idempotency token … has been deleted`",
        "`jobs.run_now`",
        "test_rules_kept.py::test_the_token_of_a_deleted_run_starts_nothing",
        JOBS_PAGE,
    ),
)

OF_SERVING = (
    _refused("What is served is the number of a version, no alias", INVALID, "`serving._entity`", SERVING_PAGE),
    _refused(
        "A served entity has a `workload_size`, or else `min_` and `max_provisioned_concurrency`",
        INVALID,
        "`serving._entity`",
        SERVING_PAGE,
    ),
    _refused("`workload_type` is CPU or one of the GPU types", INVALID, "`serving._entity`", SERVING_PAGE),
    _refused(
        "The name of a served entity has letters, digits, `-` and `_` alone, and no other bears it",
        INVALID,
        "`serving._entity`",
        SERVING_PAGE,
    ),
    _refused(
        "A served entity is a model of the registry or an `external_model`, not both",
        INVALID,
        "`serving._entity`",
        SERVING_PAGE,
    ),
    _refused("The shares of the traffic add up to 100", INVALID, "`serving._checked`", SERVING_PAGE),
)

OF_ANSWERS = (
    Rule(
        "Files of runs and logged models may be had by signed URLs alone",
        f"{MISSING} of the Files API; MLflow asks `credentials-for-…` then",
        "`signed_urls_only`",
        "test_emulator_tracking.py::test_where_the_files_api_is_closed_the_files_of_runs_and_models_go_by_signed_urls",
        SIGNED,
    ),
    Rule(
        "What stands between answers in place of the workspace",
        "200 with a login page, half a body or none; 302 to a login",
        "`faults.CallFault`, on demand",
        "test_fault_matrix.py::test_one_run_at_most_and_none_left",
        BETWEEN,
    ),
)

RULES = (*OF_TAGS, *OF_GRANTS, *OF_JOBS, *OF_SERVING, *OF_ANSWERS)
