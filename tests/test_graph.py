"""Graphs of every shape and size: shared, deep, wide; freed, copied, pickled and printed without recursion."""

import copy
import gc
import pickle
import sys
import weakref
from collections.abc import Callable

import attrs
import numpy as np
import pytest

import fgrad
from fgrad import Trace, grad, trace, value_and_grad
from fgrad.node import FUNCTIONS, TABLE, Node, Scope
from tests.expressions import micrograd_readme


def test_shared_values_add_up() -> None:
    """Where paths meet, gradients add: b = a + a, y = (c + d) + (c * d), diamonds, repeated parents."""
    assert grad(lambda a: a + a)(3.0) == 2.0
    assert grad(lambda c, d: (c + d) + (c * d))(c=3.0, d=4.0) == {"c": 5.0, "d": 4.0}
    assert grad(lambda a: a * a * a)(2.0) == 12.0
    assert grad(lambda a: (lambda b, c: b * c)(a + 1, a * 2))(3.0) == 2 * 3 + 2 * 4
    assert grad(lambda x: fgrad.sum(fgrad.concat([x, x, x]) * np.arange(6.0)))(np.zeros(2)).tolist() == [6.0, 9.0]


def test_two_to_the_sixty_paths() -> None:
    """A graph of 60 doublings has 2^60 paths, and 60 nodes to walk."""

    def f(x: float) -> float:
        for _ in range(60):
            x = x + x
        return x

    assert grad(f)(1.0) == 2.0**60
    node = trace(f)(1.0).outputs[0]
    assert len(repr(node)) < 100


def chain(n: int) -> Callable[[float], float]:
    def f(x: float) -> float:
        for _ in range(n):
            x = x * 1.0000001
        return x

    return f


def test_a_chain_of_a_million() -> None:
    """Tracing, sorting, sweeping and freeing a chain of 1,000,000 ops need no recursion."""
    limit = sys.getrecursionlimit()
    value, gradient = value_and_grad(chain(1_000_000))(1.0)
    assert value == pytest.approx(np.exp(1e6 * np.log(1.0000001)), rel=1e-9)
    assert gradient == pytest.approx(value, rel=1e-9)
    assert sys.getrecursionlimit() == limit


def test_a_deep_trace_is_a_value() -> None:
    """A trace of 200,000 nodes is printed, copied, pickled and restored, and stays what it was."""
    made = trace(chain(200_000))(1.0)
    assert "200001 nodes" in repr(made)
    assert copy.deepcopy(made.outputs[0]) is made.outputs[0]
    restored = pickle.loads(pickle.dumps(made))
    assert isinstance(restored, Trace)
    assert len(restored.nodes) == 200_001
    assert restored.outputs[0].value == made.outputs[0].value  # type: ignore[attr-defined]  # nodes
    assert [node.op for node in restored.nodes[:3]] == [node.op for node in made.nodes[:3]]


def test_a_trace_with_arrays_survives_pickling() -> None:
    """Params, constants and structures come back too."""
    made = trace(lambda p: {"out": fgrad.sum(p["w"][1:, None] * np.arange(3.0), axis=0)})({"w": np.arange(3.0)})
    restored = pickle.loads(pickle.dumps(made))
    assert [node.params for node in restored.nodes] == [node.params for node in made.nodes]
    assert restored.out_structure == made.out_structure
    np.testing.assert_array_equal(restored.outputs[0].value, made.outputs[0].value)  # type: ignore[attr-defined]  # nodes


def test_a_trace_owns_its_constants() -> None:
    """What a user does to their arrays afterwards is not seen in a trace."""
    constant = np.ones(2)
    made = trace(lambda x: x * constant)(np.ones(2))
    constant *= 10
    (_, product) = made.nodes
    np.testing.assert_array_equal(product.parents[1], np.ones(2))


def test_many_inputs() -> None:
    """A function of 10,000 numbers has 10,000 derivatives."""
    xs = [float(i) for i in range(10_000)]
    assert grad(lambda xs: sum(x * x for x in xs))(xs) == [2 * x for x in xs]


def test_nothing_is_kept_alive() -> None:
    """Graphs have no cycles: they are freed as soon as they are dropped, without the garbage collector."""

    class Marked(np.ndarray):  # an array that can be referred to weakly
        pass

    x = np.ones(3).view(Marked)
    ref = weakref.ref(x)
    gc.disable()
    try:
        grad(lambda x: fgrad.sum(x * x))(x)
        del x
        assert ref() is None
    finally:
        gc.enable()


def test_dead_branches_are_not_walked() -> None:
    """What the output does not depend on is not differentiated, not even where it would fail."""

    def f(x: float) -> float:
        fgrad.log(x - 1.0)
        return x * x

    assert grad(f)(1.0) == 2.0


def test_nodes_are_frozen_hashed_by_identity_and_printed_shallowly() -> None:
    (node,) = trace(lambda x: x)(1.0).nodes
    for name in ("op", "parents", "params", "value", "scope", "serial"):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(node, name, None)
    with pytest.raises((AttributeError, TypeError)):
        node.grad = 1.0  # type: ignore[attr-defined]  # there is no such field
    assert hash(node) == object.__hash__(node)
    assert repr(node) == "<input: 1.0>"
    assert copy.copy(node) is node
    with pytest.raises(TypeError, match="Trace"):
        pickle.dumps(node)


def test_the_table_is_frozen() -> None:
    """Once the package is imported, no row can be added or changed."""
    for registry in (TABLE, FUNCTIONS):
        with pytest.raises(TypeError):
            registry["mine"] = None  # type: ignore[index]  # as it says


def test_serials_and_scopes_grow() -> None:
    """Children are younger than their parents, and later scopes newer than earlier ones."""
    made = trace(micrograd_readme)(-4.0, 2.0)
    for node in made.nodes:
        assert all(x.serial < node.serial for x in node.parents if isinstance(x, Node))
    assert Scope().serial < Scope().serial
    assert not made.scope.open
