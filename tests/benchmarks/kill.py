"""The campaign of kill -9: a run that is killed again and again comes to the bits of one that was not.

    python -m tests.benchmarks.kill --times 1000

A child trains and saves; at a random moment, as likely in the middle of writing as not, it is killed, and another one
goes on from the file. After each kill the file must be whole, and no earlier than it was; when a run is through, its
file must be, byte for byte, that of a run that nobody disturbed, with nothing beside it.
"""

import argparse
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fgrad import nn, optim
from fgrad.random import Key, normal
from fgrad.train import Snapshot, batches, begin, resume, saving, train

STEPS = 60
LONGEST = 0.5  # seconds until a child is killed, at most
WARM = ["fgrad.nn", "fgrad.train", "safetensors.numpy", "llvmlite.binding"]  # imported once, for all children
Floats = NDArray[np.float64]


def loss(model: nn.MLP, x: Floats, labels: NDArray[np.int64], key: Key) -> float:
    """A loss with noise of its own at each step, which a resumed run must draw again."""
    return nn.cross_entropy(model(x + 0.1 * normal(key, x.shape)), labels)


def start() -> Snapshot[nn.MLP, None]:
    return begin(nn.MLP.init(Key(0), [8, 64, 3]), optim.adam(1e-2))


def run(path: str) -> None:
    """Train to the end, from what there is, and save each step."""
    x = normal(Key(1), (48, 8))
    data = batches((x, (x[:, 0] > 0).astype(np.int64)), 16, key=Key(2))
    now = resume(path, start())
    for _ in saving(train(loss, now.params, data, optim.adam(1e-2), steps=STEPS, key=Key(3), start=now), path, every=1):
        pass


def campaign(times: int, folder: Path, seed: int = 0) -> Counter[str]:
    """Kill so many children, and let the last run end; AssertionError where anything was lost, or is different."""
    dice, seen, context = random.Random(seed), Counter[str](), get_context("forkserver")
    context.set_forkserver_preload(WARM)
    path, whole = folder / "run.safetensors", folder / "undisturbed.safetensors"
    run(str(whole))
    step = 0
    while seen["kills"] < times or step > 0:
        child = context.Process(target=run, args=(str(path),))
        child.start()
        child.join(dice.uniform(0.0, LONGEST) if seen["kills"] < times else None)
        child.kill()
        child.join()
        if child.exitcode == 0:
            assert path.read_bytes() == whole.read_bytes(), "the bits differ"
            assert {*folder.iterdir()} == {path, whole}, "something was left behind"
            path.unlink()
            seen["runs"] += 1
            step = 0
            continue
        assert child.exitcode == -signal.SIGKILL, f"the child failed by itself ({child.exitcode})"
        drafts = len([*folder.iterdir()]) - path.exists() - 1
        assert drafts <= 1, "drafts pile up"
        now = resume(path, start()).step
        assert now >= step, f"step {step} was saved, but {now} is there"
        seen.update(kills=1, drafts=drafts, steps=now - step)
        step = now
    return seen


def main(argv: Sequence[str] | None = None) -> int:
    """Run the campaign, and say what was seen."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.kill", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--times", type=int, default=1000, metavar="N", help="how many kills (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="what the moments follow from (%(default)s)")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        seen = campaign(options.times, Path(folder), options.seed)
    print(
        f"{seen['kills']} kills, {seen['drafts']} of them in the middle of writing; {seen['steps']} steps were saved "
        f"on the way, and {seen['runs']} runs went through: nothing lost, nothing half-written, the bits are equal"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
