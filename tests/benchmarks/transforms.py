"""Works on the transforms: what derivatives cost beside the forward pass; Hessians, and their products with vectors.

All peers, fgrad too, run one and the same function, with relu and the like from their own library.
"""

from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from itertools import pairwise
from operator import mul
from typing import Any, TypeAlias

import attrs
import numpy as np

import fgrad
from fgrad import micro, nn, tree
from tests.benchmarks.arrays import digits_task
from tests.benchmarks.measure import keep_pages
from tests.benchmarks.scalars import MOONS, MOONS_X, max_margin
from tests.benchmarks.work import Make, Run, Target, Work

# --- derivatives beside the forward pass -----------------------------------------------------------------------------


@attrs.frozen
class Functions:
    """What a loss needs of a library."""

    relu: Callable[[Any], Any]
    log_softmax: Callable[[Any], Any]
    array: Callable[[Any], Any]
    """Makes a constant."""


@attrs.frozen
class Problem:
    """A loss of parameters, numbers or arrays, and a direction to differentiate along."""

    loss: Callable[[Sequence[Any], Functions], Any]
    parameters: list[Any]
    direction: list[Any]

    def slope(self, gradients: Sequence[Any]) -> float:
        """The derivative along the direction, from the gradients: so forward and reverse mode can be compared."""
        return sum(float(np.vdot(np.asarray(g), t)) for g, t in zip(gradients, self.direction, strict=True))


def moons_problem() -> Problem:
    """The demo of micrograd, number by number."""
    model = micro.MLP.init(MOONS, seed=1, activations=["relu", "relu", "linear"])
    parameters = tree.leaves(model)
    return Problem(moons_loss, parameters, np.random.default_rng(0).normal(size=len(parameters)).tolist())


def moons_loss(parameters: Sequence[Any], functions: Functions) -> Any:
    """MLP 2-16-16-1 on 100 points."""
    return max_margin(scores(MOONS, parameters, MOONS_X, functions.relu), parameters, functions.relu)


def scores(
    sizes: Sequence[int], parameters: Sequence[Any], points: Sequence[Sequence[Any]], relu: Callable[[Any], Any]
) -> list[Any]:
    """What a network with one output says; parameters stand neuron by neuron, weights before the bias."""
    numbers = iter(parameters)
    layers = [[([next(numbers) for _ in range(n)], next(numbers)) for _ in range(m)] for n, m in pairwise(sizes)]

    def score(x: Sequence[Any]) -> Any:
        for layer in layers[:-1]:
            x = [relu(sum(map(mul, w, x), b)) for w, b in layer]
        ((w, b),) = layers[-1]
        return sum(map(mul, w, x), b)

    return [score(x) for x in points]


def digits_problem() -> Problem:
    """An MLP with matrices, on a batch."""
    keep_pages()
    task, rng = digits_task(), np.random.default_rng(0)
    parameters = [p for pair in task.layers for p in pair]
    hot = np.eye(10)[task.y]

    def loss(parameters: Sequence[Any], functions: Functions) -> Any:
        out = functions.array(task.x)
        for i in range(0, len(parameters), 2):
            out = (functions.relu(out) if i else out) @ parameters[i] + parameters[i + 1]
        return (functions.log_softmax(out) * functions.array(hot)).sum() * (-1 / len(hot))

    return Problem(loss, parameters, [rng.normal(size=p.shape) for p in parameters])


Library: TypeAlias = Callable[[Problem], dict[str, Run]]
"""Sets up what a library does with a problem: its forward pass first, then the derivatives that it has."""


def _fgrad(problem: Problem) -> dict[str, Run]:
    functions = Functions(fgrad.relu, fgrad.log_softmax, lambda x: x)

    def f(parameters: list[Any]) -> Any:
        return problem.loss(parameters, functions)

    both, x, t = fgrad.value_and_grad(f), problem.parameters, problem.direction
    return {
        "traced forward": Run(lambda: fgrad.trace(f)(x)),
        "jvp": Run(lambda: fgrad.jvp(f, (x,), (t,)), lambda result: result),
        "grad": Run(lambda: both(x), lambda result: (result[0], problem.slope(result[1]))),
    }


