"""Influence of each input of one sequence on each output, by replacing one input at a time.

    influence of x_s on y_t = the mean over replacements of the distance between y_t and y_t after
                              replacing x_s

This is the matrix whose means by time lag `memory` reports. It shows what a mean hides: a single
output that depends on a single input far away.

Dimensions: T steps, C channels, R replacements.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from elman.errors import DataError, SettingsError
from elman.explain.forms import Floats, attributes_to_dict, count_of, to_frame
from elman.explain.network import ExplainedNetwork
from elman.explain.sensitivity import (
    change_by_step,
    describe_distance,
    describe_replacement,
    replacement_for,
    smallest_effect,
)
from elman.train import TorchThreads

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARE = 0.05  # of the largest influence: a smaller one does not count, as in `memory`
_MAX_STEPS = 10**8  # most steps that the network runs over: minutes on a CPU


@dataclass(frozen=True, eq=False)
class Influence:
    """What each input of one sequence does to each output; arrays count steps from 0, texts from 1.

    Args:
        values: influence of input s on output t, (T, T); with one output a sequence (T, 1).
        inputs, channel_names, categories, name: as in a Trace.
        per_step: whether the network has an output at every step.
        measure: the unit of an influence, in words.
        replacement: the replacement of an input, in words.
        smallest: the change below which there is none to speak of; see `smallest_effect`.
    """

    values: Floats
    inputs: NDArray[Any]
    channel_names: tuple[str, ...]
    categories: tuple[tuple[str, ...], ...]
    name: str
    per_step: bool
    measure: str
    replacement: str
    smallest: float

    @property
    def steps(self) -> int:
        """Number of steps, T."""
        return len(self.values)

    @property
    def lags(self) -> NDArray[np.int64]:
        """The time lag of each entry of `values`: output minus input, negative for later inputs."""
        outputs = np.arange(self.steps) if self.per_step else np.array([self.steps - 1])
        lags: NDArray[np.int64] = outputs - np.arange(self.steps)[:, None]
        return lags

    @property
    def counts(self) -> NDArray[np.bool_]:
        """Which influences count: at least 5 % of the largest, and more than `smallest`."""
        largest = float(self.values.max())
        mask: NDArray[np.bool_] = (self.values >= SHARE * largest) & (self.values > self.smallest)
        return mask

    @property
    def longest(self) -> tuple[int, int] | None:
        """Input and output, from 0, of the dependency over the longest distance; None for none."""
        if not self.counts.any():
            return None
        distance = np.where(self.counts, np.abs(self.lags), -1)
        s, t = np.unravel_index(int(distance.argmax()), distance.shape)
        return int(s), int(t) if self.per_step else self.steps - 1

    def plot(self) -> Figure:
        """Draw the influences as a map, or as bars with one output a sequence.

        Where no influence counts, the figure holds a sentence that says so.
        """
        from elman.plots.memory import draw_influence
        from elman.plots.states import note_figure

        return draw_influence(self) if self.counts.any() else note_figure(str(self))

    def to_frame(self) -> Any:
        """Return a pandas DataFrame with a row for each input and output step, from 1."""
        T, outputs = self.values.shape
        output = np.arange(1, T + 1) if self.per_step else np.array([T])
        return to_frame(
            {
                "input step": np.repeat(np.arange(1, T + 1), outputs),
                "output step": np.tile(output, T),
                "influence": self.values.ravel(),
            }
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        names = ("values", "per_step", "measure", "replacement", "smallest", "name")
        return attributes_to_dict(self, *names)

    def __str__(self) -> str:
        if self.longest is None:
            return (
                "Influence: no input that was replaced changed the prediction by more than "
                f"{self.smallest:.2g} ({self.measure}; replaced by {self.replacement})."
            )
        s, t = self.longest
        value = self.values[s, t if self.per_step else 0]
        distance = count_of(abs(t - s), "step")
        if self.per_step:
            text = (
                f"the longest dependency is that of the output at step {t + 1} on "
                f"{self._name_input(s)}, over {distance}: {value:.3g}"
            )
        else:
            text = (
                f"the earliest input that counts is {self._name_input(s)}, {distance} before the "
                f"last: {value:.3g}"
            )
        s, t = (int(i) for i in np.unravel_index(int(self.values.argmax()), self.values.shape))
        where = f" on the output at step {t + 1}" if self.per_step else ""
        return (
            f"Influence: {text}. The largest is that of {self._name_input(s)}{where}: "
            f"{self.values[s, t]:.3g} ({self.measure}; replaced by {self.replacement})."
        )

    def _name_input(self, s: int) -> str:
        return f"x_{s + 1}" + (f" ({self.inputs[s]})" if self.inputs.ndim == 1 else "")


@TorchThreads(1)  # torch forks and joins its threads at every time step: see `trace`
def influence(
    model: Any, sequence: Any, X: Any = None, *, replacements: int = 8, seed: int = 0
) -> Influence:
    """Measure the influence of each input of one sequence on each output.

    Takes one pass through the network for each step and replacement: R T^2 steps in all.

    Args:
        model: a SequenceModel or a fitted estimator; it is not changed.
        sequence: one sequence, in the model's input format, or in that of an estimator's `fit`.
        X: other sequences, whose steps replace those of the sequence, as in `memory`; None replaces
            by 0 for numbers, the training mean of standardised channels, and the unknown token or
            category.
        replacements: with X, the number of replacements of each step, over which the influence is
            the mean.
        seed: seed of the choice among X.
    Returns: an Influence; it prints a summary, and `.plot()` draws it.
    Raises: SettingsError for a value out of range, or if the network would run over more than 10^8
        steps; DataError or ShapeError for a sequence that the network cannot read.
    """
    if not isinstance(replacements, int | np.integer) or replacements < 1:
        raise SettingsError(
            f"replacements: got {replacements!r:.40}, expected a whole number from 1"
        )
    network = ExplainedNetwork.of(model)
    explained = network.read(sequence)
    network = explained.network  # with the static features of the sequence
    row, T = explained.x[0], explained.steps
    draws = 1 if X is None else int(replacements)
    if draws * T * T > _MAX_STEPS:
        raise SettingsError(
            f"sequence: it has {T:,} steps, for which the network would run over {draws * T * T:,} "
            f"steps in all, expected at most {_MAX_STEPS:,}. Use fewer replacements, or `memory`"
        )
    rows = [row]
    if X is not None:
        others = network.encode(network.read_sequences(X))
        if len(others) == 0:
            raise DataError("X holds no sequences", remedy="Expected at least one.")
        rows += [torch.from_numpy(values).to(row) for values in others]
    rng = np.random.default_rng(seed)
    steps = list(range(T))
    total = np.zeros((T, T) if explained.per_step else T)
    for _ in range(draws):
        values = torch.stack(
            [
                replacement_for(
                    rows, 0, t, "baseline" if X is None else "others", network.model, rng
                )
                for t in steps
            ]
        )
        total += change_by_step(network, row, steps, values, by_direction=False)[0]
    with torch.no_grad():
        answers = network.model(explained.x, explained.lengths)[0]
    return Influence(
        values=(total / draws).reshape(T, -1),
        inputs=explained.inputs,
        channel_names=network.channel_names,
        categories=explained.categories,
        name=explained.name,
        per_step=explained.per_step,
        measure=describe_distance(network),
        replacement=describe_replacement(
            "baseline" if X is None else "others", network.model.config
        ),
        smallest=smallest_effect(network, answers),
    )
