"""How a file of YAML is read: as its writer meant it, where YAML itself says something else or nothing."""

import re
from typing import Any

import yaml

MOST_VALUES = 100_000
"""Of names and values; a file of aliases to aliases becomes more than any memory holds."""


def load(text: str) -> Any:
    """The content of a text of YAML.

    Raises:
        yaml.YAMLError: It is none, a name appears twice in one mapping, or it holds too much.
        ValueError: A date or a number in it is none, or a value refers to itself.
    """
    content = yaml.load(text, _Loader)  # noqa: S506  a safe loader, and more than that
    waiting, seen = [content], 0
    while waiting:
        value = waiting.pop()
        seen += 1
        if seen > MOST_VALUES:
            raise ValueError("a value refers to itself, or there are too many")
        if isinstance(value, dict):
            waiting += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple | set):
            waiting += value
    return content


class _Loader(yaml.SafeLoader):
    """PyYAML takes the last of several values of a name, and reads 007 as octal and 12:30 as 750."""

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Refuse a name that is written twice, before others are merged into the mapping."""
        written = set[tuple[str, str]]()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in written:
                    what = f"{key.value!r:.80} appears twice"
                    raise yaml.constructor.ConstructorError(None, None, what, key.start_mark)
                written.add((key.tag, key.value))
        super().flatten_mapping(node)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> Any:
        """A number, unless its signs are those of a name or a time of day."""
        is_text = re.fullmatch(r"[-+]?0[0-9_]+|[^:]*:.*", str(node.value))
        return str(node.value) if is_text else super().construct_yaml_int(node)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