def _torch(problem: Problem) -> dict[str, Run]:
    """As above: its forward pass records the graph too."""
    import torch

    functions = Functions(torch.relu, lambda x: torch.log_softmax(x, -1), torch.tensor)
    x = [torch.tensor(p, dtype=torch.float64) for p in problem.parameters]
    t = [torch.tensor(p, dtype=torch.float64) for p in problem.direction]
    leaves = [p.clone().requires_grad_() for p in x]

    def f(parameters: Any) -> Any:
        return problem.loss(parameters, functions)

    def grad() -> Any:
        loss = f(leaves)
        return torch.autograd.grad(loss, leaves), loss.detach()

    both: Any = torch.func.grad_and_value(f)
    numbers = lambda result: (result[1], problem.slope(result[0]))
    return {
        "forward": Run(lambda: f(leaves)),
        "func.jvp": Run(lambda: torch.func.jvp(f, (x,), (t,)), lambda result: result),
        "autograd.grad": Run(grad, numbers),
        "func.grad": Run(lambda: both(x), numbers),
    }


def _hips(problem: Problem) -> dict[str, Run]:
    """As above: the forward pass that records the graph is what its `make_vjp` does at once."""
    import autograd
    import autograd.numpy as anp
    from autograd.core import make_vjp
    from autograd.scipy.special import logsumexp

    functions = Functions(
        lambda x: anp.maximum(x, 0.0), lambda x: x - logsumexp(x, axis=-1, keepdims=True), lambda x: x
    )

    def f(parameters: Any) -> Any:
        return problem.loss(parameters, functions)

    x, t = problem.parameters, problem.direction
    both, pushforward = autograd.value_and_grad(f), autograd.make_jvp(f)
    return {
        "forward": Run(lambda: make_vjp(f, x)),
        "jvp": Run(lambda: pushforward(x)(t), lambda result: result),
        "grad": Run(lambda: both(x), lambda result: (result[0], problem.slope(result[1]))),
    }


def _jax(problem: Problem) -> dict[str, Run]:
    """Without jit of the whole, op by op; its forward pass records nothing."""
    jax, jnp = jax64()
    functions = Functions(lambda x: jnp.maximum(x, 0.0), jax.nn.log_softmax, lambda x: x)
    x = [jnp.asarray(p, dtype=float) for p in problem.parameters]
    t = [jnp.asarray(p, dtype=float) for p in problem.direction]

    def f(parameters: Any) -> Any:
        return problem.loss(parameters, functions)

    both, ready = jax.value_and_grad(f), jax.block_until_ready
    return {
        "forward": Run(lambda: ready(f(x))),
        "jvp": Run(lambda: ready(jax.jvp(f, (x,), (t,))), lambda result: result),
        "grad": Run(lambda: ready(both(x)), lambda result: (result[0], problem.slope(result[1]))),
    }


def _micrograd(problem: Problem) -> dict[str, Run]:
    from micrograd.engine import Value

    functions = Functions(Value.relu, lambda x: x, lambda x: x)

    def forward() -> Any:
        parameters = [Value(p) for p in problem.parameters]
        return problem.loss(parameters, functions), parameters

    def grad() -> Any:
        loss, parameters = forward()
        loss.backward()
        return loss.data, problem.slope([p.grad for p in parameters])

    return {"forward": Run(forward), "backward": Run(grad, lambda result: result)}


def jax64() -> tuple[Any, Any]:
    """JAX, which computes with float64 once it is told to, and its arrays."""
    jax: Any = import_module("jax")
    jax.config.update("jax_enable_x64", True)
    return jax, jax.numpy


