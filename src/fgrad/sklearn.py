"""Networks as estimators of scikit-learn's, for its pipelines, searches and metrics.

Knows scikit-learn's protocol, and the scale on which numbers are learnt from; nothing of how a step is made.
"""

import importlib
from collections.abc import Callable, Sequence
from typing import Final, Literal, Self, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fgrad import errors, optim, tree
from fgrad.nn import MLP, Activation, Floats, Linear, cross_entropy, mse
from fgrad.nn.scaling import on_plain, to_plain
from fgrad.ops.reducing import softmax
from fgrad.random import Key
from fgrad.train import Snapshot, batches, train, watch

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils import Tags
except ImportError:
    raise errors.missing_extra("sklearn", "scikit-learn", "an estimator") from None

# What has no types is asked for by name, or pyright would guess them from the source.
_checks: Final = importlib.import_module("sklearn.utils.validation")
_targets: Final = importlib.import_module("sklearn.utils.multiclass")
_splits: Final = importlib.import_module("sklearn.model_selection")
_scaling: Final = importlib.import_module("sklearn.preprocessing")

Array: TypeAlias = NDArray[np.generic]
A = TypeVar("A", bound=Array)
Loss: TypeAlias = Callable[[MLP, Floats, A], float]
OptimizerName: TypeAlias = Literal["adam", "sgd", "rmsprop", "adagrad", "lion"]
_OPTIMIZERS: Final[dict[OptimizerName, Callable[[float], optim.Optimizer[object]]]] = {
    "adam": optim.adam,
    "sgd": optim.sgd,
    "rmsprop": optim.rmsprop,
    "adagrad": optim.adagrad,
    "lion": optim.lion,
}


def _first(model: MLP) -> Linear:
    return model.layers[0]


def _last(model: MLP) -> Linear:
    return model.layers[-1]


