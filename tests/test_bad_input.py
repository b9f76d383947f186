"""Bad input to the transforms: every error names where it is, by path, and what to write instead."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fgrad
from fgrad import errors
from fgrad.errors import ArgumentError, BranchError, ConversionError, EscapedNodeError, LeafError, OutputError
from fgrad.errors import StructureError as Structure

# Wrong calls are the matter here, and the type checkers would refuse most of them.
grad: Any = fgrad.grad
hessian: Any = fgrad.hessian
hvp: Any = fgrad.hvp
jacobian: Any = fgrad.jacobian
jvp: Any = fgrad.jvp
linearize: Any = fgrad.linearize
vjp: Any = fgrad.vjp
vmap: Any = fgrad.vmap

ONE, TWO, THREE = np.ones(1), np.ones(2), np.ones(3)
P = {"a": 1.0, "b": THREE}


def f(p: Any) -> Any:
    return fgrad.sum(p["a"] * p["b"])


def named(p: Any) -> Any:
    return {"y": p["a"] * p["b"]}


def times(x: Any, y: Any) -> Any:
    return x * y


def pull(f: Callable[..., Any], x: Any, cotangent: Any) -> Any:
    return vjp(f, x)[1](cotangent)


def push(f: Callable[..., Any], x: Any, *tangents: Any) -> Any:
    return linearize(f, x)[1](*tangents)


kept: list[Any] = []


def leak(x: Any) -> Any:
    kept.append(x * 2.0)
    return x


def leaked() -> Any:
    kept.clear()
    grad(leak)(1.0)
    return kept[0]


# fmt: off
CASES: dict[str, tuple[Callable[[], object], type[Exception], str, str]] = {
    # what is wrong: (the call, its error, the path or place that it names, the fix that it names)
    "a tangent without a key": (lambda: jvp(f, (P,), ({"a": 1.0},)), Structure, "tangents[0]['b']", "the same keys"),
    "a tangent with another key": (lambda: jvp(f, (P,), ({"a": 1.0, "c": THREE},)), Structure, "tangents[0]['b']", "the same keys"),
    "a tangent for a pytree": (lambda: jvp(f, (P,), (1.0,)), Structure, "tangents[0]['a']", "the same keys"),
    "too few tangents": (lambda: jvp(times, (1.0, 2.0), (1.0,)), Structure, "tangents[1]", "as many entries"),
    "too many tangents": (lambda: jvp(f, (P,), (P, P)), Structure, "tangents[1]['a']", "as many entries"),
    "a tangent that is None": (lambda: jvp(f, (P,), (None,)), Structure, "tangents[0]['a']", "a number or array for each *"),
    "primals that are no tuple": (lambda: jvp(f, P, P), ArgumentError, "jvp takes primals", "write (x,)"),
    "tangents that are no tuple": (lambda: jvp(f, (P,), 1.0), ArgumentError, "jvp takes tangents", "write (x,)"),
    "a tangent of another shape": (lambda: jvp(f, (P,), ({"a": 1.0, "b": TWO},)), Structure, "tangents[0]['b'] must have the shape (3,)", "broadcast or reshape"),
    "a number for an array": (lambda: jvp(f, (P,), ({"a": 1.0, "b": 1.0},)), Structure, "tangents[0]['b'] must have the shape (3,)", "broadcast or reshape"),
    "an array for a number": (lambda: jvp(f, (P,), ({"a": ONE, "b": THREE},)), Structure, "tangents[0]['a'] must have the shape ()", "broadcast or reshape"),
    "an integer tangent": (lambda: jvp(f, (P,), ({"a": 1, "b": THREE},)), LeafError, "tangents[0]['a'] is int 1", "write 1.0"),
    "an integer tangent of NumPy": (lambda: jvp(f, (P,), ({"a": np.int64(1), "b": THREE},)), LeafError, "tangents[0]['a'] is", "write 1.0"),
    "an integer array as tangent": (lambda: jvp(f, (P,), ({"a": 1.0, "b": np.ones(3, int)},)), LeafError, "tangents[0]['b'] is an array", "x.astype(float)"),
    "integer tangents in a batch": (lambda: vmap(lambda t: jvp(fgrad.exp, (1.0,), (t,)))(np.ones(3, int)), LeafError, "tangents[0] is", "write 1.0"),
    "an integer tangent of an integer": (lambda: jvp(fgrad.exp, (1,), (1,)), LeafError, "tangents[0] is int 1", "write 1.0"),
    "a bool tangent": (lambda: jvp(f, (P,), ({"a": True, "b": THREE},)), LeafError, "tangents[0]['a']", "write 1.0"),
    "a str tangent": (lambda: jvp(f, (P,), ({"a": "1", "b": THREE},)), LeafError, "tangents[0]['a']", "not str '1': write 1.0"),
    "a complex tangent": (lambda: jvp(f, (P,), ({"a": 1j, "b": THREE},)), LeafError, "tangents[0]['a']", "must be a real number"),

    "a cotangent of another structure": (lambda: pull(named, P, THREE), Structure, "cotangent['y']", "the same keys"),
    "a cotangent with another key": (lambda: pull(named, P, {"z": THREE}), Structure, "cotangent['y']", "the same keys"),
    "a tuple for a cotangent": (lambda: pull(f, P, (1.0,)), Structure, "cotangent", "the same keys"),
    "a cotangent of another shape": (lambda: pull(named, P, {"y": TWO}), Structure, "cotangent['y'] must have the shape (3,)", "broadcast or reshape"),
    "a number for a cotangent": (lambda: pull(named, P, {"y": 1.0}), Structure, "cotangent['y'] must have the shape (3,)", "broadcast or reshape"),
    "an integer cotangent": (lambda: pull(f, P, 1), LeafError, "cotangent is int 1", "write 1.0"),
    "an integer array as cotangent": (lambda: pull(named, P, {"y": np.ones(3, int)}), LeafError, "cotangent['y'] is an array", "x.astype(float)"),
    "a bool cotangent": (lambda: pull(named, P, {"y": THREE > 0}), LeafError, "cotangent['y']", "must be a real number"),

    "a pushforward without tangents": (lambda: push(f, P), Structure, "tangents[0]['a']", "as many entries"),
    "a pushforward with too many": (lambda: push(f, P, P, P), Structure, "tangents[1]['a']", "as many entries"),
    "a pushforward of another shape": (lambda: push(f, P, {"a": 1.0, "b": TWO}), Structure, "tangents[0]['b'] must have the shape (3,)", "broadcast or reshape"),
    "a pushforward of an integer": (lambda: push(f, P, {"a": 1, "b": THREE}), LeafError, "tangents[0]['a'] is int 1", "write 1.0"),

    "hvp with too few tangents": (lambda: hvp(times, (1.0, 2.0), (1.0,)), Structure, "tangents[1]", "as many entries"),
    "hvp with too many tangents": (lambda: hvp(f, (P,), (P, P)), Structure, "tangents[1]['a']", "as many entries"),
    "hvp without tuples": (lambda: hvp(fgrad.exp, 1.0, 1.0), ArgumentError, "hvp takes primals", "write (x,)"),
    "hvp of another shape": (lambda: hvp(f, (P,), ({"a": 1.0, "b": TWO},)), Structure, "tangents[0]['b'] must have the shape (3,)", "broadcast or reshape"),
    "hvp along an integer": (lambda: hvp(fgrad.exp, (1.0,), (1,)), LeafError, "tangents[0] is int 1", "write 1.0"),

    "grad of an array": (lambda: grad(fgrad.exp)(THREE), OutputError, "exp returned an array of shape (3,)", "write jacobian(f) or vjp(f, x)"),
    "grad of a dict": (lambda: grad(named)(P), OutputError, "named returned a pytree", "write jacobian or vjp"),
    "grad of a pair": (lambda: grad(lambda x: (x, x))(1.0), OutputError, "<lambda> returned a pytree", "pass has_aux=True"),
    "hessian of an array": (lambda: hessian(fgrad.exp)(THREE), OutputError, "exp returned an array of shape (3,)", "write jacobian(f) or vjp(f, x)"),
    "hvp of an array": (lambda: hvp(fgrad.exp, (THREE,), (THREE,)), OutputError, "exp returned an array of shape (3,)", "write jacobian(f) or vjp(f, x)"),

    "argnums beyond the last": (lambda: grad(times, 2)(1.0, 2.0), ArgumentError, "argnums=2", "2 positional arguments, counted from 0"),
    "argnums before the first": (lambda: jacobian(times, (0, -3))(1.0, 2.0), ArgumentError, "argnums=-3", "2 positional arguments, counted from 0"),
    "argnums by name": (lambda: grad(times, "x")(1.0, 2.0), ArgumentError, "not str 'x'", "must be an integer or a tuple of integers"),
    "argnums in a list": (lambda: grad(times, [0])(1.0, 2.0), ArgumentError, "not list [0]", "must be an integer or a tuple of integers"),
    "argnums that is a bool": (lambda: grad(times, True)(1.0, 2.0), ArgumentError, "not bool True", "must be an integer or a tuple of integers"),
    "argnums with keywords alone": (lambda: grad(times, 0)(x=1.0, y=2.0), ArgumentError, "argnums=0", "leave it out"),
    "argnums of hessian with keywords": (lambda: hessian(times, (0, 1))(x=1.0, y=2.0), ArgumentError, "argnums=(0, 1)", "leave it out"),
    "grad of grad with keywords": (lambda: grad(grad(times))(x=1.0, y=2.0), OutputError, "a pytree", "hessian(f)"),
    "nothing to differentiate": (lambda: grad(f)(), ArgumentError, "nothing to differentiate", "called without arguments"),

    "in_axes too short": (lambda: vmap(times, (0,))(TWO, TWO), ArgumentError, "in_axes has 1 entries for 2", "write one for each"),
    "in_axes too long": (lambda: vmap(fgrad.exp, [0, None])(TWO), ArgumentError, "in_axes has 2 entries for 1", "write one for each"),
    "in_axes with another key": (lambda: vmap(f, ({"a": 0, "c": 0},))(P), Structure, "in_axes[0] is no prefix", "write an integer or None for all of it"),
    "in_axes of another length": (lambda: vmap(lambda p: p["a"][0], ({"a": (0,)},))({"a": (TWO, TWO)}), Structure, "in_axes[0]['a'] is no prefix", "one for each of its entries"),
    "in_axes of a number": (lambda: vmap(times, ((0, 0), 0))(TWO, TWO), Structure, "in_axes[0] is no prefix", "write an integer or None for all of it"),
    "in_axes that is a float": (lambda: vmap(f, ({"a": None, "b": 0.0},))(P), ArgumentError, "float 0.0 for p['b']", "must be made of integers and None"),
    "in_axes that is a bool": (lambda: vmap(fgrad.exp, True)(TWO), ArgumentError, "bool True for x", "must be made of integers and None"),
    "in_axes that is a str": (lambda: vmap(fgrad.exp, "0")(TWO), ArgumentError, "str '0' for x", "must be made of integers and None"),
    "no such axis": (lambda: vmap(f, ({"a": None, "b": 1},))(P), Structure, "p['b'] has the shape (3,), which has no axis 1", "the axis that they lie along"),
    "a number in a batch": (lambda: vmap(f)(P), Structure, "p['a'] has the shape ()", "write None for it"),
    "sizes that disagree": (lambda: vmap(named)({"a": TWO, "b": THREE}), Structure, "p['a'] has 2 examples, but p['b'] has 3", "write None in in_axes"),
    "keywords that disagree": (lambda: vmap(lambda x, *, y: x * y)(TWO, y=THREE), Structure, "x has 2 examples, but y has 3", "write None in in_axes"),
    "no batch": (lambda: vmap(f, None)(P), ArgumentError, "all of in_axes is None", "write 0"),
    "no arguments": (lambda: vmap(lambda: 1.0)(), ArgumentError, "vmap needs an argument with examples", "write 0"),
    "no such axis of results": (lambda: vmap(fgrad.exp, out_axes=2)(TWO), Structure, "out_axes is 2", "write an axis from -1 to 0"),
    "out_axes that is a float": (lambda: vmap(fgrad.exp, out_axes=0.5)(TWO), ArgumentError, "float 0.5 for a result", "must be made of integers and None"),
    "out_axes of a number": (lambda: vmap(fgrad.exp, out_axes=(0, 0))(TWO), Structure, "out_axes is no prefix", "write an integer or None for all of it"),
    "out_axes None for a batch": (lambda: vmap(fgrad.exp, out_axes=None)(TWO), Structure, "out_axes is None", "give its axis"),

    "has_aux without a pair": (lambda: grad(fgrad.exp, has_aux=True)(1.0), OutputError, "not float", "return both, or leave has_aux out"),
    "has_aux with three": (lambda: fgrad.value_and_grad(lambda x: (x, x, x), has_aux=True)(1.0), OutputError, "not tuple", "returns (result, aux)"),
    "has_aux with a list": (lambda: jacobian(lambda x: [x, x], has_aux=True)(1.0), OutputError, "not list", "returns (result, aux)"),
    "has_aux of vjp": (lambda: vjp(fgrad.exp, 1.0, has_aux=True), OutputError, "not float", "returns (result, aux)"),

    "used after its transform": (lambda: leaked() + 1.0, EscapedNodeError, "from the input x", "has_aux=True"),
    "given to grad": (lambda: grad(fgrad.exp)(leaked()), EscapedNodeError, "from the input x", "has_aux=True"),
    "given as a tangent": (lambda: jvp(fgrad.exp, (1.0,), (leaked(),)), EscapedNodeError, "from the input x", "has_aux=True"),
    "given as a cotangent": (lambda: pull(fgrad.exp, 1.0, leaked()), EscapedNodeError, "from the input x", "has_aux=True"),
    "returned from another": (lambda: jvp(lambda x: leaked(), (1.0,), (1.0,)), EscapedNodeError, "from the input x", "has_aux=True"),
    "returned from vmap": (lambda: vmap(lambda x: leaked())(TWO), EscapedNodeError, "from the input x", "has_aux=True"),

    "a bool leaf": (lambda: grad(f)({"a": True, "b": THREE}), LeafError, "p['a'] is bool True", "fgrad.tree.static()"),
    "a bool array": (lambda: jacobian(f)({"a": 1.0, "b": THREE > 0}), LeafError, "p['b'] is an array of shape (3,) and dtype bool", "real numbers"),
    "a str leaf": (lambda: vjp(f, {"a": "1", "b": THREE}), LeafError, "p['a'] is str '1'", "functools.partial"),
    "a complex leaf": (lambda: linearize(f, {"a": 1j, "b": THREE}), LeafError, "p['a'] is complex 1j", "the real and the imaginary part"),
    "a complex array": (lambda: jvp(f, ({"a": 1.0, "b": THREE * 1j},), (P,)), LeafError, "p['b'] is an array", "the real and the imaginary part"),
    "an object leaf": (lambda: hvp(f, ({"a": object(), "b": THREE},), (P,)), LeafError, "p['a'] is object", "arrays of them alone"),
    "an object array": (lambda: hessian(f)({"a": 1.0, "b": np.array([None])}), LeafError, "p['b'] is an array", "arrays of them alone"),
    "a date": (lambda: grad(f)({"a": 1.0, "b": np.ones(1, "M8[D]")}), LeafError, "p['b'] is an array", "arrays of them alone"),

    "a branch on a batched value": (lambda: vmap(lambda x: x if x > 0 else -x)(TWO), BranchError, "test_bad_input.py:", "fgrad.where(condition, x, y)"),
    "a branch under vmap of grad": (lambda: vmap(grad(lambda x: x if x > 0 else -x))(TWO), BranchError, "test_bad_input.py:", "fgrad.where(condition, x, y)"),
    "a loop on a batched value": (lambda: vmap(lambda x: [x for _ in iter(lambda: x > 3, True)])(TWO), BranchError, "test_bad_input.py:", "fgrad.where"),
    "a mask of a batched value": (lambda: vmap(lambda x: x[x > 0])(np.ones((2, 3))), BranchError, "test_bad_input.py:", "fgrad.where(mask, x, 0)"),
    "a list indexed by a batch": (lambda: vmap(lambda i: [1.0, 2.0][i])(np.arange(2)), BranchError, "test_bad_input.py:", "fgrad.where"),
    "a batched value as a float": (lambda: vmap(float)(TWO), ConversionError, "float()", "fgrad.tanh(x)"),
}
# fmt: on


@pytest.mark.parametrize("what", CASES)
def test_bad_input_is_named_by_path_and_with_its_fix(what: str) -> None:
    call, error, path, fix = CASES[what]
    with pytest.raises(error) as caught:
        call()
    assert type(caught.value) is error
    assert isinstance(caught.value, errors.FgradError)
    assert path in str(caught.value)
    assert fix in str(caught.value)


def test_integers_that_stand_for_integers_are_right() -> None:
    """A cotangent of a result that is an integer may be one: there is no precision to lose."""
    assert vjp(lambda x: (x * x, 3), 2.0)[1]((1.0, 1)) == (4.0,)
    assert vjp(lambda x: (x * x, fgrad.argmax(fgrad.stack([x, 1.0]))), 2.0)[1]((1.0, np.int64(1))) == (4.0,)