def _cost(name: str, about: str, problem: Callable[[], Problem], libraries: dict[str, tuple[Library, str]]) -> Work:
    """A work whose derivatives are measured relative to their own library's forward pass, which it lists first."""

    def make(setup: Library, what: str) -> Run:
        return setup(problem())[what]

    contestants: dict[str, Make] = {}
    references: dict[str, str] = {}

    for library, (setup, whats) in libraries.items():
        forward, *derivatives = whats.split(", ")
        for what in (forward, *derivatives):
            contestants[f"{library} {what}"] = partial(make, setup, what)
        references.update({f"{library} {what}": f"{library} {forward}" for what in derivatives})
    targets = [
        Target("fgrad jvp", 3.0, "≤ 3× the forward pass", at_most=True),
        Target("fgrad grad", 4.0, "≤ 4×", at_most=True),
    ]
    return Work(name, about, contestants, targets, references, repeat=5)


# --- second derivatives ----------------------------------------------------------------------------------------------
LONG, SHORT, DENSE = 100_000, 10_000, 500


def rosenbrock(x: Any) -> Any:
    """Rosenbrock's function of many variables, on every peer's arrays."""
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def _point(n: int) -> tuple[nn.Floats, nn.Floats]:
    """Where the second derivative is taken, and along what."""
    keep_pages()
    rng = np.random.default_rng(0)
    return rng.uniform(0.5, 1.5, n), rng.normal(size=n)


def _numbers(result: Any) -> Sequence[float]:
    flat: list[float] = np.asarray(result).ravel().tolist()
    return flat


def _hvp_fgrad(n: int) -> Run:
    x, v = _point(n)
    return Run(lambda: fgrad.hvp(rosenbrock, (x,), (v,)), _numbers if n == LONG else None)


def _hvp_torch_func() -> Run:
    """Forward over reverse."""
    import torch

    x, v = map(torch.tensor, _point(LONG))
    gradient = torch.func.grad(rosenbrock)
    return Run(lambda: torch.func.jvp(gradient, (x,), (v,))[1], _numbers)


def _hvp_torch_twice() -> Run:
    """Reverse over reverse."""
    import torch

    x, v = map(torch.tensor, _point(LONG))
    x.requires_grad_()

    def call() -> Any:
        (gradient,) = torch.autograd.grad(rosenbrock(x), x, create_graph=True)
        return torch.autograd.grad(gradient, x, v)[0]

    return Run(call, _numbers)


def _hvp_jax() -> Run:
    jax, jnp = jax64()
    x, v = map(jnp.asarray, _point(LONG))
    product = jax.jit(lambda x, v: jax.jvp(jax.grad(rosenbrock), (x,), (v,))[1])
    return Run(lambda: product(x, v).block_until_ready(), _numbers)


def _hvp_hips() -> Run:
    import autograd

    x, v = _point(LONG)
    product = autograd.hessian_vector_product(rosenbrock)
    return Run(lambda: product(x, v), _numbers)


def _bands(x: nn.Floats) -> tuple[nn.Floats, nn.Floats]:
    """The diagonal of the Hessian, and the one beside it."""
    diagonal = np.zeros_like(x)
    diagonal[:-1] = 1200 * x[:-1] ** 2 - 400 * x[1:] + 2
    diagonal[1:] += 200
    return diagonal, -400 * x[:-1]


def _hvp_numpy() -> Run:
    x, v = _point(LONG)

    def call() -> nn.Floats:
        diagonal, beside = _bands(x)
        product: nn.Floats = diagonal * v
        product[:-1] += beside * v[1:]
        product[1:] += beside * v[:-1]
        return product

    return Run(call, _numbers)


def _hessian_fgrad() -> Run:
    x, _ = _point(DENSE)
    second = fgrad.hessian(rosenbrock)
    return Run(lambda: second(x), _numbers)