class _Perceptron(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both estimators share: parameters, training, and the network's answer."""

    activation: Activation
    optimizer: OptimizerName
    model_: MLP
    loss_curve_: list[float]
    validation_curve_: list[float]
    n_iter_: int

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (64,),
        *,
        activation: Activation = "relu",
        optimizer: OptimizerName = "adam",
        learning_rate: float = 3e-3,
        weight_decay: float = 0.0,
        batch_size: int = 32,
        epochs: int = 100,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        patience: int = 10,
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.optimizer = optimizer
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.batch_size = batch_size
        self.epochs = epochs
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.random_state = random_state

    def _learn(self, x: Floats, y: A, outputs: int, loss: Loss[A]) -> MLP:
        """Train on x (n, features) and y (n, …); the network takes x as it is."""
        seed = int(_checks.check_random_state(self.random_state).randint(2**31))
        beginning, order = Key(seed).split()
        scaler = _scaling.StandardScaler().fit(x)
        model = MLP.init(beginning, [x.shape[1], *self.hidden_layer_sizes, outputs], activation=self.activation)
        model = self._trained(model, loss, scaler.transform(x), y, order, seed)
        # A constant feature was all zeros: its weights have learnt nothing, and must not meet large numbers.
        size = np.where(x.max(axis=0) > x.min(axis=0), scaler.scale_, np.inf)
        return tree.at(_first).apply(model, lambda layer: on_plain(layer, scaler.mean_, size))

    def _trained(self, model: MLP, loss: Loss[A], x: Floats, y: A, order: Key, seed: int) -> MLP:
        x_held, y_held = x, y
        if self.early_stopping:
            parts = _splits.train_test_split(x, y, test_size=self.validation_fraction, random_state=seed)
            x, x_held, y, y_held = parts
        data = batches((x, y), min(self.batch_size, len(x)), order)
        run = train(loss, model, data, self._rule(), epochs=self.epochs)
        losses: list[float] = []
        self.validation_curve_ = []

        def noted(snapshot: Snapshot[MLP, None]) -> Snapshot[MLP, None]:
            losses.append(snapshot.value)
            return snapshot

        def score(snapshot: Snapshot[MLP, None]) -> float:
            return loss(snapshot.params, x_held, y_held)

        if self.early_stopping:
            for now in watch(map(noted, run), score, every=data.per_epoch, patience=self.patience):
                self.validation_curve_.append(now.score)
                model = now.best.params
        else:
            for snapshot in map(noted, run):
                model = snapshot.params
        self.loss_curve_ = np.reshape(losses, (-1, data.per_epoch)).mean(axis=1).tolist()
        self.n_iter_ = len(self.loss_curve_)
        return model

    def _rule(self) -> optim.Optimizer[optim.ChainState]:
        if self.optimizer not in _OPTIMIZERS:
            raise errors.ArgumentError(f"there is no optimizer {self.optimizer!r}: there are {', '.join(_OPTIMIZERS)}")
        decay = optim.add_decayed_weights(-self.learning_rate * self.weight_decay)  # of the step, not of the gradient
        return optim.chain(_OPTIMIZERS[self.optimizer](self.learning_rate), decay)

    def _outputs(self, x: ArrayLike) -> Floats:
        _checks.check_is_fitted(self)
        return self.model_(_checks.validate_data(self, x, dtype=np.float64, reset=False))


class MLPClassifier(ClassifierMixin, _Perceptron):  # type: ignore[misc]  # as above
    """A multi-layer perceptron that tells classes apart, trained by `nn.cross_entropy`.

    What x is measured in does not matter: training sees each feature with mean 0 and standard deviation 1, and the
    first layer of `model_` is changed afterwards, so that it takes x as it is.

    hidden_layer_sizes: how many numbers there are between layers; activation: as in `nn.MLP`.
    optimizer: "adam", "sgd", "rmsprop", "adagrad" or "lion", with `learning_rate`; weight_decay: the share of the
    weights, times the rate, that each step takes away. batch_size, epochs: rows a step, and passes over the data.
    early_stopping: hold back a `validation_fraction` of the rows, stop after `patience` epochs without a lower loss on
    them, and keep the best network. random_state: what all that is random follows from; equal integers, equal networks.

    Attributes after `fit`: `model_`, the `nn.MLP`, which gives logits; `classes_`; `loss_curve_`, the mean loss of each
    epoch; `validation_curve_`, that of what was held back; `n_iter_`, how many epochs there were; `n_features_in_`,
    `feature_names_in_`.

    >>> from sklearn.datasets import load_iris
    >>> x, y = load_iris(return_X_y=True)
    >>> MLPClassifier((16,), random_state=0).fit(x, y).score(x, y) > 0.95
    True
    """

    classes_: Array

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803  # scikit-learn's name, given as a keyword too
        """Train on X (n, features) and labels y (n,) of any kind.

        Raises ValueError for what scikit-learn does not take, and `NonFiniteError` where training diverges.
        """
        x, given = _checks.validate_data(self, X, y, dtype=np.float64)
        _targets.check_classification_targets(given)
        self.classes_, labels = np.unique(given, return_inverse=True)
        self.model_ = self._learn(x, labels, len(self.classes_), lambda model, x, y: cross_entropy(model(x), y))
        return self

    def predict_proba(self, X: ArrayLike) -> Floats:  # noqa: N803  # as above
        """Give how likely each class is, (n, classes), by the softmax of the logits."""
        return softmax(self._outputs(X))

    def predict(self, X: ArrayLike) -> Array:  # noqa: N803  # as above
        """Give the likeliest classes, (n,)."""
        likeliest = np.argmax(self._outputs(X), axis=1)
        found: Array = self.classes_[likeliest]
        return found


class MLPRegressor(RegressorMixin, _Perceptron):  # type: ignore[misc]  # as above
    """A multi-layer perceptron that predicts one number or several, trained by `nn.mse`.

    Parameters and attributes are those of `MLPClassifier`, but for `classes_`. Training sees targets, too, with mean 0
    and standard deviation 1, in which losses are measured; `model_` gives predictions as they are, (n, targets).

    >>> x = np.linspace(-300.0, 300.0, 200)[:, None]
    >>> y = 1000 + np.sin(x / 100)
    >>> MLPRegressor(random_state=0).fit(x, y).score(x, y) > 0.95
    True
    """

    def fit(self, X: ArrayLike, y: ArrayLike) -> Self:  # noqa: N803  # as above
        """Train on X (n, features) and targets y, (n,) or (n, targets).

        Raises ValueError for what scikit-learn does not take, and `NonFiniteError` where training diverges.
        """
        x, given = _checks.validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        targets: Floats = np.reshape(given, (len(x), -1)).astype(np.float64)
        scaler = _scaling.StandardScaler().fit(targets)
        model = self._learn(x, scaler.transform(targets), targets.shape[1], lambda model, x, y: mse(model(x), y))
        self.model_ = tree.at(_last).apply(model, lambda layer: to_plain(layer, scaler.mean_, scaler.scale_))
        self._shape = given.shape[1:]
        return self

    def predict(self, X: ArrayLike) -> Floats:  # noqa: N803  # as above
        """Give predictions in the shape of the targets, (n,) or (n, targets)."""
        found = self._outputs(X)
        return found.reshape(len(found), *self._shape)

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
