"""Optimisers: Optax's protocol and numbers; pure, in every mode; solvers against SciPy called by hand."""

import sys
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple, TypeVar, cast

import attrs
import numpy as np
import pytest
from numpy.typing import NDArray

import fgrad
from fgrad import errors, grad, io, jit, nn, optim, random, scan, tree, value_and_grad, vmap
from fgrad.optim import Optimizer

T = TypeVar("T")
Floats = NDArray[np.float64]
Params = dict[str, Floats]
STEPS = 100
START: Params = {
    "w": random.normal(random.Key(1), (3, 2)),
    "b": random.normal(random.Key(2), (2,)),
    "s": random.normal(random.Key(3), ()),
}
NOISE = {name: random.normal(random.Key(4), (STEPS, *x.shape)) for name, x in START.items()}
MATRICES = {"w": True, "b": False, "s": False}


def accumulated(o: ModuleType, inner: object, every: int) -> object:
    return o.accumulate(inner, every) if o is optim else o.MultiSteps(inner, every, accumulator_dtype=np.float64)


def exact(o: ModuleType, schedule: Callable[[T], object]) -> Callable[[T], object]:
    """A schedule as it is; Optax's, which would count in 32 bits and so compute in float32, counts in float64."""
    return schedule if o is optim else lambda count: schedule(count * np.float64(1.0))  # type: ignore[operator]  # a number


OPTIMISERS: dict[str, Callable[[ModuleType], object]] = {
    "sgd": lambda o: o.sgd(0.1),
    "sgd, momentum": lambda o: o.sgd(0.1, momentum=0.9),
    "sgd, nesterov": lambda o: o.sgd(0.1, 0.9, True),
    "sgd, schedule": lambda o: o.sgd(exact(o, o.linear_schedule(0.1, 0.01, 60, 10)), momentum=0.5),
    "adam": lambda o: o.adam(0.01),
    "adam, all": lambda o: o.adam(0.01, 0.8, 0.99, 1e-6, 1e-5),
    "adam, nesterov": lambda o: o.adam(0.01, nesterov=True),
    "adam, schedule": lambda o: o.adam(exact(o, o.warmup_cosine_decay_schedule(0.0, 0.1, 10, 90, 0.01))),
    "adamw": lambda o: o.adamw(0.01, weight_decay=0.1),
    "adamw, mask": lambda o: o.adamw(0.01, weight_decay=0.1, mask=MATRICES, nesterov=True),
    "adamw, mask of params": lambda o: o.adamw(0.01, weight_decay=0.1, mask=lambda p: {k: p[k].ndim > 1 for k in p}),
    "adamw, schedules": lambda o: o.adamw(
        exact(o, o.cosine_decay_schedule(0.1, 80, 0.1, 2.0)), weight_decay=exact(o, o.linear_schedule(0.1, 0.0, 50))
    ),
    "rmsprop": lambda o: o.rmsprop(0.01),
    "rmsprop, all": lambda o: o.rmsprop(0.01, 0.8, 1e-6, 1.0, False, True, 0.9, True, True),
    "rmsprop, centred": lambda o: o.rmsprop(0.01, initial_scale=1.0, centered=True),
    "rmsprop, momentum": lambda o: o.rmsprop(exact(o, o.exponential_decay(0.01, 20, 0.5)), momentum=0.9),
    "rmsprop, unbiased": lambda o: o.rmsprop(0.01, eps_in_sqrt=False, bias_correction=True),
    "adagrad": lambda o: o.adagrad(0.1),
    "adagrad from 0": lambda o: o.adagrad(0.1, 0.0, 0.0),
    "lion": lambda o: o.lion(0.01),
    "lion, mask": lambda o: o.lion(0.01, 0.8, 0.9, weight_decay=0.1, mask=MATRICES),
    "clip": lambda o: o.chain(o.clip(0.5), o.sgd(0.1)),
    "clip by norm": lambda o: o.chain(o.clip_by_global_norm(2.5), o.adam(0.01)),
    "decay": lambda o: o.chain(o.add_decayed_weights(0.1, MATRICES), o.sgd(0.1, 0.9)),
    "scale, ema": lambda o: o.chain(o.ema(0.9), o.ema(0.8, debias=False), o.scale(-0.1)),
    "masked": lambda o: o.chain(o.masked(o.adam(0.01), MATRICES), o.scale(-0.1)),
    "three": lambda o: o.chain(
        o.clip_by_global_norm(1.0),
        o.add_decayed_weights(0.01),
        o.adam(exact(o, o.piecewise_constant_schedule(0.1, {30: 0.5}))),
    ),
    "accumulate": lambda o: accumulated(o, o.adam(exact(o, o.linear_schedule(0.1, 0.0, 20))), 4),
}
OWN = {name: cast("Optimizer[object]", make(optim)) for name, make in OPTIMISERS.items()}
SCHEDULES: dict[str, Callable[[ModuleType], object]] = {
    "constant": lambda o: o.constant_schedule(0.3),
    "linear": lambda o: o.linear_schedule(0.3, 0.1, 50, 7),
    "linear, no steps": lambda o: o.linear_schedule(0.3, 0.1, 0),
    "exponential": lambda o: o.exponential_decay(0.3, 10, 0.5, 5),
    "exponential, stairs": lambda o: o.exponential_decay(0.3, 10, 0.5, 5, staircase=True, end_value=0.05),
    "exponential growth": lambda o: o.exponential_decay(0.3, 10, 1.5, end_value=2.0),
    "cosine": lambda o: o.cosine_decay_schedule(0.3, 50),
    "cosine, all": lambda o: o.cosine_decay_schedule(0.3, 50, 0.1, 1.5),
    "piecewise": lambda o: o.piecewise_constant_schedule(0.3, {40: 2.0, 20: 0.1}),
    "piecewise, one": lambda o: o.piecewise_constant_schedule(0.3),
    "warm-up": lambda o: o.warmup_constant_schedule(0.0, 0.3, 20),
    "warm-up, cosine": lambda o: o.warmup_cosine_decay_schedule(0.0, 0.3, 20, 70, 0.01, 1.5),
    "no warm-up": lambda o: o.warmup_cosine_decay_schedule(0.0, 0.3, 0, 70),
    "joined": lambda o: o.join_schedules([o.constant_schedule(0.1), o.linear_schedule(0.3, 0.0, 30)], [50]),
}


