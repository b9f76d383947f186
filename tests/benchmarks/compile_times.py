"""Works on how soon a compiled function gives its first result: traced, compiled and called, in a warm process.

What was compiled before is forgotten each time, so that each time is the first.
"""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any

from fgrad import jit, tree, value_and_grad
from fgrad.compile import machine
from tests.benchmarks import arrays, by_hand, compiled, native, scalars
from tests.benchmarks.transforms import jax64, scores
from tests.benchmarks.work import Make, Run, Target, Work, needs


def _first(setup: Callable[[], Run], forget: Callable[[], object] = lambda: None) -> Make:
    """The seconds of the first call of what is set up anew each time; its result is kept to be compared."""

    def make() -> Run:
        setup()  # where something is missing it says so now
        found: list[Sequence[float]] = []

        def call() -> float:
            forget()
            run = setup()
            start = perf_counter()
            result = run.call()
            seconds = perf_counter() - start
            found[:] = [run.numbers(result)] if run.numbers else []
            return seconds

        return Run(call, lambda _: found[0])

    return make


def _fgrad(setup: Callable[[], Run]) -> Make:
    return _first(setup, machine._compiled.cache_clear)


def _jax(setup: Callable[[], Run]) -> Make:
    return _first(setup, lambda: jax64()[0].clear_caches())


def _casadi(function: Callable[[], Any], given: Callable[[], Sequence[Any]], *, in_c: bool = False) -> Make:
    """From the expression on, so that its call makes the function first."""
    ready = compiled.generated if in_c else lambda function: function

    def setup() -> Run:
        needs("casadi")
        arguments = given()
        if in_c:
            by_hand.compiler()
        return Run(lambda: ready(function())(*arguments), compiled.casadi_numbers)

    return _first(setup)


def _casadis(function: Callable[[], Any], given: Callable[[], Sequence[Any]]) -> dict[str, Make]:
    return {"CasADi VM": _casadi(function, given), "CasADi C": _casadi(function, given, in_c=True)}


def _by_numbers_jax() -> Run:
    """The loss of the moons demo as fgrad compiles it: of one example number by number, then vmap."""
    jax, jnp = jax64()

    def hinge(parameters: Any, x: Any, y: Any) -> Any:
        return jax.nn.relu(1 - y * scores(scalars.MOONS, parameters, [x], jax.nn.relu)[0])

    def loss(parameters: Any) -> Any:
        losses = jax.vmap(hinge, in_axes=(None, 0, 0))(parameters, native.X, native.Y)
        return jnp.mean(losses) + native.DECAY * sum(p * p for p in parameters)

    both, parameters = jax.jit(jax.value_and_grad(loss)), tree.leaves(native.start())
    return Run(
        lambda: jax.block_until_ready(both(parameters)), lambda result: [float(result[0]), *map(float, result[1])]
    )


def _by_numbers_fgrad() -> Run:
    both, model = jit(value_and_grad(native.loss)), native.start()
    return Run(lambda: both(model), native.numbers)


AHEAD = Target("JAX jit", 1.0, "ahead")
SOONER = Target("CasADi C", 10.0, "≥ 10× sooner")
WORKS = [
    Work(
        "compile-expression",
        "micrograd's README expression, value and gradient, from a fresh jit to the first result",
        {
            "fgrad jit": _fgrad(compiled.expression_fgrad),
            "JAX jit": _jax(compiled.expression_jax),
            **_casadis(compiled.expression_casadi, lambda: (-4.0, 2.0)),
        },
        [AHEAD, SOONER],
        timed=False,
    ),
    Work(
        "compile-tiny",
        "MLP 3-4-4-1 on 4 points, a step number by number, from a fresh jit to the first result",
        {
            "fgrad jit": _fgrad(compiled.tiny_fgrad),
            "JAX jit": _jax(compiled.tiny_jax),
            **_casadis(compiled.tiny_casadi, compiled.parameters),
        },
        [AHEAD, SOONER],
        timed=False,
    ),
    Work(
        "compile-digits",
        "MLP 64-128-64-10 with matrices, value and gradient, from a fresh jit to the first result",
        {
            "fgrad jit": _fgrad(lambda: compiled.network_fgrad(arrays.digits_task())),
            "JAX jit": _jax(lambda: compiled.network_jax(arrays.digits_task())),
        },
        [AHEAD],
        timed=False,
    ),
    Work(
        "compile-moons",
        "micrograd's demo, fgrad's number by number, value and gradient, from a fresh jit to the first result",
        {
            "fgrad jit": _fgrad(_by_numbers_fgrad),
            "2 seconds": lambda: Run(lambda: 2.0),
            "JAX jit, matrices": _jax(native.matrices_jax),
            "JAX jit, number by number": _jax(_by_numbers_jax),
        },
        [Target("2 seconds", 1.0, "less")],
        repeat=3,
        timed=False,
    ),
]
