"""A training loop of your own in plain PyTorch, with a recurrent layer from elman.

Module, Dataset, DataLoader, loop, loss and figure are PyTorch's and yours. The line that imports
GRU is the only one that differs from a program for torch.nn:

    from torch.nn import GRU
    from elman.layers import GRU

Arguments, initial weights, names of the parameters and results are the same; elman's layer is
faster on a CPU. A test trains with both lines and compares.

The task is to recognise the shape of a noisy wave of 20 to 40 steps: rising sawtooth, triangle or
falling sawtooth. In the comments B is the number of sequences in a batch, T of steps of the
longest, H of hidden units, K of classes.

    python pytorch_loop.py --epochs 12 --hidden-size 32 --seed 0
"""

import argparse
import time

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_sequence
from torch.utils.data import DataLoader, Dataset

from elman.layers import GRU

SHAPES = ("rising sawtooth", "triangle", "falling sawtooth")


class Waves(Dataset):
    """Noisy waves, each (T, 1) with a T of its own, and the number of their shape."""

    def __init__(self, count, generator):
        self.items = []
        for _ in range(count):
            steps = int(torch.randint(20, 41, (), generator=generator))
            kind = int(torch.randint(len(SHAPES), (), generator=generator))
            period = 8 + 8 * torch.rand((), generator=generator)
            phase = torch.rand((), generator=generator)
            rising = 2 * ((torch.arange(steps) / period + phase) % 1) - 1  # from -1 up to 1, again
            wave = (rising, 2 * rising.abs() - 1, -rising)[kind]
            noise = torch.randn(steps, generator=generator)
            self.items.append(((wave + 0.2 * noise)[:, None], kind))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, k):
        return self.items[k]


def collate(items):
    """Return a batch: padded waves (B, T, 1), their lengths (B,), and their classes (B,)."""
    waves, kinds = zip(*items, strict=True)
    lengths = torch.tensor([len(wave) for wave in waves])
    return pad_sequence(waves, batch_first=True), lengths, torch.tensor(kinds)


class Classifier(nn.Module):
    """A recurrent layer, and a linear layer that reads its last state."""

    def __init__(self, hidden_size):
        super().__init__()
        self.recurrent = GRU(1, hidden_size, batch_first=True)
        self.output = nn.Linear(hidden_size, len(SHAPES))

    def forward(self, x, lengths):
        """Return the logits, (B, K), of padded sequences x, (B, T, 1)."""
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        _, h_n = self.recurrent(packed)  # (1, B, H), each row's state after its own last step
        return self.output(h_n[-1])


def run_epoch(model, loader, optimizer=None):
    """Read all batches once; learn from them if there is an optimizer. Return loss, accuracy."""
    model.train(optimizer is not None)
    loss_sum, hits = 0.0, 0
    with torch.set_grad_enabled(optimizer is not None):
        for x, lengths, target in loader:
            logits = model(x, lengths)
            loss = nn.functional.cross_entropy(logits, target)
            if optimizer is not None:
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
            loss_sum += loss.item() * len(target)
            hits += int((logits.argmax(dim=1) == target).sum())
    return loss_sum / len(loader.dataset), hits / len(loader.dataset)


def plot(history, path):
    """Draw loss and accuracy of both splits over the epochs; history is (epochs, 4)."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    for i, title in enumerate(("loss", "accuracy")):
        axes = figure.add_subplot(1, 2, i + 1)
        for split, values in (("training", history[:, i]), ("test", history[:, 2 + i])):
            axes.plot(range(1, len(history) + 1), values, marker=".", label=split)
        axes.set(title=title, xlabel="epoch", ylim=(0, None if i == 0 else 1.02))
        axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main():
    """Train on 1,000 waves, test on 300 others after every epoch, draw the curves."""
    parser = argparse.ArgumentParser(description="A PyTorch loop with a layer of elman.")
    for flag, default in (("--epochs", 12), ("--hidden-size", 32), ("--seed", 0)):
        parser.add_argument(flag, type=int, default=default)
    parser.add_argument("--plot", default="pytorch_loop.png", help="picture to write")
    args = parser.parse_args()
    torch.manual_seed(args.seed)  # of the initial weights
    generator = torch.Generator().manual_seed(args.seed)  # of the waves and of their order
    training, test = Waves(1000, generator), Waves(300, generator)
    batches = DataLoader(training, 32, shuffle=True, collate_fn=collate, generator=generator)
    test_batches = DataLoader(test, 100, collate_fn=collate)
    model = Classifier(args.hidden_size)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    history, start = [], time.perf_counter()
    for epoch in range(1, args.epochs + 1):
        history.append(run_epoch(model, batches, optimizer) + run_epoch(model, test_batches))
        loss, accuracy, test_loss, test_accuracy = history[-1]
        print(
            f"epoch {epoch:2d}   loss {loss:.3f}   accuracy {accuracy:.3f}   "
            f"test loss {test_loss:.3f}   test accuracy {test_accuracy:.3f}"
        )
    print(f"{time.perf_counter() - start:.1f} s with {GRU.__module__.split('.')[0]}")
    plot(torch.tensor(history), args.plot)


if __name__ == "__main__":
    main()
