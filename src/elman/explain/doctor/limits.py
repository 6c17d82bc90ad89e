"""The thresholds that a value has to cross to become a finding, and where they come from.

Measured on healthy networks: what the defaults train on the twelve built-in tasks, on 16,000 names
by language and 13,000 questions by intent, on JapaneseVowels, ItalyPowerDemand and BasicMotions,
and on small networks of every cell, some with two layers in both directions, a few epochs into
their training. Each threshold lies well beyond what was measured there, which is given beside it.
The opposite side is held by networks that are broken on purpose, in the tests.
"""

from __future__ import annotations

# --- sequences
# Expected number of sequences that are constant, or zero throughout, by chance alone: with ones and
# zeros that happens, with measured values it does not.
BY_CHANCE = 0.1
# Root mean square of a channel as the network reads it. Standardised channels have 1; pixels from 0
# to 16 have 7, and train as well unscaled.
LOUD = 30.0
FAINT = 1e-3  # the same: next to channels of 1, such a channel has no effect
UNKNOWN_SHARE = 0.3  # of the tokens; below 0.1 for held-out names, questions and words
LEAK = 0.01  # share of held-out sequences that the training part contains; 0 for the built-in tasks

# --- gates, states and units
# A sigmoid gate is saturated below END or above 1 - END, a tanh beyond 1 - 2 END: its slope there
# is below 0.01, or 0.04.
END = 0.01
SATURATED = 0.9  # share of a gate's or state's activations; healthy up to 0.4
DEAD = 0.1  # share of a relu layer's units
STILL = 1e-4  # deviation of a unit's state over steps and sequences; healthy from 0.014
STILL_SHARE = 0.5  # of a layer's units

# --- recurrent matrices and gradients
RADIUS = {"tanh": 3.0, "relu": 1.5}  # new networks have 1, trained ones up to 1.9
VANISHED = 1e-6  # of a gradient, left after the median sequence's steps
FACTOR = 0.5  # the same per step: new gated networks keep from 0.6 to 0.8
EXPLODED = 1e4  # growth on the way back; healthy up to 20
REACH = 1e-3  # share of a gradient; the report says after how many steps it is reached
LEARNT = 0.2  # share of the loss of the best constant prediction that a network removes

# --- predictions
VARIES = 1e-3  # deviation of the outputs over the sample; of new networks from 0.03
ONE_CLASS = 0.99  # share of the predictions that are one class
SURE = 0.8  # probability of another class than the label
NEIGHBOURS = 10
CONTRADICT = 0.2  # share of the nearest neighbours that have the label, at most
SUSPECTS = 0.03  # share of the labels; on held-out data of healthy networks up to 0.025
OUTLIER = 8.0  # robust standard deviations of a residual

# --- training
LITTLE = 0.01  # share of the loss that a few steps remove where nothing is learnt
MORE = 0.1  # and where something is; healthy rates remove 0.26 to 0.99, running-parity's 0.03
SWING = 0.1  # of the first loss, by which a loss rises from one epoch to the next
SWINGS = 0.2  # share of the epochs; healthy 0
OVERFIT = 1.25  # validation loss of the weights that were kept, relative to its minimum
# Share of the first loss by which the last fifth of the epochs is below the fifth before; of whole
# trainings up to 0.04, of three epochs cut short by a time limit up to 0.18.
FALLING = 0.1
