"""A GPT in one file: a transformer that learns to write sonnets, character by character.

It is trained on nine tenths of some of Shakespeare's, judged on the last tenth beside a table of how often which
character follows which, and then writes on its own.

    python docs/examples/gpt.py
"""

from pathlib import Path

import attrs
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from fgrad import jit, nn, optim, random, softmax
from fgrad.nn import Floats, Integers
from fgrad.random import Key
from fgrad.train import batches, train

TEXT = Path(__file__).with_name("sonnets.txt").read_text()
ALPHABET = sorted(set(TEXT))


@attrs.frozen
class GPT:
    """What each character means, and each place; what they tell each other; and which character is next."""

    characters: nn.Embedding
    places: nn.Embedding
    blocks: tuple[nn.TransformerBlock, ...]
    norm: nn.LayerNorm
    head: nn.Linear

    @classmethod
    def init(cls, key: Key, context: int, width: int, heads: int = 4, depth: int = 2) -> "GPT":
        """Make one that sees `context` characters."""
        first, second, third, *keys = key.split(3 + depth)
        return cls(
            nn.Embedding.init(first, len(ALPHABET), width, dtype=np.float32),
            nn.Embedding.init(second, context, width, dtype=np.float32),
            tuple(nn.TransformerBlock.init(k, width, heads, dropout=0.1, dtype=np.float32) for k in keys),
            nn.LayerNorm.init(width, dtype=np.float32),
            nn.Linear.init(third, width, len(ALPHABET), dtype=np.float32),
        )

    def __call__(self, tokens: Integers, key: Key | None = None) -> Floats:
        """Map characters (…, length) to logits of the next one, at each place (…, length, alphabet)."""
        x = self.characters(tokens) + self.places(np.arange(tokens.shape[-1]))
        keys = [None] * len(self.blocks) if key is None else key.split(len(self.blocks))
        for block, own in zip(self.blocks, keys, strict=True):
            x = block(x, own, causal=True)
        return self.head(self.norm(x))


def loss(model: GPT, windows: Integers, *, key: Key | None = None) -> float:
    """The mean of -log p of each character of some windows, given those before it."""
    return nn.cross_entropy(model(windows[:, :-1], key), windows[:, 1:])


def bigram_loss(known: Integers, windows: Integers) -> float:
    """The same of a table that counts which character follows which, beginning from one each."""
    counts = np.ones((len(ALPHABET), len(ALPHABET)))
    np.add.at(counts, (known[:-1], known[1:]), 1)
    p = counts / counts.sum(1, keepdims=True)
    return float(-np.log(p[windows[:, :-1], windows[:, 1:]]).mean())


def write(model: GPT, key: Key, length: int, temperature: float = 0.7) -> str:
    """Draw one character after another, each from what the model expects."""
    tokens, context = [ALPHABET.index("\n")], len(model.places.table)
    for own in key.split(length):
        logits = model(np.array(tokens[-context:]))[-1]
        tokens.append(int(random.choice(own, len(ALPHABET), p=softmax(logits / temperature))))
    return "".join(ALPHABET[i] for i in tokens)


def main(
    *, steps: int = 500, context: int = 64, width: int = 64, length: int = 400, seed: int = 0
) -> tuple[float, float, str]:
    """Train, write, and give the held-out loss, that of bigrams, and what was written."""
    tokens = np.array([ALPHABET.index(character) for character in TEXT])
    known, unseen = np.split(tokens, [len(tokens) * 9 // 10])
    begin, order, drop, draw = Key(seed).split(4)
    windows = batches(sliding_window_view(known, context + 1), 32, order)
    held_out = sliding_window_view(unseen, context + 1)[::context]
    model, bigrams, judge = GPT.init(begin, context, width), bigram_loss(known, held_out), jit(loss)
    optimizer = optim.adamw(optim.warmup_cosine_decay_schedule(0.0, 6e-3, steps // 10, steps), weight_decay=0.1)
    for now in train(loss, model, windows, optimizer, steps=steps, key=drop):
        model = now.params
        if now.step % 100 == 0:
            print(f"step {now.step}  loss {now.value:.3f}  held out {judge(model, held_out):.3f}")
    held_out_loss, text = float(judge(model, held_out)), write(model, draw, length)
    print(f"held out {held_out_loss:.3f}, by bigrams {bigrams:.3f}\n{text}")
    return held_out_loss, bigrams, text


if __name__ == "__main__":
    main()
