"""Works of compiled functions: micrograd's expression, the tiny step, networks with matrices.

Beside JAX, NumPy by hand, and CasADi, whose users call its functions from Python, on its virtual machine or as C that
it writes; with buffers that are ready, such a call is its machine code alone, as a kernel of fgrad's is.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from fgrad import jit, micro, nn, relu, tree, value_and_grad
from tests.benchmarks import arrays, by_hand, scalars
from tests.benchmarks.arrays import Task
from tests.benchmarks.measure import keep_pages
from tests.benchmarks.native import KERNEL, kernel_alone
from tests.benchmarks.scalars import RATE
from tests.benchmarks.transforms import jax64, scores
from tests.benchmarks.work import Make, Run, Target, Work
from tests.expressions import micrograd_readme

TINY = (3, 4, 4, 1)


def expression_fgrad() -> Run:
    """Compiled at the first call."""
    both: Any = jit(value_and_grad(micrograd_readme))  # by keywords, a form that jit's type does not keep
    return Run(lambda: both(a=-4.0, b=2.0), lambda result: (result[0], result[1]["a"], result[1]["b"]))


def _expression_kernel() -> Run:
    compiled = jit(value_and_grad(micrograd_readme))
    return Run(kernel_alone(compiled, (), {"a": -4.0, "b": 2.0}), lambda result: result)


def expression_jax() -> Run:
    """Compiled at the first call."""
    jax, _ = jax64()
    both = jax.jit(jax.value_and_grad(lambda a, b: scalars.expression(a, b, jax.nn.relu), (0, 1)))
    return Run(
        lambda: jax.block_until_ready(both(-4.0, 2.0)), lambda result: [float(result[0]), *map(float, result[1])]
    )


def _casadi_relu(x: Any) -> Any:
    return import_module("casadi").if_else(x > 0, x, 0)  # fmax has the derivative 1/2 at 0


def expression_casadi() -> Any:
    """For its virtual machine."""
    ca: Any = import_module("casadi")
    a, b = ca.SX.sym("a"), ca.SX.sym("b")
    value = scalars.expression(a, b, _casadi_relu)
    return ca.Function("expression", [a, b], [value, ca.gradient(value, a), ca.gradient(value, b)])


def tiny_step(model: micro.MLP) -> tuple[float, micro.MLP, micro.MLP]:
    """Forward, backward and update: value, gradient, and the new parameters."""
    value, gradient = value_and_grad(lambda model: scalars.tiny_loss(model)[0])(model)
    return value, gradient, tree.map(lambda p, g: p - RATE * g, model, gradient)


def tiny_fgrad(native: bool | None = None) -> Run:
    """As one compiled function, step after step."""
    compiled = jit(tiny_step, native=native)
    model = scalars.start(TINY)

    def call() -> object:
        nonlocal model
        result = compiled(model)
        model = result[2]
        return result

    return Run(call, lambda result: (result[0], *tree.leaves(result[1]), *tree.leaves(result[2])))


def _tiny_kernel() -> Run:
    return Run(kernel_alone(jit(tiny_step), (scalars.start(TINY),), {}), lambda result: result)


def tiny_numbers(parameters: Sequence[Any], relu: Callable[[Any], Any]) -> Any:
    """The loss of the tiny step, on any numbers."""
    return scalars.squared_error(scores(TINY, parameters, scalars.TINY_X, relu))


def tiny_jax() -> Run:
    """Number by number, with all parameters in one array."""
    jax, jnp = jax64()

    def step(parameters: Any) -> Any:
        value, gradient = jax.value_and_grad(lambda p: tiny_numbers(list(p), jax.nn.relu))(parameters)
        return value, gradient, parameters - RATE * gradient

    compiled, parameters = jax.jit(step), jnp.array(tree.leaves(scalars.start(TINY)))

    def call() -> Any:
        nonlocal parameters
        result = jax.block_until_ready(compiled(parameters))
        parameters = result[2]
        return result

    return Run(call, lambda result: [float(result[0]), *result[1].tolist(), *result[2].tolist()])


def tiny_casadi() -> Any:
    """For its virtual machine, with all parameters in one vector."""
    ca: Any = import_module("casadi")
    p = ca.SX.sym("p", len(tree.leaves(scalars.start(TINY))))
    value = tiny_numbers(ca.vertsplit(p), _casadi_relu)
    gradient = ca.gradient(value, p)
    return ca.Function("tiny", [p], [value, gradient, p - RATE * gradient])


def generated(function: Any) -> Any:
    """The same function in C, as CasADi writes it, compiled."""
    ca, command, name = import_module("casadi"), by_hand.compiler(), function.name()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        generator = ca.CodeGenerator(f"{name}.c")
        generator.add(function)
        generator.generate(f"{folder}{os.sep}")
        library = f"{folder}{os.sep}{name}.so"
        subprocess.run([command, *by_hand.FLAGS, f"{folder}{os.sep}{name}.c", "-o", library, "-lm"], check=True)
        return ca.external(name, library)


def _casadi(function: Any, given: Sequence[Any]) -> Run:
    """Called as its users do."""
    return Run(lambda: function(*given), casadi_numbers)


def casadi_numbers(result: Any) -> Sequence[float]:
    """The numbers in CasADi's matrices."""
    return [x for part in result for x in part.full().ravel().tolist()]


