"""Pytrees: nested dicts, lists, tuples, named tuples, attrs classes, frozen dataclasses and None, as data."""

from fgrad.tree.pytrees import (
    NAMESPACE,
    STATIC,
    Structure,
    fields,
    flatten,
    leaves,
    map,
    matching_leaves,
    named_leaves,
    paths,
    spread,
    static,
    unflatten,
)

__all__ = [
    "NAMESPACE",
    "STATIC",
    "Structure",
    "fields",
    "flatten",
    "leaves",
    "map",
    "matching_leaves",
    "named_leaves",
    "paths",
    "spread",
    "static",
    "unflatten",
]
