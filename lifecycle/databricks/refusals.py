"""What to do about a refusal of a workspace: the grant or the setting that its words name."""

import re

SEE = "see docs/databricks.md"
_SCHEMA = "USE SCHEMA|CREATE MODEL(?! VERSION)|CREATE TABLE|CREATE VOLUME"
_WAYS_OUT = (
    (r"\b(?P<what>USE CATALOG)\b", "Ask its owner: GRANT {what} ON CATALOG … TO `<who runs this>`"),
    (rf"\b(?P<what>{_SCHEMA})\b", "Ask its owner: GRANT {what} ON SCHEMA … TO `<who runs this>`"),
    (r"\b(?P<what>(?:READ|WRITE) VOLUME)\b", "Ask its owner: GRANT {what} ON VOLUME … TO `<who runs this>`"),
    (
        r"\b(?P<what>CREATE MODEL VERSION|APPLY TAG|EXECUTE|MANAGE)\b(?! RUN)",
        "Ask the owner of the model: GRANT {what} ON MODEL … TO `<who runs this>`",
    ),
    (r"\bCAN[_ ]MANAGE[_ ]RUN\b", "Whoever manages the job gives it: Permissions, Can Manage Run"),
    (
        r"(?P<what>Catalog|Schema|Volume) '[^']*' (?:does not exist|was not found)",
        "Make it (CREATE {what} …), or correct catalog, schema_name or databricks.volume in config/<env>.yaml",
    ),
    (
        r"Only serverless compute is supported",
        "Deploy without the jobs on clusters (--var clusters=false), and name none of them in databricks.jobs",
    ),
    (r"reserved characters", "Use letters, digits and _ in the key of a tag"),
    (r"exceeds the limit of \d+ tags|number of tags", "Remove tags that nobody needs: mlops model tag delete"),
)


def way_out(said: str) -> str:
    """The next step after a refusal in the workspace's own words; empty if they name nothing that helps."""
    for pattern, step in _WAYS_OUT:
        if found := re.search(pattern, said, re.IGNORECASE if pattern.startswith("\\bCAN") else 0):
            what = found.groupdict().get("what", "")
            return f"{step.format(what=what.upper())}; {SEE}."
    return ""