def _casadi_ready(function: Any, given: Sequence[Any]) -> Run:
    """Called with buffers that are ready."""
    buffer, call = function.buffer()
    inputs = [np.atleast_1d(np.asarray(x, dtype=float)) for x in given]
    outputs = [np.zeros(function.numel_out(i)) for i in range(function.n_out())]
    for i, x in enumerate(inputs):
        buffer.set_arg(i, memoryview(x.data))
    for i, x in enumerate(outputs):
        buffer.set_res(i, memoryview(x.data))
    kept = function, buffer, inputs  # for as long as it is called
    return Run(call, lambda _: np.concatenate(outputs).tolist() if kept else [])


def _casadis(function: Callable[[], Any], given: Callable[[], Sequence[Any]]) -> dict[str, Make]:
    return {
        "CasADi VM": lambda: _casadi(function(), given()),
        "CasADi VM, buffers": lambda: _casadi_ready(function(), given()),
        "CasADi C": lambda: _casadi(generated(function()), given()),
        "CasADi C, buffers": lambda: _casadi_ready(generated(function()), given()),
    }


def parameters() -> Sequence[Any]:
    """In CasADi's own matrix, which spares each call a conversion."""
    ca: Any = import_module("casadi")
    return [ca.DM(tree.leaves(scalars.start(TINY)))]


def network_fgrad(task: Task) -> Run:
    """Compiled at the first call."""

    def loss(model: nn.MLP) -> float:
        out = model(task.x)
        return nn.cross_entropy(out, task.y) if task.classes else relu(1 - task.y * out).mean()

    both = jit(value_and_grad(loss))
    return Run(lambda: both(task.model), lambda result: arrays.flat(result[0], tree.leaves(result[1])))


def network_jax(task: Task) -> Run:
    """Compiled at the first call."""
    jax, jnp = jax64()
    rows = np.arange(len(task.x))

    def loss(layers: Any) -> Any:
        out: Any = jnp.asarray(task.x)
        for i, (w, b) in enumerate(layers):
            out = (jax.nn.relu(out) if i else out) @ w + b
        if task.classes:
            return -jnp.mean(jax.nn.log_softmax(out)[rows, task.y])
        return jnp.mean(jax.nn.relu(1 - task.y * out))

    both, layers = jax.jit(jax.value_and_grad(loss)), jax.device_put(task.layers)
    return Run(
        lambda: jax.block_until_ready(both(layers)),
        lambda result: arrays.flat(result[0], [g for pair in result[1] for g in pair]),
    )


def _networks(task: Callable[[], Task]) -> dict[str, Make]:
    def ready() -> Task:
        keep_pages()
        return task()

    return {
        "fgrad jit": lambda: network_fgrad(ready()),
        "fgrad": lambda: arrays.eager(ready()),
        "NumPy by hand": lambda: arrays.by_hand(ready()),
        "JAX jit": lambda: network_jax(ready()),
    }


CASADI = [
    Target("CasADi VM", 1.0, "ahead"),
    Target("CasADi VM, buffers", 1.0, "ahead", beside=KERNEL),
    Target("CasADi C", 0.5, "within 2×"),
    Target("CasADi C, buffers", 0.5, "within 2×", beside=KERNEL),
]
PYTHON = "fgrad jit, native=False"
WORKS = [
    Work(
        "expression-jit",
        "micrograd's README expression compiled, value and gradient",
        {
            "fgrad jit": expression_fgrad,
            KERNEL: _expression_kernel,
            "micrograd": scalars.expression_micrograd,
            "JAX jit": expression_jax,
            **_casadis(expression_casadi, lambda: (-4.0, 2.0)),
        },
        [Target("JAX jit", 1.0, "ahead"), *CASADI],
    ),
    Work(
        "tiny-jit",
        "MLP 3-4-4-1 on 4 points compiled: forward, backward, update, number by number",
        {
            "fgrad jit": tiny_fgrad,
            KERNEL: _tiny_kernel,
            PYTHON: lambda: tiny_fgrad(native=False),
            "fgrad": lambda: scalars.fgrad_step(scalars.tiny_loss, TINY),
            "micrograd": lambda: scalars.micrograd_step(scalars.tiny_loss_micrograd, TINY),
            "JAX jit": tiny_jax,
            **_casadis(tiny_casadi, parameters),
        },
        [
            Target("micrograd", 25.0, "≥ 25×"),
            Target("micrograd", 25.0, "≥ 25×", beside=PYTHON),
            Target("JAX jit", 1.0, "ahead"),
            *CASADI,
        ],
    ),
    Work(
        "digits-jit",
        "MLP 64-128-64-10 with matrices compiled, batch 128, cross-entropy, value and gradient",
        _networks(arrays.digits_task),
        [Target("NumPy by hand", 1 / 1.05, "≤ 1.05× its time"), Target("JAX jit", 1.0, "ahead")],
        repeat=15,
    ),
    Work(
        "matrices-jit",
        "MLP 2-16-16-1 with matrices compiled, 100 points, max-margin loss, value and gradient",
        _networks(arrays.moons_task),
        [Target("JAX jit", 1.0, "ahead")],
        repeat=15,
    ),
]
