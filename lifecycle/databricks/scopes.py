"""Secrets of a workspace: what a request refers to by a variable that a job does not have is read from a secret scope.

`${MLOPS_SECRET_NEWS}` is the key `news` of the scope; serverless compute knows no other way to hand a job a secret.
"""

import base64
import os

from lifecycle.core import masking, secrets
from lifecycle.databricks.client import answers, client


def give(text: str, scope: str) -> None:
    """Give this process the variables that a text refers to and that it does not have; without a scope none.

    Raises:
        NotFoundError: The scope or the key is not there.
        ConfigError: Whoever this is may not read it.
    """
    for name in dict.fromkeys(secrets.REFERENCE.findall(text)):
        if scope and name not in os.environ:
            os.environ[name] = _read(scope, name.removeprefix(secrets.PREFIX).lower())


def _read(scope: str, key: str) -> str:
    with answers(f"The secret {key} of the scope {scope}"):
        found = client().secrets.get_secret(scope, key)
    value = base64.b64decode(found.value or "").decode()
    masking.know(value)
    return value
