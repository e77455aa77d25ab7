"""Refusals: every one is an `MlflowException`, whose code gives the status and the body that clients expect."""

import json
import sys
import traceback

from mlflow.exceptions import MlflowException, get_error_code
from mlflow.protos.databricks_pb2 import ErrorCode
from starlette.requests import Request
from starlette.responses import JSONResponse

STATUSES = dict.fromkeys(
    ("INVALID_STATE", "MALFORMED_REQUEST", "DIRECTORY_NOT_EMPTY", "MAX_NOTEBOOK_SIZE_EXCEEDED"), 400
) | dict.fromkeys(("CATALOG_DOES_NOT_EXIST", "SCHEMA_DOES_NOT_EXIST"), 404)
"""Where a workspace answers with another status than MLflow's own server."""


def refusal(code: str, message: str) -> MlflowException:
    """The exception that answers a request with an error code of Databricks."""
    return MlflowException(message, ErrorCode.Value(code))


def respond(_: Request, error: Exception) -> JSONResponse:
    """The reply to a refused request; anything unforeseen is an internal error that names itself."""
    if not isinstance(error, MlflowException):
        traceback.print_exception(error, file=sys.stderr)
        error = refusal("INTERNAL_ERROR", f"{type(error).__name__}: {error}")
    body = json.loads(error.serialize_as_json())
    return JSONResponse(body, STATUSES.get(error.error_code, error.get_http_status_code()))


def code_of(status: int) -> str:
    """The error code that goes with an HTTP status; without one, clients make up a status of their own."""
    return ErrorCode.Name(get_error_code(status))


def not_emulated(request: Request) -> JSONResponse:
    """Refuse what is not emulated by name: a silent 200 would let a client believe in an effect."""
    return respond(request, refusal("NOT_IMPLEMENTED", f"{request.method} {request.url.path} is not emulated"))
