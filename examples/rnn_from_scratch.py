"""A recurrent neural network from scratch, in NumPy, with every gradient written out.

The network reads a sequence x_1 ... x_T one step at a time. All that it remembers is the hidden
state h_t, which each step computes from the input and the previous state. The output y reads the
last state: one number for every class, which softmax turns into probabilities.

    h_t = tanh(W x_t + U h_{t-1} + b_h)     h_0 = 0
    y   = V h_T + b_y
    L   = -log softmax(y)[true class]       averaged over the batch

W, U and b_h are the same at every step, so their gradients are sums over the steps. In the comments
B is the number of sequences in a batch, T of steps, I of inputs, H of hidden units, K of classes.

The task is to recognise the shape of a noisy wave: rising sawtooth, triangle or falling sawtooth.
At any single step every height is equally likely under each shape, so the task needs memory.

    python rnn_from_scratch.py --classes 3 --epochs 20 --hidden-size 32 --seed 0
"""

import argparse

import numpy as np


def make_waves(rng, count, classes, steps=30):
    """Return `count` waves, (B, T, 1), and the class of each, (B,): its place in the `np.stack`."""
    y = rng.integers(classes, size=count)
    period, phase = rng.uniform(8, 16, (count, 1)), rng.random((count, 1))
    rising = 2 * ((np.arange(steps) / period + phase) % 1) - 1  # (B, T), from -1 up to 1, again
    waves = np.stack([rising, 2 * abs(rising) - 1, -rising])[y, np.arange(count)]
    return (waves + rng.normal(0, 0.2, waves.shape))[:, :, None], y


def initialise(rng, input_size, hidden_size, output_size):
    """Return random parameters, small enough for tanh to start where it is steep."""
    return {
        "W": rng.normal(0, 1 / np.sqrt(input_size), (hidden_size, input_size)),
        "U": rng.normal(0, 1 / np.sqrt(hidden_size), (hidden_size, hidden_size)),
        "b_h": np.zeros(hidden_size),
        "V": rng.normal(0, 1 / np.sqrt(hidden_size), (output_size, hidden_size)),
        "b_y": np.zeros(output_size),
    }


def forward(params, x):
    """Read x, (B, T, I). Return all states h_0 ... h_T, (B, T+1, H), and the outputs y, (B, K)."""
    W, U, b_h, V, b_y = (params[name] for name in ("W", "U", "b_h", "V", "b_y"))
    h = np.zeros((len(x), x.shape[1] + 1, len(b_h)))
    for t in range(1, x.shape[1] + 1):
        h[:, t] = np.tanh(x[:, t - 1] @ W.T + h[:, t - 1] @ U.T + b_h)  # x_t lies at t - 1
    return h, h[:, -1] @ V.T + b_y


def cross_entropy(logits, y):
    """Return the mean loss and its gradient with respect to the logits, (B, K)."""
    true = np.eye(logits.shape[1])[y]  # (B, K), 1 for the true class and 0 for the others
    shifted = logits - logits.max(axis=1, keepdims=True)  # softmax stays the same, exp stays finite
    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return -(true * log_p).sum() / len(y), (np.exp(log_p) - true) / len(y)


def loss_and_gradients(params, x, y):
    """Backpropagation through time: the loss, and its gradient for every parameter."""
    h, logits = forward(params, x)
    loss, dy = cross_entropy(logits, y)  # dy means dL/dy, and so on below
    grads = {name: np.zeros_like(value) for name, value in params.items()}
    grads["V"] = dy.T @ h[:, -1]
    grads["b_y"] = dy.sum(axis=0)
    dh = dy @ params["V"]  # (B, H), for h_T
    for t in range(x.shape[1], 0, -1):
        da = dh * (1 - h[:, t] ** 2)  # (B, H), through tanh: its slope at a is 1 - tanh(a)^2
        grads["W"] += da.T @ x[:, t - 1]
        grads["U"] += da.T @ h[:, t - 1]
        grads["b_h"] += da.sum(axis=0)
        dh = da @ params["U"]  # (B, H), for h_{t-1}: one step back in time
    return loss, grads


def clip(grads, limit=1.0):
    """Shorten the gradient, all of it seen as one vector, to `limit`: long products can explode."""
    norm = np.sqrt(sum((g**2).sum() for g in grads.values()))
    return {name: g * limit / max(norm, limit) for name, g in grads.items()}


def adam(params, grads, moments, step, rate=0.002):
    """Update `params` in place, each by its mean gradient over its root mean square gradient."""
    for name, g in grads.items():
        m, v = moments[name]  # running means of g and of g^2; both start at 0, hence the 1 - ...
        m += 0.1 * (g - m)
        v += 0.001 * (g**2 - v)
        params[name] -= rate * (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.999**step)) + 1e-8)


def train(rng, params, x, y, epochs, batch_size=32):
    """Train `params` in place. Return loss and accuracy after each epoch, (epochs, 2)."""
    moments = {name: np.zeros((2, *value.shape)) for name, value in params.items()}
    history, step = [], 0
    for epoch in range(1, epochs + 1):
        for batch in np.array_split(rng.permutation(len(y)), len(y) // batch_size + 1):
            _, grads = loss_and_gradients(params, x[batch], y[batch])
            step += 1
            adam(params, clip(grads), moments, step)
        logits = forward(params, x)[1]
        history.append((cross_entropy(logits, y)[0], (logits.argmax(axis=1) == y).mean()))
        print("epoch {:2d}   loss {:.3f}   training accuracy {:.3f}".format(epoch, *history[-1]))
    return np.array(history).reshape(epochs, 2)


def scores(y, predicted, classes):
    """Return accuracy, and recall and F1 as means over the classes, from the confusion matrix."""
    confusion = np.zeros((classes, classes), dtype=int)
    np.add.at(confusion, (y, predicted), 1)  # row: the true class; column: the predicted one
    hits, true, claimed = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    recall, f1 = hits / np.maximum(true, 1), 2 * hits / np.maximum(true + claimed, 1)
    return {"accuracy": hits.sum() / len(y), "recall": recall.mean(), "F1": f1.mean()}


def plot(history, path):
    """Draw loss and accuracy over the epochs."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3), layout="constrained")
    for i, title in enumerate(("loss", "accuracy")):
        axes = figure.add_subplot(1, 2, i + 1)
        axes.plot(range(1, len(history) + 1), history[:, i], marker=".")
        axes.set(title=f"training {title}", xlabel="epoch", ylim=(0, None if i == 0 else 1.02))
    figure.savefig(path, dpi=150)


def main():
    """Train on 1,000 waves, test on 500 others, draw the curves."""
    parser = argparse.ArgumentParser(description="A recurrent neural network from scratch.")
    parser.add_argument("--classes", type=int, choices=(2, 3), default=3)
    for flag, default in (("--epochs", 20), ("--hidden-size", 32), ("--seed", 0)):
        parser.add_argument(flag, type=int, default=default)
    parser.add_argument("--plot", default="rnn_from_scratch.png", help="picture to write")
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    x, y = make_waves(rng, 1000, args.classes)
    x_test, y_test = make_waves(rng, 500, args.classes)
    params = initialise(rng, x.shape[2], args.hidden_size, args.classes)
    history = train(rng, params, x, y, args.epochs)
    test = scores(y_test, forward(params, x_test)[1].argmax(axis=1), args.classes)
    print("test   " + "   ".join(f"{name} {value:.3f}" for name, value in test.items()))
    plot(history, args.plot)


if __name__ == "__main__":
    main()
