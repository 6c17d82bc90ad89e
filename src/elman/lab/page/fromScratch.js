// Made by scripts/lab_code.py from examples/rnn_from_scratch.py; do not edit.

/** Functions with the number of their first line, and the line of an equation by its `line`. */
export const fromScratch = {
  file: "examples/rnn_from_scratch.py",
  functions: [
    { name: "forward", first: 45, text: [
      'def forward(params, x):',
      '    """Read x, (B, T, I). Return all states h_0 ... h_T, (B, T+1, H), and the outputs y, (B, K)."""',
      '    W, U, b_h, V, b_y = (params[name] for name in ("W", "U", "b_h", "V", "b_y"))',
      '    h = np.zeros((len(x), x.shape[1] + 1, len(b_h)))',
      '    for t in range(1, x.shape[1] + 1):',
      '        h[:, t] = np.tanh(x[:, t - 1] @ W.T + h[:, t - 1] @ U.T + b_h)  # x_t lies at t - 1',
      '    return h, h[:, -1] @ V.T + b_y',
    ].join("\n") },
    { name: "cross_entropy", first: 54, text: [
      'def cross_entropy(logits, y):',
      '    """Return the mean loss and its gradient with respect to the logits, (B, K)."""',
      '    true = np.eye(logits.shape[1])[y]  # (B, K), 1 for the true class and 0 for the others',
      '    shifted = logits - logits.max(axis=1, keepdims=True)  # softmax stays the same, exp stays finite',
      '    log_p = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))',
      '    return -(true * log_p).sum() / len(y), (np.exp(log_p) - true) / len(y)',
    ].join("\n") },
    { name: "loss_and_gradients", first: 62, text: [
      'def loss_and_gradients(params, x, y):',
      '    """Backpropagation through time: the loss, and its gradient for every parameter."""',
      '    h, logits = forward(params, x)',
      '    loss, dy = cross_entropy(logits, y)  # dy means dL/dy, and so on below',
      '    grads = {name: np.zeros_like(value) for name, value in params.items()}',
      '    grads["V"] = dy.T @ h[:, -1]',
      '    grads["b_y"] = dy.sum(axis=0)',
      '    dh = dy @ params["V"]  # (B, H), for h_T',
      '    for t in range(x.shape[1], 0, -1):',
      '        da = dh * (1 - h[:, t] ** 2)  # (B, H), through tanh: its slope at a is 1 - tanh(a)^2',
      '        grads["W"] += da.T @ x[:, t - 1]',
      '        grads["U"] += da.T @ h[:, t - 1]',
      '        grads["b_h"] += da.sum(axis=0)',
      '        dh = da @ params["U"]  # (B, H), for h_{t-1}: one step back in time',
      '    return loss, grads',
    ].join("\n") },
  ],
  lines: {
    step: 50,
    output: 51,
    probability: 58,
    dy: 59,
    above: 69,
    da: 71,
    dW: 72,
    dU: 73,
    db: 74,
    back: 75,
  },
};