def gradient(params: Params, noise: Params) -> Params:
    return {name: noise[name] + 0.3 * params[name] for name in params}


def after_all_steps(update: Callable[..., tuple[Params, object]], state: object) -> Params:
    params = START
    for i in range(STEPS):
        grads = gradient(params, {name: x[i] for name, x in NOISE.items()})
        updates, state = update(grads, state, params)
        params = optim.apply_updates(params, updates)
    return params


@pytest.fixture(scope="module")
def optax() -> ModuleType:
    jax = pytest.importorskip("jax")
    found: ModuleType = pytest.importorskip("optax")
    jax.config.update("jax_enable_x64", True)
    return found


@pytest.fixture(scope="module")
def expected(optax: ModuleType) -> Callable[[str], Params]:
    """The parameters after a hundred of Optax's steps."""
    import jax

    def run(name: str) -> Params:
        optimizer = OPTIMISERS[name](optax)
        noise = jax.tree.map(jax.numpy.asarray, NOISE)

        def step(carry: tuple[Params, object], slice_: Params) -> tuple[tuple[Params, object], None]:
            params, state = carry
            updates, state = optimizer.update(gradient(params, slice_), state, params)  # type: ignore[attr-defined]  # Optax's
            return (optax.apply_updates(params, updates), state), None

        start = jax.tree.map(jax.numpy.asarray, START)
        (params, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), noise)  # type: ignore[attr-defined]  # as above
        return {key: np.asarray(x) for key, x in params.items()}

    return run


