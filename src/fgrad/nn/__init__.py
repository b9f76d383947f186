"""Networks on arrays, as immutable pytrees, with losses and metrics; nothing here knows of gradients."""

from fgrad.nn.attention import MultiHeadAttention, TransformerBlock, attend
from fgrad.nn.convolutions import Conv1d, Conv2d, max_pool, mean_pool
from fgrad.nn.initialisers import (
    Floats,
    Initialiser,
    Integers,
    glorot_normal,
    glorot_uniform,
    he_normal,
    he_uniform,
    orthogonal,
)
from fgrad.nn.layers import MLP, Activation, Dropout, Embedding, Linear
from fgrad.nn.losses import (
    binary_cross_entropy,
    cross_entropy,
    hinge,
    huber,
    kl_divergence,
    l1_penalty,
    l2_penalty,
    mae,
    mse,
)
from fgrad.nn.metrics import accuracy, confusion_matrix
from fgrad.nn.normalising import BatchNorm, BatchNormState, LayerNorm, RMSNorm
from fgrad.nn.recurrent import Cell, GRUCell, LSTMCell, LSTMState, unroll
from fgrad.nn.summary import Row, Summary, summary

__all__ = [
    "MLP",
    "Activation",
    "BatchNorm",
    "BatchNormState",
    "Cell",
    "Conv1d",
    "Conv2d",
    "Dropout",
    "Embedding",
    "Floats",
    "GRUCell",
    "Initialiser",
    "Integers",
    "LSTMCell",
    "LSTMState",
    "LayerNorm",
    "Linear",
    "MultiHeadAttention",
    "RMSNorm",
    "Row",
    "Summary",
    "TransformerBlock",
    "accuracy",
    "attend",
    "binary_cross_entropy",
    "confusion_matrix",
    "cross_entropy",
    "glorot_normal",
    "glorot_uniform",
    "he_normal",
    "he_uniform",
    "hinge",
    "huber",
    "kl_divergence",
    "l1_penalty",
    "l2_penalty",
    "mae",
    "max_pool",
    "mean_pool",
    "mse",
    "orthogonal",
    "summary",
    "unroll",
]
