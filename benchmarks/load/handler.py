"""The server that elman is measured beside: a plain handler of FastAPI around torch.nn.

    python benchmarks/load/handler.py RUN PORT

The same network with the same weights, as one would write it by hand: rows checked by pydantic,
scaled, run through torch.nn alone, softmax. It is given what makes it fast: uvloop, httptools, one
thread of torch, no access log, and an async handler, which needs no change of threads.
"""

from __future__ import annotations

import sys

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from torch import nn

import elman


class Sequence(BaseModel):
    """The body of a request."""

    rows: list[list[float]]


class Network(nn.Module):
    """A recurrent layer of torch.nn with its last states, and the output, of a trained model."""

    def __init__(self, trained: nn.Module) -> None:
        super().__init__()
        config = trained.config
        assert config.readout == "last" and config.cell in ("gru", "lstm")
        kind = {"gru": nn.GRU, "lstm": nn.LSTM}[config.cell]
        self.recurrent = kind(
            config.input_size,
            config.hidden_size,
            config.num_layers,
            batch_first=True,
            bidirectional=config.bidirectional,
        )
        self.output = nn.Linear(config.width, config.num_outputs)
        self.load_state_dict(trained.state_dict())
        self.directions = 2 if config.bidirectional else 1

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (B, K) of x (B, T, C)."""
        _, final = self.recurrent(x)
        h_n = final[0] if isinstance(final, tuple) else final
        return self.output(torch.cat(list(h_n[-self.directions :]), -1))


def make_app(run: str) -> FastAPI:
    """Return the application that serves the model of a run."""
    trained = elman.load(run)
    network = Network(trained.model_).eval()
    encoder = trained.encoder_
    mean = torch.from_numpy(encoder.mean).float()
    scale = torch.from_numpy(encoder.scale).float()
    classes = [str(name) for name in trained.classes_.tolist()]
    app = FastAPI()

    @app.post("/predict")
    async def predict(sequence: Sequence) -> dict[str, object]:
        x = (torch.tensor(sequence.rows) - mean) / scale
        with torch.no_grad():
            probabilities = network(x[None])[0].softmax(-1).tolist()
        best = max(range(len(classes)), key=probabilities.__getitem__)
        return {
            "predicted": classes[best],
            "probability": probabilities[best],
            "probabilities": dict(zip(classes, probabilities, strict=True)),
        }

    return app


if __name__ == "__main__":
    torch.set_num_threads(1)
    uvicorn.run(
        make_app(sys.argv[1]),
        port=int(sys.argv[2]),
        access_log=False,
        log_level="warning",
        loop="uvloop",
        http="httptools",
    )
