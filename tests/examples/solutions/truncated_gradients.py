"""A solution of exercise 3."""

import numpy as np


def truncated_gradients(params, x, target, k):
    """Return the gradient of every parameter, back to the beginning of each chunk."""
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    state = np.zeros(len(params["b_h"]))
    for begin in range(0, len(x), k):
        h = [state]  # a constant for this chunk
        for x_t in x[begin : begin + k]:
            h.append(np.tanh(params["W"] @ x_t + params["U"] @ h[-1] + params["b_h"]))
        da = np.zeros_like(state)
        for j in range(len(h) - 1, 0, -1):
            dy = params["V"] @ h[j] + params["b_y"] - target[begin + j - 1]
            da = (params["V"].T @ dy + params["U"].T @ da) * (1 - h[j] ** 2)
            grads["V"] += np.outer(dy, h[j])
            grads["b_y"] += dy
            grads["W"] += np.outer(da, x[begin + j - 1])
            grads["U"] += np.outer(da, h[j - 1])
            grads["b_h"] += da
        state = h[-1]
    return grads
