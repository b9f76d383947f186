"""Summaries: what the table says is what the leaves are."""

import attrs
import numpy as np
import pytest

from fgrad import nn, tree
from fgrad.nn.summary import Row, summary
from fgrad.random import Key

TREES: list[object] = [
    nn.MLP.init(Key(0), [64, 32, 10]),
    nn.Linear.init(Key(0), 3, 0, dtype=np.float32),
    {"w": [1.0, 2, True, None], "b": np.zeros((2, 3, 4), np.int8)},
    np.ones(3),
    0.5,
    (),
]


@pytest.mark.parametrize("value", TREES, ids=lambda value: type(value).__name__)
def test_rows_are_the_leaves(value: object) -> None:
    found = summary(value)
    arrays = [np.asarray(leaf) for leaf in tree.leaves(value)]
    assert [row.shape for row in found.rows] == [x.shape for x in arrays]
    assert [row.dtype for row in found.rows] == [str(x.dtype) for x in arrays]
    assert (found.count, found.nbytes) == (sum(x.size for x in arrays), sum(x.nbytes for x in arrays))
    assert [row.path for row in found.rows] == [path.removeprefix(".") for path in tree.named_leaves(value, "")]


def test_the_table_is_aligned() -> None:
    lines = str(summary(nn.MLP.init(Key(0), [64, 32, 10]))).splitlines()
    assert lines == [
        "path         shape     dtype         count",
        "layers[0].w  (64, 32)  float64       2,048",
        "layers[0].b  (32,)     float64          32",
        "layers[1].w  (32, 10)  float64         320",
        "layers[1].b  (10,)     float64          10",
        "total                  19,280 bytes  2,410",
    ]


def test_rows_are_plain_data() -> None:
    (row,) = summary({"b": 0.5}).rows
    assert row == Row("['b']", (), "float64", 1, 8)
    assert attrs.asdict(row) == {"path": "['b']", "shape": (), "dtype": "float64", "count": 1, "nbytes": 8}


def test_html_is_escaped() -> None:
    html = summary({"<script>&": 1.0})._repr_html_()
    assert "<script>" not in html
    assert "<td>[&#x27;&lt;script&gt;&amp;&#x27;]</td>" in html
    assert html.count("<tr>") == html.count("</tr>") == 3
