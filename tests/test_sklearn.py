"""Estimators: scikit-learn's own checks, and that what comes after `fit` follows from what was given."""

import pickle
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits, load_iris, make_moons
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from fgrad import nn, softmax, tree
from fgrad.errors import ArgumentError, NonFiniteError
from fgrad.nn import mse
from fgrad.sklearn import MLPClassifier, MLPRegressor

Floats = NDArray[np.float64]


@parametrize_with_checks([MLPClassifier(epochs=15, learning_rate=0.01), MLPRegressor(epochs=15, learning_rate=0.01)])  # type: ignore[untyped-decorator]  # scikit-learn has no types
def test_scikit_learns_checks(estimator: MLPClassifier, check: Callable[[object], None]) -> None:
    check(estimator)


def moons() -> tuple[Floats, NDArray[np.int64]]:
    data: Any = make_moons(200, noise=0.2, random_state=0)
    x, y = data
    return x, y


def test_digits_are_read() -> None:
    x, y = load_digits(return_X_y=True)
    x_train, x_test, y_train, y_test = train_test_split(x, y, random_state=0, stratify=y)
    model = MLPClassifier((128,), epochs=40, random_state=0).fit(x_train, y_train)
    assert model.score(x_test, y_test) >= 0.97


def test_equal_seeds_give_equal_networks() -> None:
    x, y = moons()
    first, second, other = (MLPClassifier(epochs=5, random_state=seed).fit(x, y) for seed in (0, 0, 1))
    assert not tree.diff(first.model_, second.model_)
    assert tree.diff(first.model_, other.model_)
    assert first.loss_curve_ == second.loss_curve_


def test_the_network_takes_and_gives_numbers_as_they_are() -> None:
    """Scaling is part of `model_`: scaled data make the same predictions, and `model_` alone gives them."""
    x, y = moons()
    model = MLPClassifier(epochs=5, random_state=0).fit(x, y)
    assert isinstance(model.model_, nn.MLP)
    np.testing.assert_allclose(softmax(model.model_(x)), model.predict_proba(x))
    moved = MLPClassifier(epochs=5, random_state=0).fit(1e3 * x - 50, y)
    np.testing.assert_allclose(moved.predict_proba(1e3 * x - 50), model.predict_proba(x), rtol=1e-6)

    x, y = load_diabetes(return_X_y=True)
    line = MLPRegressor(epochs=5, random_state=0).fit(x, y)
    np.testing.assert_allclose(line.model_(x)[:, 0], line.predict(x))
    np.testing.assert_allclose(
        MLPRegressor(epochs=5, random_state=0).fit(x, 10 * y + 3).predict(x), 10 * line.predict(x) + 3, rtol=1e-6
    )


def test_predictions_have_the_shape_of_targets() -> None:
    x = np.random.default_rng(0).normal(size=(60, 3))
    y = np.stack([x[:, 0] - x[:, 1], np.abs(x[:, 2]), 9 + x[:, 1]], axis=1)
    model = MLPRegressor(random_state=0).fit(x, y)
    assert model.predict(x).shape == (60, 3)
    assert model.score(x, y) > 0.9
    assert MLPRegressor(epochs=1).fit(x, y[:, 0]).predict(x).shape == (60,)
    assert MLPRegressor(epochs=1).fit(x, y[:, :1]).predict(x).shape == (60, 1)


def test_labels_may_be_words() -> None:
    x, y = load_iris(return_X_y=True)
    names = np.array(["setosa", "versicolor", "virginica"])
    model = MLPClassifier(random_state=0).fit(x, names[y])
    assert model.classes_.tolist() == names.tolist()
    assert model.score(x, names[y]) > 0.95
    assert model.n_iter_ == len(model.loss_curve_) == 100
    assert model.loss_curve_[-1] < model.loss_curve_[0]


def test_early_stopping_keeps_the_best() -> None:
    x = np.random.default_rng(0).normal(size=(100, 5))
    y = np.random.default_rng(1).normal(size=100)  # noise, which can only be learnt by heart
    model = MLPRegressor(learning_rate=0.01, early_stopping=True, patience=3, random_state=0).fit(x, y)
    best = int(np.argmin(model.validation_curve_))
    assert model.n_iter_ == len(model.validation_curve_) == best + 4 < 100
    seen = MLPRegressor(epochs=best + 1, learning_rate=0.01, early_stopping=True, random_state=0).fit(x, y)
    assert not tree.diff(model.model_, seen.model_)


def test_weights_decay() -> None:
    x, y = moons()

    def size(**options: Any) -> float:
        model = MLPClassifier(epochs=20, random_state=0, **options).fit(x, y).model_
        return float(np.abs(model.layers[1].w).sum())

    assert size(weight_decay=1.0) < 0.9 * size()


@pytest.mark.parametrize("optimizer", ["adam", "sgd", "rmsprop", "adagrad", "lion"])
def test_every_optimizer_learns(optimizer: Any) -> None:
    x, y = moons()
    rate = {"sgd": 0.1, "adagrad": 0.1, "lion": 1e-3}.get(optimizer, 3e-3)
    model = MLPClassifier(optimizer=optimizer, learning_rate=rate, epochs=60, random_state=0).fit(x, y)
    assert model.score(x, y) > 0.85


def test_pipelines_and_searches() -> None:
    x, y = load_iris(return_X_y=True)
    pipeline = make_pipeline(PCA(3), MLPClassifier(epochs=15, learning_rate=0.02, random_state=0))
    options = {"mlpclassifier__hidden_layer_sizes": [(), (16,)], "mlpclassifier__activation": ["tanh", "relu"]}
    search = GridSearchCV(pipeline, options, cv=3).fit(x, y)
    assert search.best_score_ > 0.9
    assert search.score(x, y) > 0.9


def test_estimators_can_be_pickled_and_cloned() -> None:
    x, y = moons()
    model = MLPClassifier(epochs=3, hidden_layer_sizes=[8, 4], random_state=0).fit(x, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(x), model.predict_proba(x))
    assert clone(model).get_params() == model.get_params()


def test_mistakes_are_explained() -> None:
    x, y = moons()
    with pytest.raises(ArgumentError, match="there is no optimizer 'adamm': there are adam, sgd"):
        MLPClassifier(optimizer="adamm").fit(x, y)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ArgumentError, match="there is no activation 'Relu'"):
        MLPClassifier(activation="Relu").fit(x, y)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(NonFiniteError, match="lower learning rate"):
        MLPRegressor(optimizer="sgd", learning_rate=1e6).fit(x, y)


def test_without_scikit_learn_the_extra_is_named() -> None:
    code = "import sys; sys.modules['sklearn'] = None; import fgrad.sklearn"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert 'pip install "fgrad[sklearn]"' in done.stderr


def test_losses_are_those_of_scaled_targets() -> None:
    x, y = load_diabetes(return_X_y=True)
    model = MLPRegressor(epochs=50, random_state=0).fit(x, y)
    assert mse(model.predict(x), y) / y.var() == pytest.approx(model.loss_curve_[-1], rel=0.2)


def test_a_constant_feature_does_not_matter() -> None:
    """However large it is: nothing can be learnt from it."""
    x = np.random.default_rng(0).normal(size=(200, 2))
    y = x[:, 0] + 2 * x[:, 1]
    scores = {
        MLPRegressor(epochs=20, random_state=0).fit(wide, y).score(wide, y)
        for wide in (np.c_[x, np.full(200, constant)] for constant in (1.0, 1.7e18))
    }
    assert len(scores) == 1
    assert min(scores) > 0.99
