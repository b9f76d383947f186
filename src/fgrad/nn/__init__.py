"""Networks on arrays, as immutable pytrees, with losses and metrics; nothing here knows of gradients."""

from fgrad.nn.initialisers import Floats, Initialiser, Integers, glorot_uniform
from fgrad.nn.layers import MLP, Activation, Linear
from fgrad.nn.losses import cross_entropy, mse

__all__ = [
    "MLP",
    "Activation",
    "Floats",
    "Initialiser",
    "Integers",
    "Linear",
    "cross_entropy",
    "glorot_uniform",
    "mse",
]