def _hessian_torch_func() -> Run:
    import torch

    x = torch.tensor(_point(DENSE)[0])
    second = torch.func.hessian(rosenbrock)
    return Run(lambda: second(x), _numbers)


def _hessian_torch(**options: Any) -> Run:
    import torch

    x = torch.tensor(_point(DENSE)[0])
    second: Any = torch.autograd.functional.hessian
    return Run(lambda: second(rosenbrock, x, **options), lambda result: _numbers(result.detach()))


def _hessian_hips() -> Run:
    import autograd

    x, _ = _point(DENSE)
    second = autograd.hessian(rosenbrock)
    return Run(lambda: second(x), _numbers)


def _hessian_jax() -> Run:
    jax, jnp = jax64()
    x = jnp.asarray(_point(DENSE)[0])
    second = jax.jit(jax.hessian(rosenbrock))
    return Run(lambda: second(x).block_until_ready(), _numbers)


def _hessian_numpy() -> Run:
    x, _ = _point(DENSE)

    def call() -> nn.Floats:
        diagonal, beside = _bands(x)
        dense = np.diag(diagonal)
        i = np.arange(DENSE - 1)
        dense[i, i + 1] = dense[i + 1, i] = beside
        return dense

    return Run(call, _numbers)


WORKS = [
    _cost(
        "moons-cost",
        "the moons demo's loss number by number: derivatives relative to each library's forward pass",
        moons_problem,
        {
            "fgrad": (_fgrad, "traced forward, jvp, grad"),
            "micrograd": (_micrograd, "forward, backward"),
            "HIPS autograd": (_hips, "forward, jvp, grad"),
            "PyTorch": (_torch, "forward, func.jvp, autograd.grad, func.grad"),
        },
    ),
    _cost(
        "digits-cost",
        "the digits net with matrices: derivatives relative to each library's forward pass",
        digits_problem,
        {
            "fgrad": (_fgrad, "traced forward, jvp, grad"),
            "HIPS autograd": (_hips, "forward, jvp, grad"),
            "PyTorch": (_torch, "forward, func.jvp, autograd.grad, func.grad"),
            "JAX": (_jax, "forward, jvp, grad"),
        },
    ),
    Work(
        "hvp",
        f"Hessian-vector product of Rosenbrock's function, n = {LONG:,}",
        {
            "fgrad": lambda: _hvp_fgrad(LONG),
            f"fgrad, n = {SHORT:,}": lambda: _hvp_fgrad(SHORT),
            "PyTorch func.jvp of grad": _hvp_torch_func,
            "PyTorch double backward": _hvp_torch_twice,
            "HIPS autograd": _hvp_hips,
            "JAX jit": _hvp_jax,
            "NumPy by hand": _hvp_numpy,
        },
        [
            Target(f"fgrad, n = {SHORT:,}", 1 / 12, f"≤ 12× the time at {SHORT:,}"),
            Target("PyTorch func.jvp of grad", 1.0, "ahead"),
            Target("PyTorch double backward", 1.0, "ahead"),
            Target("HIPS autograd", 1.0, "ahead"),
        ],
    ),
    Work(
        "hessian",
        f"dense Hessian of Rosenbrock's function, n = {DENSE}",
        {
            "fgrad": _hessian_fgrad,
            "PyTorch func.hessian": _hessian_torch_func,
            "PyTorch hessian": _hessian_torch,
            "PyTorch vectorized": lambda: _hessian_torch(vectorize=True),
            "PyTorch vect., forward": lambda: _hessian_torch(vectorize=True, outer_jacobian_strategy="forward-mode"),
            "HIPS autograd": _hessian_hips,
            "JAX jit": _hessian_jax,
            "NumPy by hand": _hessian_numpy,
        },
        [
            Target(name, 1.0, "ahead")
            for name in (
                "PyTorch func.hessian",
                "PyTorch hessian",
                "PyTorch vectorized",
                "PyTorch vect., forward",
                "HIPS autograd",
            )
        ],
    ),
]
