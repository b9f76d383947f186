"""Samples of the rows of linear algebra."""

from tests.sample import Sample

LINALG: dict[str, list[Sample]] = {}
