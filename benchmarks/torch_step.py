"""Trains in PyTorch, step by step, for `train.py`.

    python benchmarks/torch_step.py UNITS [UNITS ...] --rows N --steps T --symbols V

A process of its own, because TensorFlow and PyTorch can crash in one process. For each
line of the input, it trains one step and prints the loss.
"""

import argparse
import sys

import numpy as np
import torch

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("units", type=int, nargs="+")
parser.add_argument("--rows", type=int, required=True)
parser.add_argument("--steps", type=int, required=True)
parser.add_argument("--symbols", type=int, required=True)
parser.add_argument("--embedding", type=int, required=True)
arguments = parser.parse_args()

shape = (2, arguments.rows, arguments.steps)
x, y = np.random.default_rng(0).integers(0, arguments.symbols, shape)
ids, targets = torch.tensor(x), torch.tensor(y).reshape(-1)
units = arguments.units
embedding = torch.nn.Embedding(arguments.symbols, arguments.embedding)
lstm = torch.nn.LSTM(arguments.embedding, units[0], len(units), batch_first=True)
logits = torch.nn.Linear(units[-1], arguments.symbols)
modules = torch.nn.ModuleList([embedding, lstm, logits])
optimizer = torch.optim.Adam(modules.parameters(), 1e-3)

for _ in sys.stdin:
    optimizer.zero_grad()
    predicted = logits(lstm(embedding(ids))[0]).reshape(-1, arguments.symbols)
    loss = torch.nn.functional.cross_entropy(predicted, targets)
    loss.backward()
    optimizer.step()
    print(loss.item(), flush=True)
