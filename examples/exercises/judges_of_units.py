"""What is right and what is wrong with an answer to exercise 4 or 5. Do the exercises first."""

import itertools

import numpy as np
from judges import WrongAnswerError, as_array, call

SHAPES = {"W": (2, 1), "U": (2, 2), "b_h": (2,), "V": (1, 2), "b_y": (1,)}
LONG = 1000  # steps of the long strings


def read_bits(params, bits):
    """Return the output after each bit, (T,), and the states, (T, 2)."""
    h, outputs, states = np.zeros(2), [], []
    for bit in bits:
        h = np.tanh(params["W"][:, 0] * bit + params["U"] @ h + params["b_h"])
        outputs.append((params["V"] @ h + params["b_y"])[0])
        states.append(h)
    return np.array(outputs), np.array(states)


def check_parity(function):
    """Exercise 4: all strings of at most 8 bits, and 20 of 1,000 bits."""
    answer = call(function)
    if not isinstance(answer, dict) or set(SHAPES) - set(answer):
        raise WrongAnswerError(
            "The answer has to be a dictionary with the keys " + ", ".join(SHAPES) + "."
        )
    params = {name: as_array(name, answer[name], shape) for name, shape in SHAPES.items()}
    rng = np.random.default_rng(3)
    short = [bits for T in range(1, 9) for bits in itertools.product((0, 1), repeat=T)]
    for bits in short + [tuple(rng.integers(2, size=LONG)) for _ in range(20)]:
        outputs, states = read_bits(params, bits)
        odd = np.cumsum(bits) % 2
        if (wrong := np.flatnonzero((outputs > 0) != odd)).size:
            raise WrongAnswerError(_first_error(params, bits, int(wrong[0]), outputs, states))


def _first_error(params, bits, step, outputs, states):
    """What a reader should know about the first wrong step of a string of bits."""
    words = ("even", "odd")
    shown = " ".join(str(bit) for bit in bits[: step + 1][-8:])
    after = f"After the bits {'... ' if step > 7 else ''}{shown}"
    ones = int(np.sum(bits[: step + 1]))
    text = (
        f"{after} (step {step + 1}) the output is {outputs[step]:.3g}, which says "
        f"{words[int(outputs[step] > 0)]}; the number of ones so far is {ones}, {words[ones % 2]}. "
        f"The state is {np.round(states[step], 3)}."
    )
    if not params["U"].any():
        return text + " U is 0, so no step knows anything of earlier ones."
    if step >= 8:
        return text + (
            " All strings of up to 8 bits are right, so the idea is right, but errors add up from "
            "step to step. With larger weights the tanh is flatter, and corrects them."
        )
    flipped = [(read_bits(params, b)[0] > 0) != np.cumsum(b) % 2 for b in ((0,), (1,), (1, 1))]
    if all(f.all() for f in flipped):
        return text + " Odd and even are swapped: change the signs of V and b_y."
    if step == 0:
        return text + " At the first step h_0 is 0, which is neither -1 nor 1."
    return text


def make_cells(rng, slope, unit, units=5):
    """Cells of a made-up network, and the missing b's: one unit counts, others nearly do."""
    cells, missing = [], []
    for n in rng.permutation(np.arange(3, 12)):
        m = np.concatenate([np.arange(n + 1), np.arange(n - 1, -1, -1)]).astype(float)
        c = rng.normal(size=(len(m), units))
        c[:, (unit + 1) % units] = 40 * np.sin(m / 3) + 30  # large, and not a counter
        c[:, (unit + 2) % units] = 0.5  # constant
        # Counts within each string, but starts anywhere: it says nothing across strings.
        c[:, (unit + 3) % units] = m + rng.uniform(-20, 20)
        c[:, unit] = 0.9 + slope * m + rng.normal(0, 0.01, len(m))
        cells.append(c)
        missing.append(m)
    return cells, missing


def check_counter(function):
    """Exercise 5."""
    rng = np.random.default_rng(4)
    for slope, unit in ((1.0, 2), (-1.0, 0), (-0.31, 4), (2.7, 1)):
        cells, missing = make_cells(rng, slope, unit)
        with np.errstate(invalid="ignore", divide="ignore"):
            answer = call(function, cells, missing)
        if not isinstance(answer, tuple | list) or len(answer) != 2:
            raise WrongAnswerError("The answer has to be a pair, (unit, slope).")
        found, measured = answer
        if not isinstance(found, int | np.integer):
            raise WrongAnswerError(f"The unit has to be a whole number; it is {found!r}.")
        measured = float(as_array("The slope", measured, ()))
        if found != unit:
            raise WrongAnswerError(_why_not(int(found), unit, slope, cells, missing))
        if not np.isclose(measured, slope, rtol=0.05):
            raise WrongAnswerError(_which_slope(measured, slope, unit + 1))


def _why_not(found, unit, slope, cells, missing):
    """Why a unit is not the counter."""
    c, m, units = np.concatenate(cells), np.concatenate(missing), cells[0].shape[1]
    upwards = np.nanargmax([np.cov(m, column)[0, 1] / (column.std() or np.nan) for column in c.T])
    text = f"Unit {unit} counts, with {slope:g} per missing b; the answer is {found}."
    if not 0 <= found < units:
        return text + f" The units are 0 to {units - 1}."
    reasons = {
        1: "That unit has the largest values, but does not go up and down in equal steps.",
        2: "That unit is constant: its correlation is 0/0, which NumPy calls NaN.",
        3: "That unit counts within a string, but starts at another value each time. Put all "
        "strings together (np.concatenate) before you compare.",
    }
    if slope < 0 and found == upwards:
        return text + " A counter may count down: then its correlation is near -1, not 1."
    return f"{text} {reasons.get((found - unit) % units, '')}".strip()


def _which_slope(measured, slope, shown):
    text = f"The unit is right, but its slope is {slope:g}, not {measured:.3g}"
    if np.isclose(measured, -slope, rtol=0.05):
        return text + ": the sign is lost."
    if np.isclose(measured, 1 / slope, rtol=0.05):
        return text + ": that is the number of missing b's per change of the cell."
    if np.isclose(abs(measured), 1, rtol=0.01):
        return text + ": that is the correlation."
    return text + "."
