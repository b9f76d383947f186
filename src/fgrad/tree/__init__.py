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
    static,
    unflatten,
)
from fgrad.tree.surgery import Difference, Differences, Lens, UntypedLens, at, combine, diff, partition, replace

__all__ = [
    "NAMESPACE",
    "STATIC",
    "Difference",
    "Differences",
    "Lens",
    "Structure",
    "UntypedLens",
    "at",
    "combine",
    "diff",
    "fields",
    "flatten",
    "leaves",
    "map",
    "matching_leaves",
    "named_leaves",
    "partition",
    "paths",
    "replace",
    "static",
    "unflatten",
]
