"""A nested value as one level: each leaf by its dotted name."""

import json
from collections.abc import Mapping
from typing import Any


def leaves(value: Mapping[str, Any], below: str = "") -> dict[str, Any]:
    """Give each leaf of a nested value its dotted name."""
    found: dict[str, Any] = {}
    for key, inner in value.items():
        name = f"{below}.{key}" if below else key
        found |= leaves(inner, name) if isinstance(inner, Mapping) else {name: inner}
    return found


def texts(value: Mapping[str, Any]) -> dict[str, str]:
    """Give the text of each leaf that says something: JSON, but for what is text already."""
    said = {name: leaf for name, leaf in leaves(value).items() if leaf is not None}
    return {name: leaf if isinstance(leaf, str) else json.dumps(leaf) for name, leaf in said.items()}
