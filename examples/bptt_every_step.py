"""Backpropagation through time with an output at every step, in NumPy, every gradient written out.

At each step of a sequence of bits the network predicts whether the number of ones so far is odd
("running parity"), which depends on all earlier steps through the state h_{t-1}:

    h_t = tanh(W x_t + U h_{t-1} + b_h)             h_0 = 0
    y_t = sigmoid(V h_t + b_y)                      the probability that the parity is odd
    L_t = -log y_t where it is odd, else -log(1 - y_t)
    L   = sum of all L_t up to each sequence's own end

A state h_t affects L along two paths: through its own output y_t, and through the next state
h_{t+1}. With a_t for the argument of the tanh, the two paths add up, from the last step back to
the first:

    dL/da_t = dL/dh_t (1 - h_t^2)
    dL/dh_t = V^T (y_t - target_t) + U^T dL/da_{t+1}

Sizes in the comments: B sequences, T steps of the longest, I inputs, H hidden units.
"""

import argparse

import numpy as np


def make_parity(rng, count, shortest, longest):
    """Return bits, (B, T, 1), parities, (B, T), and lengths, (B,); the padding is NaN."""
    lengths = rng.integers(shortest, longest + 1, size=count)
    bits = rng.integers(2, size=(count, lengths.max())).astype(float)
    bits[np.arange(bits.shape[1]) >= lengths[:, None]] = np.nan
    return bits[:, :, None], np.cumsum(bits, axis=1) % 2, lengths


def initialise(rng, input_size, hidden_size):
    """Return random parameters, small enough for tanh to start where it is steep."""
    return {
        "U": rng.normal(0, 1 / np.sqrt(hidden_size), (hidden_size, hidden_size)),
        "V": rng.normal(0, 1 / np.sqrt(hidden_size), (1, hidden_size)),
        "W": rng.normal(0, 1 / np.sqrt(input_size), (hidden_size, input_size)),
        "b_h": np.zeros(hidden_size),
        "b_y": np.zeros(1),
    }


def forward(params, x, target, lengths):
    """Return states h_0 ... h_T, (B, T+1, H), outputs y_t, (B, T), and losses L_t, (B, T)."""
    U, V, W, b_h, b_y = (params[name] for name in ("U", "V", "W", "b_h", "b_y"))
    batch, steps, _ = x.shape
    mask = np.arange(steps) < lengths[:, None]  # (B, T), False in the padding
    x = np.where(mask[:, :, None], x, 0)  # the padding may hold anything, and 0 * NaN is NaN
    h = np.zeros((batch, steps + 1, len(b_h)))
    for t in range(1, steps + 1):
        h[:, t] = np.tanh(x[:, t - 1] @ W.T + h[:, t - 1] @ U.T + b_h)  # x_t lies at t - 1
    z = (h[:, 1:] @ V.T + b_y)[:, :, 0]  # (B, T)
    y = np.exp(-np.logaddexp(0, -z))  # the sigmoid of z, for z of any size
    losses = np.logaddexp(0, np.where(target == 1, -z, z))  # -log y or -log(1 - y)
    return h, y, np.where(mask, losses, 0)


def backward(params, x, target, lengths):
    """Return L, its gradient for every parameter, and dL/dh_t, (B, T, H)."""
    h, y, losses = forward(params, x, target, lengths)
    mask = np.arange(x.shape[1]) < lengths[:, None]
    x = np.where(mask[:, :, None], x, 0)
    dz = np.where(mask, y - target, 0)[:, :, None]  # (B, T, 1), through -log and sigmoid
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    dh = np.zeros_like(h[:, 1:])
    da = np.zeros_like(h[:, 0])  # (B, H), for step t + 1: nothing comes after the last step
    for t in range(x.shape[1], 0, -1):
        dh[:, t - 1] = dz[:, t - 1] @ params["V"] + da @ params["U"]
        da = dh[:, t - 1] * (1 - h[:, t] ** 2)
        grads["U"] += da.T @ h[:, t - 1]
        grads["V"] += dz[:, t - 1].T @ h[:, t]
        grads["W"] += da.T @ x[:, t - 1]
        grads["b_h"] += da.sum(axis=0)
        grads["b_y"] += dz[:, t - 1].sum(axis=0)
    return losses.sum(), grads, dh


def finite_differences(params, batch, name, width=1e-5):
    """Return dL/d params[name] from L a little above and below: slow, but without any calculus."""
    gradient = np.zeros_like(params[name])
    for i, value in np.ndenumerate(params[name].copy()):
        params[name][i] = value + width
        above = forward(params, *batch)[2].sum()
        params[name][i] = value - width
        below = forward(params, *batch)[2].sum()
        params[name][i] = value
        gradient[i] = (above - below) / (2 * width)
    return gradient


def train(rng, params, updates, shortest=2, longest=10, rate=0.01):
    """Update `params` in place with Adam, each time on a fresh batch of 32 short sequences."""
    moments = {name: np.zeros((2, *value.shape)) for name, value in params.items()}
    for step in range(1, updates + 1):
        batch = make_parity(rng, 32, shortest, longest)
        loss, grads, _ = backward(params, *batch)
        for name, g in grads.items():
            m, v = moments[name]  # running means of g and of g^2
            m += 0.1 * (g - m)
            v += 0.001 * (g**2 - v)
            params[name] -= rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)
        if step % 100 == 0:
            print(f"update {step:4d}   loss per step {loss / batch[2].sum():.4f}")


def step_accuracy(params, x, target, lengths):
    """Return the share of steps, padding left out, at which the likelier answer is right."""
    mask = np.arange(x.shape[1]) < lengths[:, None]
    return ((forward(params, x, target, lengths)[1] > 0.5) == target)[mask].mean()


def show(params, batch):
    """Print every step of the first sequence of `batch`."""
    (x, target, lengths), (_, y, losses) = batch, forward(params, *batch)
    sizes = np.linalg.norm(backward(params, *batch)[2], axis=2)  # (B, T), of dL/dh_t
    print("  t  x_t  odd    y_t     L_t   |dL/dh_t|")
    for t in range(lengths[0]):
        print(f"{t + 1:3d}{x[0, t, 0]:5.0f}{target[0, t]:5.0f}", end="")
        print(f"{y[0, t]:7.3f}{losses[0, t]:8.3f}{sizes[0, t]:12.3f}")


def main():
    """Look at one sequence, check the gradients, train, and look again."""
    parser = argparse.ArgumentParser(description="Backpropagation through time at every step.")
    for flag, default in (("--updates", 800), ("--hidden-size", 32), ("--seed", 2)):
        parser.add_argument(flag, type=int, default=default)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    params, batch = initialise(rng, 1, args.hidden_size), make_parity(rng, 4, 5, 10)
    show(params, batch)
    for name, g in backward(params, *batch)[1].items():
        error = abs(g - finite_differences(params, batch, name)).max() / abs(g).max()
        print(f"|dL/d{name}| = {np.linalg.norm(g):.4f}".ljust(20), end="")
        print(f"largest relative difference from finite differences {error:.1e}")
    train(rng, params, args.updates)
    show(params, batch)
    accuracy = step_accuracy(params, *make_parity(rng, 500, 5, 20))
    print(f"step accuracy {accuracy:.4f} on 500 new sequences of 5 to 20 steps")


if __name__ == "__main__":
    main()
