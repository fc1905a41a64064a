"""Trains a PyTorch LSTM on tinyshakespeare, to compare with `quality.py`.

    python benchmarks/quality_torch.py [--seconds 130] [--units 512] [--dropout 0]

The network is the one that `textgen train` chooses (embedding of 64, one LSTM layer,
layer normalisation, output), made of PyTorch's own layers, with the same batches, the
same optimizer and the same schedule: a warm-up of 3 % and a cosine decay by the clock,
which starts with the process. The loss is measured afterwards on every character of the
last 10 %, with the state carried. The last line of the output is JSON.
"""

import time

STARTED = time.monotonic()  # before the imports, which take seconds

import argparse
import json
import math

import numpy as np
import torch

import textgen

ROWS, STEPS, EMBEDDING = 32, 32, 64
WARMUP, FLOOR = 0.03, 0.02
RESERVE = 1.0  # seconds for the end of the process

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("--seconds", type=float, default=130.0, help="time for training")
parser.add_argument("--units", type=int, default=512)
parser.add_argument("--dropout", type=float, default=0.0)
parser.add_argument("--learning-rate", type=float, default=0.013)
arguments = parser.parse_args()

text = textgen.load_corpus("tinyshakespeare")
symbols = {symbol: number for number, symbol in enumerate(sorted(set(text)))}
ids = np.array([symbols[symbol] for symbol in text])
train, held_out = textgen.split(ids, 0.1)


class Network(torch.nn.Module):
    """Ids `(N, T)` -> logits `(N, T, V)`, and the state."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = torch.nn.Embedding(len(symbols), EMBEDDING)
        self.lstm = torch.nn.LSTM(EMBEDDING, arguments.units, batch_first=True)
        self.norm = torch.nn.LayerNorm(arguments.units)
        self.dropout = torch.nn.Dropout(arguments.dropout)
        self.output = torch.nn.Linear(arguments.units, len(symbols))

    def forward(self, x: torch.Tensor, state: tuple | None) -> tuple:
        """Returns logits and the state after the last step."""
        features, state = self.lstm(self.embedding(x), state)
        return self.output(self.dropout(self.norm(features))), state


def loss_of(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Returns the mean loss in nats."""
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), y.flatten())


torch.manual_seed(0)
network = Network()
optimizer = torch.optim.Adam(network.parameters(), betas=(0.9, 0.99), eps=1e-7)
generator = np.random.default_rng(0)
end = STARTED + arguments.seconds - RESERVE
steps, state, at, first, last = 0, None, 0, None, 0.0
strands = torch.tensor(train[: len(train) // ROWS * ROWS].reshape(ROWS, -1))
while (now := time.monotonic()) + last < end:
    if at + STEPS + 1 > strands.shape[1] or steps == 0:
        at, state = int(generator.integers(STEPS)), None
    f = 0.0 if first is None else (now - first) / (end - first)
    decay = max(FLOOR, (1 + math.cos(math.pi * f)) / 2)
    for group in optimizer.param_groups:
        group["lr"] = arguments.learning_rate * min(1.0, f / WARMUP) * decay
    x, y = strands[:, at : at + STEPS], strands[:, at + 1 : at + STEPS + 1]
    logits, state = network(x, state)
    state = tuple(each.detach() for each in state)
    loss = loss_of(logits, y)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    optimizer.step()
    at, steps, last = at + STEPS, steps + 1, time.monotonic() - now
    first = first or time.monotonic()
    if steps % 500 == 0:
        print(f"{now - STARTED:.0f} s, step {steps}: {loss.item():.4f}", flush=True)
seconds = time.monotonic() - STARTED

network.eval()
total, state = 0.0, None
x = torch.tensor(held_out)[None]
with torch.no_grad():
    for start in range(0, len(held_out) - 1, 1000):
        stop = min(start + 1000, len(held_out) - 1)
        logits, state = network(x[:, start:stop], state)
        total += float(loss_of(logits, x[:, start + 1 : stop + 1])) * (stop - start)
result = {
    "seconds": seconds,
    "units": arguments.units,
    "steps": steps,
    "validation_loss": total / (len(held_out) - 1),
}
print(json.dumps(result))
