"""What is right and what is wrong with an answer to an exercise.

For each exercise there is one computation with a switch: without it, it is the solution; with it,
it makes one mistake that is often made. An answer that equals one of those is told which. Do the
exercises before you read this file.
"""

import copy

import numpy as np

PARAMETERS = ("W", "U", "b_h", "V", "b_y")


class WrongAnswerError(Exception):
    """Says in words what is wrong with an answer."""


def call(function, *arguments):
    """Call the reader's function. Raises WrongAnswerError if it changes what it was given."""
    given = copy.deepcopy(arguments)
    answer = function(*given)
    for k, (before, after) in enumerate(zip(arguments, given, strict=True)):
        if not same(before, after):
            raise WrongAnswerError(
                f"{function.__name__} changes its argument number {k + 1} in place. Make a copy, "
                "for example h = h + ... in place of h += ..."
            )
    if answer is None:
        raise WrongAnswerError(f"{function.__name__} returns None. Is there a return at its end?")
    return answer


def same(a, b):
    """Whether two arrays, or lists or dictionaries of arrays, are equal up to rounding."""
    if isinstance(b, dict):
        return isinstance(a, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in b)
    if isinstance(b, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    a, b = np.asarray(a), np.asarray(b)
    return a.shape == b.shape and bool(np.allclose(a, b, rtol=1e-6, atol=1e-9))


def as_array(name, value, shape):
    """The value as an array. Raises WrongAnswerError for another shape, NaN or inf."""
    try:
        array = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise WrongAnswerError(
            f"{name} is not an array of numbers but {type(value).__name__}."
        ) from error
    if array.shape != shape:
        raise WrongAnswerError(f"{name} has the shape {array.shape}; expected {shape}.")
    if not np.isfinite(array).all():
        raise WrongAnswerError(f"{name} contains a number that is not finite (NaN or infinity).")
    return array


def as_gradients(answer, params):
    """A dictionary of gradients, each of the shape of its parameter."""
    if not isinstance(answer, dict):
        raise WrongAnswerError(
            f"The answer is of type {type(answer).__name__}; expected a dictionary with the keys "
            + ", ".join(PARAMETERS)
            + "."
        )
    if lacking := [name for name in PARAMETERS if name not in answer]:
        raise WrongAnswerError(f"The answer lacks {', '.join(lacking)}.")
    return {n: as_array(f"dL/d{n}", answer[n], params[n].shape) for n in PARAMETERS}


def judge(answer, solution, mistakes, case):
    """Raise WrongAnswerError, naming the mistake if it is one of the usual ones.

    Args:
        answer, solution: an array, or a dictionary of arrays of the same shapes.
        mistakes: for each usual mistake, in words, what it leads to.
        case: the sizes of the example, in words.
    """
    if same(answer, solution):
        return
    for words, wrong in mistakes.items():
        if same(answer, wrong):
            raise WrongAnswerError(f"{words} (found with {case}.)")
    if isinstance(solution, dict):
        right = [name for name in solution if same(answer[name], solution[name])]
        name = next(name for name in solution if name not in right)
        where, a, b = f"dL/d{name}", answer[name], solution[name]
        also = f" Right are: {', '.join(right)}." if right else ""
    else:
        rows = np.flatnonzero(~np.isclose(answer, solution, rtol=1e-6, atol=1e-9).all(axis=1))
        where, a, b = f"h_{rows[0] + 1}", answer[rows[0]], solution[rows[0]]
        also = " The states before it are right." if rows[0] else ""
    raise WrongAnswerError(
        f"{where} is\n{np.array2string(np.asarray(a), precision=4)}\nbut should be\n"
        f"{np.array2string(np.asarray(b), precision=4)}\n(with {case}).{also}"
    )


def sigmoid(a):
    """The sigmoid of an array."""
    return 1 / (1 + np.exp(-a))


GRU_MISTAKES = {
    "swapped": "z_t and 1 - z_t are swapped: z_t = 1 has to keep the old state.",
    "before": "r_t multiplies h_{t-1} before U_n. Here it multiplies U_n h_{t-1} + c_n.",
    "outside": "c_n is added outside of the product with r_t; it belongs inside.",
    "gates": "r_t and z_t are taken for each other.",
    "no c": "The biases c are not added.",
    "no b": "The biases b are not added.",
    "no r": "r_t is not used.",
    "tanh": "The gates r_t and z_t are computed with tanh; they need the sigmoid.",
    "fresh": "Each step starts from h_{t-1} = 0: the state is not carried from step to step.",
}


def gru(W, U, b, c, x, mistake=""):
    """The states of a GRU, (T, H), with one of the mistakes of GRU_MISTAKES, or none."""
    h, states = np.zeros(len(b["r"])), []
    b = {k: 0 * v for k, v in b.items()} if mistake == "no b" else b
    c = {k: 0 * v for k, v in c.items()} if mistake == "no c" else c
    gate = np.tanh if mistake == "tanh" else sigmoid
    for x_t in x:
        h = 0 * h if mistake == "fresh" else h
        a = {k: W[k] @ x_t + b[k] for k in "rzn"}
        u = {k: U[k] @ h + c[k] for k in "rzn"}
        r, z = gate(a["r"] + u["r"]), gate(a["z"] + u["z"])
        r, z = (z, r) if mistake == "gates" else (r, z)
        r = np.ones_like(r) if mistake == "no r" else r
        z = 1 - z if mistake == "swapped" else z
        inner = r * u["n"]
        if mistake == "before":
            inner = U["n"] @ (r * h) + c["n"]
        elif mistake == "outside":
            inner = r * (U["n"] @ h) + c["n"]
        h = (1 - z) * np.tanh(a["n"] + inner) + z * h
        states.append(h)
    return np.array(states)


def check_gru(function):
    """Exercise 1."""
    rng = np.random.default_rng(0)
    for T, C, H in ((6, 2, 3), (1, 2, 3), (4, 1, 1), (5, 3, 3)):
        shapes = ((H, C), (H, H), (H,), (H,))
        weights = [{k: rng.normal(size=shape) for k in "rzn"} for shape in shapes]
        arguments = (*weights, rng.normal(size=(T, C)))
        answer = call(function, *arguments)
        case, shape = f"T = {T} steps, C = {C}, H = {H}", np.shape(answer)
        if shape == (T + 1, H):
            raise WrongAnswerError("There is one state too many: leave out h_0.")
        if T > 1 and shape == (H,):
            raise WrongAnswerError("Only one state is returned; all T of them are asked for.")
        answer = as_array("The answer", answer, (T, H))
        wrong = {words: gru(*arguments, mistake) for mistake, words in GRU_MISTAKES.items()}
        judge(answer, gru(*arguments), wrong, case)


MEAN_MISTAKES = {
    "last": "The loss reaches h_T only, as if the output read the last state. It reads all states.",
    "only T": "Of the states, h_T alone gets its part of the mean; each of them has to get it.",
    "no 1/T": "The factor 1/T of the mean is missing.",
    "no slope": "The slope of the tanh, 1 - h_t^2, is missing.",
    "no past": "Nothing goes from h_t back to h_{t-1}: the gradient through U is missing.",
    "no U^T": "One step back multiplies by U^T; here it is U.",
    "one step": "A gradient is that of one step only: add the contributions of all steps (+=).",
    "V of h_T": "dL/dV is that of the last state. The output reads the mean of the states.",
    "shifted": "dL/dU multiplies by h_t; it has to be h_{t-1}, the state that U reads.",
}


def mean_backward(params, x, h, dy, mistake=""):
    """The gradients of the readout by the mean, with one of the mistakes, or none."""
    T, grads = len(x), {name: np.zeros_like(value) for name, value in params.items()}
    grads["V"] = np.outer(dy, h[-1] if mistake == "V of h_T" else h[1:].mean(0))
    grads["b_y"] = dy.copy()
    direct = params["V"].T @ dy / (1 if mistake in ("no 1/T", "last") else T)
    back = np.zeros_like(direct)
    for t in range(T, 0, -1):
        dh = back + (0 if mistake in ("last", "only T") and t < T else direct)
        da = dh if mistake == "no slope" else dh * (1 - h[t] ** 2)
        step = {
            "W": np.outer(da, x[t - 1]),
            "U": np.outer(da, h[t] if mistake == "shifted" else h[t - 1]),
            "b_h": da,
        }
        for name, value in step.items():
            grads[name] = value if mistake == "one step" else grads[name] + value
        if mistake != "no past":
            back = (params["U"] if mistake == "no U^T" else params["U"].T) @ da
    if mistake == "last":
        grads["V"] = np.outer(dy, h[-1])
    return grads


def draw(rng, T, C, H, K):
    """Random parameters, a sequence, and its states h_0 ... h_T."""
    shapes = {"W": (H, C), "U": (H, H), "b_h": (H,), "V": (K, H), "b_y": (K,)}
    params = {name: 0.7 * rng.normal(size=shape) for name, shape in shapes.items()}
    x, h = rng.normal(size=(T, C)), np.zeros((T + 1, H))
    for t in range(1, T + 1):
        h[t] = np.tanh(params["W"] @ x[t - 1] + params["U"] @ h[t - 1] + params["b_h"])
    return params, x, h


def check_mean(function):
    """Exercise 2."""
    rng = np.random.default_rng(1)
    for T, C, H, K in ((6, 2, 3, 2), (1, 1, 2, 1), (9, 3, 4, 4)):
        params, x, h = draw(rng, T, C, H, K)
        dy = rng.normal(size=K)
        answer = as_gradients(call(function, params, x, h, dy), params)
        wrong = {w: mean_backward(params, x, h, dy, m) for m, w in MEAN_MISTAKES.items()}
        case = f"T = {T} steps, C = {C}, H = {H}, K = {K}"
        judge(answer, mean_backward(params, x, h, dy), wrong, case)


CHUNK_MISTAKES = {
    "full": "The gradient goes back through all steps. It has to end where a chunk begins.",
    "reset": "Each chunk starts from the state 0. It has to start where the one before ended.",
    "last": "Only one chunk counts: add the gradients of all chunks.",
    "window": "The gradient of each step goes back k steps, over the beginning of its chunk.",
    "drop": "The last chunk is left out where it is shorter than k.",
    "half": "The gradient is twice as large as it should be: L has a factor 1/2.",
    "no slope": "The slope of the tanh, 1 - h_t^2, is missing.",
}


def truncated(params, x, target, k, mistake=""):
    """Gradients by truncated backpropagation, with one of the mistakes, or none."""
    T, H = len(x), len(params["b_h"])
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    h = np.zeros((T + 1, H))
    start = np.zeros((T + 1, H))  # what the recurrence reads at step t
    for t in range(1, T + 1):
        start[t] = 0 if mistake == "reset" and (t - 1) % k == 0 else h[t - 1]
        h[t] = np.tanh(params["W"] @ x[t - 1] + params["U"] @ start[t] + params["b_h"])
    chunks = [(a, min(a + k, T)) for a in range(0, T, k)]
    if mistake == "last":
        chunks = chunks[-1:]
    if mistake == "drop":
        chunks = [c for c in chunks if c[1] - c[0] == k]
    for a, b in chunks:
        for loss_step in range(a + 1, b + 1):
            error = params["V"] @ h[loss_step] + params["b_y"] - target[loss_step - 1]
            error = 2 * error if mistake == "half" else error
            grads["V"] += np.outer(error, h[loss_step])
            grads["b_y"] += error
            dh = params["V"].T @ error
            first = {"full": 0, "window": max(loss_step - k, 0)}.get(mistake, a)
            for t in range(loss_step, first, -1):
                da = dh if mistake == "no slope" else dh * (1 - h[t] ** 2)
                grads["W"] += np.outer(da, x[t - 1])
                grads["U"] += np.outer(da, start[t])
                grads["b_h"] += da
                dh = params["U"].T @ da
    return grads


def check_truncated(function):
    """Exercise 3."""
    rng = np.random.default_rng(2)
    for T, k in ((8, 4), (7, 3), (5, 1), (4, 9)):
        params, x, _ = draw(rng, T, 2, 3, 1)
        target = rng.normal(size=T)
        answer = as_gradients(call(function, params, x, target, k), params)
        wrong = {w: truncated(params, x, target, k, m) for m, w in CHUNK_MISTAKES.items()}
        judge(answer, truncated(params, x, target, k), wrong, f"T = {T} steps, k = {k}")