def assert_close(found: object, wanted: object, tolerance: float = 1e-12) -> None:
    for x, y in zip(tree.leaves(found), tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(cast("Floats", x), cast("Floats", y), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", OPTIMISERS)
def test_numbers_are_optax_s(name: str, expected: Callable[[str], Params]) -> None:
    """A hundred steps end where Optax's do, eagerly and compiled; nothing that was given is changed."""
    optimizer, wanted, before = OWN[name], expected(name), tree.map(np.copy, START)
    assert_close(after_all_steps(optimizer.update, optimizer.init(START)), wanted)
    compiled = jit(lambda grads, state, params: optimizer.update(grads, state, params))
    assert_close(after_all_steps(compiled, optimizer.init(START)), wanted)
    assert compiled.cache_info().traces <= (2 if name == "accumulate" else 1)
    assert_close(START, before, 0.0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_optax_s(name: str, optax: ModuleType) -> None:
    """At each of a hundred steps: called with an int, compiled, and for all steps at once."""
    schedule = cast("optim.Schedule", SCHEDULES[name](optim))
    theirs = cast("Callable[[object], float]", exact(optax, cast("Callable[[object], object]", SCHEDULES[name](optax))))
    wanted = np.array([theirs(i) for i in range(STEPS)])
    found = [schedule(i) for i in range(STEPS)]
    assert all(type(rate) is float for rate in found)
    assert_close(np.array(found), wanted)
    compiled = jit(schedule)
    assert_close(np.array([compiled(i) for i in range(STEPS)]), wanted)
    assert compiled.cache_info().traces == 1
    assert_close(vmap(cast("Callable[[object], object]", schedule))(np.arange(STEPS)), wanted)


@pytest.mark.parametrize(
    "name", ["sgd, schedule", "adamw, schedules", "rmsprop, all", "three", "accumulate", "lion, mask"]
)
def test_scan_is_the_loop(name: str) -> None:
    """The steps as one op are the steps one by one, though the count is traced there."""
    optimizer = OWN[name]

    def step(carry: tuple[Params, object], noise: Params) -> tuple[tuple[Params, object], None]:
        params, state = carry
        updates, state = optimizer.update(gradient(params, noise), state, params)
        return (optim.apply_updates(params, updates), state), None

    (params, _), _ = scan(step, (START, optimizer.init(START)), NOISE)
    assert_close(params, after_all_steps(optimizer.update, optimizer.init(START)))


@attrs.frozen
class Pair:
    left: object
    right: object


class Named(NamedTuple):
    x: object
    y: object


TREES: list[object] = [
    (1.0, -2.0),
    {"a": 1.0, "b": {"c": [2.0, np.array([1.0, 2.0])]}},
    Pair(np.ones((2, 2)), Named(0.5, None)),
    nn.MLP.init(random.Key(0), [2, 3, 1]),
    nn.MLP.init(random.Key(0), [2, 3, 1], dtype=np.float32),
    {"float32": np.float32(2.0), "float64": np.float64(2.0), "mixed": np.ones(2, np.float32), "none": None},
    [np.ones((0, 2)), np.array([1.0])],
    {},
]


def kinds(values: object) -> list[object]:
    return [(type(x), getattr(x, "dtype", None), getattr(x, "shape", None)) for x in tree.leaves(values)]


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("params", TREES, ids=lambda x: str(tree.flatten(x)[1])[12:40])
def test_every_tree_keeps_its_structure_and_types(name: str, params: object) -> None:
    """Floats stay floats and float32 arrays float32 arrays, in parameters and in states."""
    optimizer: Optimizer[object] = OWN[name] if "mask" not in name and name != "decay" else optim.adamw(0.1)
    state = optimizer.init(params)
    first = state
    for _ in range(2):
        updates, state = optimizer.update(tree.map(lambda x: 2.0 * x, params), state, params)
        moved = optim.apply_updates(params, updates)
        assert tree.flatten(moved)[1] == tree.flatten(params)[1]
        assert kinds(moved) == kinds(updates) == kinds(params)
        assert kinds(state) == kinds(first)


def test_states_are_saved_and_go_on(tmp_path: object) -> None:
    optimizer = OWN["adamw, schedules"]
    updates, state = optimizer.update(START, optimizer.init(START), START)
    io.save(f"{tmp_path}/state", state)
    restored = io.load(f"{tmp_path}/state", like=optimizer.init(START))
    assert_close(optimizer.update(START, restored, START), optimizer.update(START, state, START), 0.0)
    assert_close(optimizer.update(START, optimizer.init(START), START)[0], updates, 0.0)


def test_the_learning_rate_is_read_by_name() -> None:
    """After init it is the first one, then the one that the last update used, through every wrapper."""
    adam = optim.adam(optim.linear_schedule(1.0, 0.0, 10))
    for optimizer in (
        adam,
        optim.chain(optim.clip(1.0), adam),
        optim.masked(adam, {"x": True}),
        optim.accumulate(adam, 1),
        optim.accumulate(optim.chain(optim.scale(2.0), optim.masked(adam, True)), 1),
    ):
        state = cast("optim.StepState", optimizer.init({"x": 1.0}))
        rates = [state.learning_rate]
        for _ in range(3):
            _, state = cast("Optimizer[optim.StepState]", optimizer).update({"x": 1.0}, state, {"x": 1.0})
            rates.append(state.learning_rate)
        assert rates == pytest.approx([1.0, 1.0, 0.9, 0.8])
    with pytest.raises(AttributeError, match="no optimiser of this state has a learning rate"):
        _ = optim.chain(optim.clip(1.0)).init(1.0).learning_rate


def train(make: Callable[[float], Optimizer[object]], rate: float, start: T, loss: Callable[[T], float]) -> T:
    optimizer, params = make(rate), start
    state = optimizer.init(params)
    for _ in range(STEPS):
        updates, state = optimizer.update(grad(loss)(params), state, params)
        params = optim.apply_updates(params, updates)
    return params


def bowl(params: dict[str, float]) -> float:
    return (params["x"] - 1.0) ** 2 + 0.5 * (params["x"] * params["y"]) ** 2 + 0.1 * params["y"] ** 2


RATED: dict[str, Callable[[float], object]] = {
    "sgd": lambda rate: optim.sgd(rate),
    "sgd, momentum": lambda rate: optim.sgd(rate, 0.5, nesterov=True),
    "adam": lambda rate: optim.adam(rate),
    "adamw, schedule": lambda rate: optim.adamw(optim.cosine_decay_schedule(rate, 150)),
    "rmsprop": lambda rate: optim.rmsprop(rate, centered=True, initial_scale=1.0, momentum=0.1),
    "chain": lambda rate: optim.chain(optim.clip_by_global_norm(1.0), optim.adagrad(rate)),
}


@pytest.mark.parametrize("name", RATED)
def test_hyper_gradients(name: str) -> None:
    """The loss after a hundred steps has a derivative by the learning rate, as differences say."""
    make = cast("Callable[[float], Optimizer[object]]", RATED[name])

    def final(rate: float) -> float:
        return bowl(train(make, rate, {"x": 3.0, "y": 1.0}, bowl))

    slope, h = grad(final)(0.02), 1e-6
    assert slope != 0
    assert slope == pytest.approx((final(0.02 + h) - final(0.02 - h)) / (2 * h), rel=1e-5)
    rates = np.array([0.01, 0.02])
    np.testing.assert_allclose(
        vmap(cast("Callable[[object], Floats]", final))(rates), [final(0.01), final(0.02)], rtol=1e-12
    )


@pytest.mark.parametrize("name", ["adam", "sgd, nesterov", "three", "accumulate", "rmsprop, all", "lion", "adagrad"])
def test_an_ensemble_is_its_members(name: str) -> None:
    """Under vmap, each member's steps are those that it takes alone, whether or not it brings its own state."""
    optimizer = OWN[name]
    starts = {key: np.stack([x, 2 * x, -x]) for key, x in START.items()}
    noise = {key: x[0] for key, x in NOISE.items()}

    def steps(params: Params, state: object) -> tuple[Params, object]:
        for _ in range(3):
            updates, state = optimizer.update(gradient(params, noise), state, params)
            params = optim.apply_updates(params, updates)
        return params, state

    states = vmap(lambda params: steps(params, optimizer.init(params))[1])(starts)
    together = vmap(steps)(starts, states)[0]
    for i in range(3):
        alone = {key: x[i] for key, x in starts.items()}
        again = steps(alone, steps(alone, optimizer.init(alone))[1])[0]
        assert_close({key: x[i] for key, x in together.items()}, again)


def test_a_float32_ensemble_stays_float32() -> None:
    adam = optim.adam(0.1)
    params = np.ones((3, 2), np.float32)
    updates, state = vmap(adam.update)(params, vmap(adam.init)(params))
    again, state = vmap(adam.update)(params, state)
    assert updates.dtype == again.dtype == cast("Floats", state.mu).dtype == np.float32


def test_a_users_own_optimiser_chains() -> None:
    """Two functions make an optimiser, with whatever state."""

    def update(grads: T, state: int, params: T | None = None) -> tuple[T, int]:
        return tree.map(lambda g: g / (state + 1), grads), state + 1

    optimizer = optim.chain(cast("Optimizer[object]", Optimizer(lambda params: 0, update)), OWN["sgd"])
    state = optimizer.init({"x": 0.0})
    for wanted in (-0.1, -0.05):
        updates, state = optimizer.update({"x": 1.0}, state)
        assert updates == {"x": pytest.approx(wanted)}


def test_masks() -> None:
    """A mask is a tree of bools, a prefix of one, a function, or a model of bools, which is no function."""
    model = nn.MLP.init(random.Key(0), [2, 2, 1])
    ones = tree.map(np.ones_like, model)
    matrices = tree.map(lambda x: x.ndim > 1, model)
    for mask in (matrices, lambda params: tree.map(lambda x: x.ndim > 1, params)):
        optimizer = optim.masked(optim.scale(5.0), mask)
        updates, _ = optimizer.update(ones, optimizer.init(model), model)
        assert updates == tree.map(lambda x: 5.0 * x if x.ndim > 1 else x, ones)
    both = {"frozen": {"a": 1.0, "b": None}, "free": (1.0, 2.0)}
    optimizer = optim.masked(optim.scale(5.0), {"frozen": False, "free": True})
    assert optimizer.update(both, optimizer.init(both))[0] == {"frozen": {"a": 1.0, "b": None}, "free": (5.0, 10.0)}
    with pytest.raises(errors.StructureError, match="the mask is no prefix"):
        optim.masked(optim.scale(5.0), {"w": True}).init({"w": 1.0, "b": 2.0})


def test_global_norm() -> None:
    values = {"w": np.array([[1.0, 2.0]]), "b": (2.0, None), "empty": np.ones((0,))}
    assert optim.global_norm(values) == 3.0
    assert type(optim.global_norm(values)) is float
    assert optim.global_norm({}) == 0.0
    assert grad(optim.global_norm)({"a": 3.0, "b": 4.0}) == {"a": pytest.approx(0.6), "b": pytest.approx(0.8)}


@pytest.mark.parametrize(
    ("wrong", "error", "message"),
    [
        (lambda: OWN["adamw"].update(START, OWN["adamw"].init(START)), errors.ArgumentError, "adamw needs the param"),
        (lambda: OWN["decay"].update(START, OWN["decay"].init(START)), errors.ArgumentError, "weights needs the param"),
        (
            lambda: OWN["adam"].update({"w": 1.0}, OWN["adam"].init(START)),
            errors.StructureError,
            r"differ at grads\['b'\]",
        ),
        (
            lambda: optim.adamw(0.1).update((1.0,), optim.adamw(0.1).init((1.0,)), (1.0, 2.0)),
            errors.StructureError,
            r"params\[1\]",
        ),
        (lambda: optim.apply_updates({"a": 1.0, "b": 2.0}, {"a": 1.0}), errors.StructureError, r"updates\['b'\]"),
        (lambda: optim.sgd(0.1).init({"n": np.arange(3)}), errors.LeafError, r"params\['n'\] is"),
        (lambda: optim.adam(0.1).init([1.0, 2]), errors.LeafError, r"params\[1\] is"),
        (lambda: optim.adam(0.1).init([True]), errors.LeafError, r"params\[0\] is"),
        (lambda: optim.adam(cast("float", "fast")), errors.ArgumentError, "a finite number, or a schedule, not 'fast'"),
        (lambda: optim.sgd(float("nan")), errors.ArgumentError, "not nan"),
        (lambda: optim.sgd(cast("float", np.ones(2))), errors.ArgumentError, "a finite number"),
        (lambda: optim.clip_by_global_norm(0.0), errors.ArgumentError, "max_norm=0.0"),
        (lambda: optim.accumulate(OWN["sgd"], 0), errors.ArgumentError, "every=0"),
        (lambda: optim.cosine_decay_schedule(0.1, 0), errors.ArgumentError, "decay_steps=0"),
        (lambda: optim.exponential_decay(0.1, 0, 0.5), errors.ArgumentError, "transition_steps=0"),
        (lambda: optim.join_schedules([optim.constant_schedule(0.1)], [5]), errors.ArgumentError, "at 0 boundaries"),
        (lambda: OWN["clip"].update(START, optim.chain().init(START)), errors.StructureError, "0 optim.* chain of 2"),
        (lambda: optim.lbfgs(lambda p: 0.0, ()), errors.ArgumentError, "no leaves"),
        (lambda: optim.lbfgs(lambda p: p * p, 2), errors.LeafError, "params is"),
        (lambda: optim.lbfgs(lambda p: fgrad.log(p), -1.0), errors.ArgumentError, "f is not finite at the start"),
        (lambda: optim.lbfgs(lambda p: fgrad.sqrt(p), 0.0), errors.ArgumentError, "gradient is not finite"),
        (lambda: optim.levenberg_marquardt(lambda p: p / 0.0, np.ones(2)), errors.ArgumentError, "residuals is not"),
        (lambda: optim.levenberg_marquardt(lambda p: p[:1], np.ones(2)), errors.StructureError, "1 residuals do not"),
    ],
)
def test_errors_teach(wrong: Callable[[], object], error: type[Exception], message: str) -> None:
    with np.errstate(all="ignore"), pytest.raises(error, match=message):
        wrong()


def test_missing_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(errors.MissingExtraError, match=r"lbfgs needs scipy: pip install \"fgrad\[scipy\]\""):
        optim.lbfgs(lambda x: x * x, 1.0)


def rosenbrock(x: Floats) -> float:
    return fgrad.sum(100.0 * (x[1:] - x[:-1] ** 2) ** 2 + (1.0 - x[:-1]) ** 2)


def test_lbfgs_is_scipy_s() -> None:
    """Rosenbrock's valley ends at ones, by the very steps that SciPy takes when called by hand."""
    optimize = pytest.importorskip("scipy.optimize")
    start = np.linspace(-1.0, 1.0, 10)
    found = optim.lbfgs(rosenbrock, start)
    by_hand = optimize.minimize(
        rosenbrock,
        start,
        jac=optimize.rosen_der,
        method="L-BFGS-B",
        options={"maxiter": 1000, "gtol": 1e-8, "ftol": 2.3e-16},
    )
    np.testing.assert_allclose(found.params, np.ones(10), atol=1e-7)
    np.testing.assert_allclose(found.params, by_hand.x, atol=1e-7)
    assert found.converged
    assert abs(found.steps - by_hand.nit) <= 3
    assert found.value == pytest.approx(0.0, abs=1e-14)
    assert found.gradient_norm < 1e-6
    stopped = optim.lbfgs(rosenbrock, start, max_steps=3)
    assert not stopped.converged
    assert stopped.steps == 3
    assert "LIMIT" in stopped.message


def test_lbfgs_keeps_types() -> None:
    """The solution is like the start: a model is a model, floats are floats; what it is made of shares no memory."""
    x = random.normal(random.Key(0), (40, 2))
    y = x @ np.array([[1.0], [-2.0]]) + 0.5
    model = nn.Linear.init(random.Key(1), 2, 1)
    found = optim.lbfgs(lambda m: nn.mse(m(x), y), model)
    np.testing.assert_allclose(found.params.w, [[1.0], [-2.0]], atol=1e-7)
    np.testing.assert_allclose(found.params.b, [0.5], atol=1e-7)
    assert found.params.w.base is None
    start = {"a": 1.0, "b": (np.float32(1.0), np.ones((2, 1), np.float32), np.ones((2, 0)), None)}

    def far(p: dict[str, object]) -> float:
        a, (b, c, *_) = cast("tuple[float, tuple[float, Floats]]", p.values())
        return fgrad.square(a - 3.0) + b * b + fgrad.sum(c**2)

    ended = optim.lbfgs(far, start, tolerance=1e-4)
    assert kinds(ended.params) == kinds(start)
    assert ended.params["a"] == pytest.approx(3.0)


def test_levenberg_marquardt_is_scipy_s() -> None:
    """A sum of exponentials is found again, as by SciPy called by hand, and residuals may be any tree."""
    optimize = pytest.importorskip("scipy.optimize")
    t = np.linspace(0.0, 3.0, 30)
    noise = 0.01 * random.normal(random.Key(0), (30,))
    y = 2.0 * np.exp(-1.5 * t) + 0.5 * np.exp(-0.2 * t) + noise

    def model(p: dict[str, object]) -> Floats:
        r, (a, b) = cast("tuple[Floats, tuple[float, float]]", p.values())
        both: Floats = a * fgrad.exp(-r[0] * t) + b * fgrad.exp(-r[1] * t)
        return both

    start = {"rates": np.array([1.0, 0.1]), "sizes": (1.0, 1.0)}
    found = optim.levenberg_marquardt(
        lambda p: {"early": model(p)[:10] - y[:10], "late": model(p)[10:] - y[10:]}, start
    )
    by_hand = optimize.least_squares(
        lambda v: model({"rates": v[:2], "sizes": (v[2], v[3])}) - y, [1.0, 0.1, 1.0, 1.0], method="lm"
    )
    np.testing.assert_allclose(np.hstack(cast("list[Floats]", tree.leaves(found.params))), by_hand.x, rtol=1e-5)
    assert found.value == pytest.approx(by_hand.cost)
    assert found.converged
    assert found.steps < 50
    assert found.gradient_norm < 1e-6
    assert kinds(found.params) == kinds(start)
    assert optim.levenberg_marquardt(lambda x: (x - 2.0, 0.0 * x), 1.0).params == pytest.approx(2.0)


def test_training_ends_where_it_should() -> None:
    """Every optimiser finds the bottom of a bowl."""
    for name, make in RATED.items():
        rate = 0.02 if name == "rmsprop" else 0.1
        ended = train(cast("Callable[[float], Optimizer[object]]", make), rate, {"x": 3.0, "y": 1.0}, bowl)
        assert value_and_grad(bowl)(ended)[0] < 0.5, name


def test_float16_has_a_norm_and_stays() -> None:
    large = {"a": np.full(10, 300, np.float16)}
    assert optim.global_norm(large) == pytest.approx(300 * 10**0.5, rel=1e-3)
    single = {"w": np.ones(2, np.float32)}
    assert optim.sgd_step(single, single, np.float64(0.1))["w"].dtype == np.float32


def test_every_few_gradients_are_a_whole_number() -> None:
    with pytest.raises(errors.ArgumentError, match=r"every=2\.5"):
        optim.accumulate(optim.sgd(0.1), every=2.5)  # type: ignore[arg-type]  # wrong
