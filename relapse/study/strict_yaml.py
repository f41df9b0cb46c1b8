"""YAML as a study file may be written: one mapping, no key twice."""

from pathlib import Path

import yaml

from relapse.runtime.errors import ConfigError
from relapse.study.messages import shown


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a mapping with the same key twice (YAML would keep the last one)."""

    def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode:
        # Here and not in construct_mapping, where merged keys (`<<`) stand beside those that override them.
        node = super().compose_mapping_node(anchor)
        lines: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and key.value in lines:
                raise ConfigError(
                    f"{self.name}: the key {key.value!r} stands twice, in lines {lines[key.value]} and {line}"
                )
            lines[str(key.value)] = line
        return node


def read_yaml(path: str | Path) -> dict:
    """The mapping in a YAML file. Raises ConfigError naming file and line for whatever else the file holds."""
    try:
        with open(path, "rb") as file:
            content = yaml.load(file, _StrictLoader)
    except OSError as error:
        raise ConfigError(f"cannot read the configuration {path}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    except ValueError as error:  # a scalar that looks like a date and is none
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict):
        found = "is empty" if content is None else f"is {shown(content)}"
        raise ConfigError(f"{path} {found}; a study is a mapping (`key: value` lines), as in config.yaml")
    return content
