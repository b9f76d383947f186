"""A trained network and what its numbers mean, in one file of fgrad's own format.

Knows what the metadata of such a file say; nothing of training.

The network takes the features **as they are in the table**, and gives logits, or the target as it is in the table: the
standardisation is folded into the weights of its first and last layer. The metadata hold what rebuilds it, and what the
numbers mean: `sizes`, `activation`, `task`, `features`, `means`, `scales` (of the features; for information),
`target` and `classes`.

    about = io.read_metadata("fgrad-train/params.safetensors")
    like = nn.MLP.init(random.Key(0), about["sizes"], activation=about["activation"])
    model = io.load("fgrad-train/params.safetensors", like)
"""

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Final, cast, get_args

import attrs

from fgrad import errors, io, nn
from fgrad.random import Key

PARAMS: Final = "params.safetensors"
"""What the file is called in the folder of a run."""


@attrs.frozen(eq=False)
class Saved:
    """A network, the columns that it takes, in order, and what it gives: a number, or a logit for each class."""

    network: nn.MLP
    features: tuple[str, ...]
    target: str
    classes: tuple[str, ...]

    @property
    def sizes(self) -> list[int]:
        """How many numbers go in, stand between layers, and come out."""
        return [len(self.network.layers[0].w), *(len(layer.b) for layer in self.network.layers)]

    def encode(self, means: nn.Floats, scales: nn.Floats) -> bytes:
        """Give the bytes of the file; the means and scales of the features are for information."""
        about = {
            "sizes": self.sizes,
            "activation": self.network.activation,
            "task": "classification" if self.classes else "regression",
            "features": list(self.features),
            "means": means.tolist(),
            "scales": scales.tolist(),
            "target": self.target,
            "classes": list(self.classes),
        }
        return io.encode(self.network, about)


def read(path: Path) -> Saved:
    """Read a file, or that of a run's folder; nothing but the file is needed.

    Raises `DataError` for what `fgrad train` has not written, and OSError where there is none.
    """
    file = path / PARAMS if path.is_dir() else path
    about = io.read_metadata(file)
    sizes, activation, features, target, classes = _checked(about, file)
    if 8 * sum(n * m for n, m in pairwise(sizes)) > file.stat().st_size:
        raise errors.DataError(f"{file}: the file is too small for a network of the sizes {sizes}")
    try:
        network = io.load(file, nn.MLP.init(Key(0), sizes, activation=activation))
    except errors.StructureError as error:
        raise errors.DataError(str(error)) from None
    return Saved(network, features, target, classes)


def _checked(
    about: Mapping[str, object], file: Path
) -> tuple[list[int], nn.Activation, tuple[str, ...], str, tuple[str, ...]]:
    """The metadata in their types, if that is what they hold: a file can be anybody's."""
    sizes, activation, target = about.get("sizes"), about.get("activation"), about.get("target")
    features, classes = _words(about.get("features")), _words(about.get("classes"))
    if (
        isinstance(sizes, list)
        and len(sizes) > 1
        and all(type(size) is int and size > 0 for size in sizes)
        and activation in get_args(nn.Activation)
        and isinstance(target, str)
        and features is not None
        and classes is not None
        and (sizes[0], sizes[-1]) == (len(features), len(classes) or 1)
    ):
        return sizes, cast("nn.Activation", activation), features, target, classes
    raise errors.DataError(f"{file}: is no network that `fgrad train` has saved")


def _words(found: object) -> tuple[str, ...] | None:
    if not isinstance(found, list):
        return None
    words = tuple([word for word in found if isinstance(word, str)])
    return words if len(words) == len(found) else None
