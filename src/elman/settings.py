"""Definition of every setting: its name, meaning, default and bounds.

The flags of the command, the keys of a TOML file and the arguments of the estimators all come from
here. A setting of the network or the training that is None is chosen from the data
(`elman.estimators.defaults`).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from elman.errors import SettingsError
from elman.memory import parse_size
from elman.validation import Help, OneOf, Parsed

# `elman.layers.register_cell` adds to these. They are listed here because the command must know
# them without importing torch; a test compares them with the table of cells in ops.
CELL_NAMES = ["rnn", "gru", "lstm"]
CellName = Annotated[
    str,
    OneOf(CELL_NAMES, "; to use a cell of your own, register it: elman.layers.register_cell(cell)"),
]

CHOSEN = "chosen from the data"
_Count = Annotated[int, Ge(1)]
Precision = Literal["float32", "tf32", "bfloat16"]
MAX_SEQUENCES = 1000  # that grow step by step at the same time, unless the user says otherwise


@dataclass(frozen=True)
class DataSettings:
    """The data and how it is read: section [data]."""

    data: Annotated[str, Help("File, or name of a built-in task.")] = ""
    test: Annotated[
        str | Annotated[float, Gt(0), Lt(1)] | None,
        Help("Test file, or share of DATA that is held out as test split.", "0.2"),
    ] = None
    validation: Annotated[
        str | Annotated[float, Ge(0), Lt(1)] | None,
        Help(
            "Share of the training split that is held out for validation; a file; 0 for none; or "
            "'test' for none, but the curve of the whole test split after every epoch. Nothing is "
            "chosen by the test split.",
            CHOSEN,
        ),
    ] = None
    split: Annotated[
        Literal["stratified", "random", "group", "time"] | None,
        Help(
            "How sequences are assigned to splits: with equal shares of each class, at random, by "
            "whole groups, or the latest ones held out.",
            "group with --group, else stratified",
        ),
    ] = None
    group: Annotated[
        str | None,
        Help(
            "Column or key of groups that must not be divided between splits; 'content' keeps "
            "equal sequences together."
        ),
    ] = None
    window: Annotated[
        _Count | None, Help("Cut sequences into windows of this many steps.", "whole sequences")
    ] = None
    stride: Annotated[
        _Count | None,
        Help("Steps from the start of one window to the start of the next.", "as --window"),
    ] = None
    ahead: Annotated[
        _Count | None,
        Help(
            "Predict the sequence itself this many steps ahead, at every step: the channels of "
            "numbers, those of --target, or the tokens. The network reads in one direction.",
            "predict the label",
        ),
    ] = None
    format: Annotated[
        Literal["rows", "steps", "jsonl", "conll", "ts", "arrays", "folder"] | None,
        Help("Layout of the file.", "guessed"),
    ] = None
    task: Annotated[
        Literal["classification", "multilabel", "tagging", "regression"] | None,
        Help(
            "Predict one class, several labels, a class at every step, or numbers. Whole numbers "
            "are read as classes unless this says otherwise.",
            "guessed",
        ),
    ] = None
    target: Annotated[
        str | None, Help("Columns or keys of the label, separated by commas.", "guessed")
    ] = None
    text: Annotated[str | None, Help("Column or key of the text or the tokens.")] = None
    values: Annotated[str | None, Help("Value columns, separated by commas.")] = None
    categories: Annotated[str | None, Help("Columns or keys of categories besides the values.")] = (
        None
    )
    static: Annotated[str | None, Help("Columns with one value per sequence, or none.")] = None
    id: Annotated[str | None, Help("Column that names the sequence of each time step.")] = None
    time: Annotated[str | None, Help("Column that orders the time steps of a sequence.")] = None
    channels: Annotated[
        _Count | None,
        Help("Channels into which the values of a row are divided.", "by the column names"),
    ] = None
    decimal: Annotated[
        Literal[".", ","] | None, Help("Decimal mark of the numbers in a text file.", "guessed")
    ] = None
    header: Annotated[bool | None, Help("Whether a line names the columns.", "guessed")] = None
    skip_lines: Annotated[Annotated[int, Ge(0)] | None, Help("Lines above a table.", "guessed")] = (
        None
    )
    dates: Annotated[
        Literal["dmy", "mdy", "ymd"] | None, Help("Order of dates such as 01/02/2024.", "guessed")
    ] = None
    missing: Annotated[str | None, Help("Further marks of missing values: ND,-999.", "none")] = None
    time_difference: Annotated[
        bool | None, Help("Add the time since the last step as a channel.", "if it is uneven")
    ] = None
    tokens: Annotated[
        Literal["auto", "characters", "words", "bytes"], Help("Unit that text is cut into.")
    ] = "auto"
    scale: Annotated[
        bool,
        Help("Standardise each channel by its mean and deviation in the training split."),
    ] = True
    memory_limit: Annotated[
        Annotated[str, Parsed(parse_size)] | None,
        Help(
            "Memory that the command may take up, such as 2GB: data that would not fit are read "
            "from disk in every epoch.",
            "none; all data are read into memory",
        ),
    ] = None

    def __post_init__(self) -> None:
        if self.stride and not self.window:
            raise SettingsError(
                f"stride: got {self.stride}, but no window. Give --window too, or leave it out"
            )
        if self.group and self.split not in (None, "group"):
            raise SettingsError(
                f"group: got {self.group!r}, but split {self.split!r} does not use groups. Use "
                "split 'group', or leave one out"
            )
        if self.split == "group" and not self.group:
            raise SettingsError(
                "split: got 'group', but no group. Name its column with --group, or --group content"
            )


@dataclass(frozen=True)
class NetworkSettings:
    """The network."""

    cell: Annotated[CellName | None, Help("Recurrent cell.", CHOSEN)] = None
    nonlinearity: Annotated[Literal["tanh", "relu"], Help("Activation of cell rnn.")] = "tanh"
    hidden_size: Annotated[_Count | None, Help("Units of each layer and direction.", CHOSEN)] = None
    num_layers: Annotated[_Count | None, Help("Number of stacked recurrent layers.", CHOSEN)] = None
    bidirectional: Annotated[bool | None, Help("Read the sequence both ways.", CHOSEN)] = None
    dropout: Annotated[
        Annotated[float, Ge(0), Lt(1)] | None,
        Help("Dropout rate on embeddings, between layers and before the output.", CHOSEN),
    ] = None
    readout: Annotated[
        Literal["auto", "last", "mean", "max", "every"],
        Help(
            "Input of the output layer: the last state, the mean or the maximum of the states, or "
            "every state. auto is every for a target at every step, else chosen from the data."
        ),
    ] = "auto"
    embedding_size: Annotated[_Count | None, Help("Size of the embedding of a token.", CHOSEN)] = (
        None
    )
    static_to: Annotated[
        Literal["readout", "state", "both"] | None,
        Help("What static features are joined to: the readout, the first state, or both.", CHOSEN),
    ] = None
    initialization: Annotated[
        Literal["orthogonal", "torch"],
        Help("Initial weights: orthogonal with a forget bias of 1, or as in torch.nn."),
    ] = "orthogonal"

    def __post_init__(self) -> None:
        if self.nonlinearity != "tanh" and self.cell not in ("rnn", None):
            raise SettingsError(
                f"nonlinearity: {self.nonlinearity!r} is an option of cell 'rnn', but cell is "
                f"{self.cell!r}"
            )


@dataclass(frozen=True)
class ModelSettings(NetworkSettings):
    """The network, and what it is for: section [model]."""

    streaming: Annotated[
        bool,
        Help("Train a network that can answer step by step: one that reads in one direction."),
    ] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.streaming and self.bidirectional:
            raise SettingsError(
                "streaming: a network that answers step by step reads in one direction, but "
                "bidirectional is on. Leave one of the two out"
            )


@dataclass(frozen=True)
class TrainingSettings:
    """How the network is trained: section [training]."""

    effort: Annotated[
        Literal["quick", "normal", "high"],
        Help(
            "How much training time the settings chosen from the data may take: about a tenth of "
            "a minute, one minute, or several minutes."
        ),
    ] = "normal"
    epochs: Annotated[_Count | None, Help("Passes over the training split.", CHOSEN)] = None
    batch_size: Annotated[
        Annotated[int, Ge(1)] | Literal["full"] | None,
        Help("Sequences of one training step, or 'full' for all of them.", CHOSEN),
    ] = None
    learning_rate: Annotated[
        Annotated[float, Gt(0)] | None, Help("Highest learning rate, after the warm-up.", CHOSEN)
    ] = None
    tbptt: Annotated[
        _Count | None,
        Help(
            "Truncated backpropagation through time: take this many steps of every sequence in a "
            "training step and carry the states on. Only with an output at every step, and in one "
            "direction.",
            "whole sequences",
        ),
    ] = None
    optimizer: Annotated[Literal["adamw", "adam", "sgd"], Help("Optimiser.")] = "adamw"
    weight_decay: Annotated[
        Annotated[float, Ge(0)] | None,
        Help(
            "Weight decay of weight matrices; biases and embeddings have none.",
            "with adamw chosen from the data, else 0",
        ),
    ] = None
    schedule: Annotated[
        Literal["cosine", "constant"], Help("Course of the learning rate after the warm-up.")
    ] = "cosine"
    warmup: Annotated[
        float, Ge(0), Lt(1), Help("Share of all steps over which the learning rate rises.")
    ] = 0.05
    clip_norm: Annotated[
        float, Ge(0), Help("Limit that the gradient norm is clipped to; 0 for none.")
    ] = 1.0
    label_smoothing: Annotated[
        Annotated[float, Ge(0), Lt(1)] | None,
        Help("Share of the target that is spread evenly over all classes.", CHOSEN),
    ] = None
    class_weight: Annotated[
        Literal["balanced"] | dict[str | int | bool, Annotated[float, Gt(0)]] | None,
        Help(
            "Weight of each class in the loss: balanced is the inverse of its frequency; a TOML "
            "file may have a table of weights."
        ),
    ] = None
    loss: Annotated[
        Literal["auto", "cross_entropy", "focal", "squared_error", "absolute", "huber"],
        Help(
            "Loss that is minimised. auto is cross-entropy for classes and labels, squared error "
            "for numbers."
        ),
    ] = "auto"
    focal_gamma: Annotated[
        float, Ge(0), Help("Focusing parameter of loss focal: how little easy examples count.")
    ] = 2.0
    token_dropout: Annotated[
        Annotated[float, Ge(0)] | None,
        Help(
            "In training a token is read as unknown with probability alpha / (alpha + count); this "
            "is alpha.",
            CHOSEN,
        ),
    ] = None
    noise: Annotated[
        Annotated[float, Ge(0)] | None,
        Help("Standard deviation of the noise added to standardised numbers in training.", CHOSEN),
    ] = None
    patience: Annotated[
        Annotated[int, Ge(0)] | None,
        Help(
            "Stop early after this many epochs without a lower validation loss; 0 for never.",
            "15 with a validation split, else 0",
        ),
    ] = None
    keep: Annotated[
        Literal["best", "last"] | None,
        Help(
            "Weights to keep: those of the epoch with the lowest validation loss, or the last.",
            "best with a validation split, else last",
        ),
    ] = None
    keep_epochs: Annotated[
        Annotated[int, Ge(0)] | None,
        Help(
            "Keep the weights of so many epochs for the lab, mostly of the first; also those "
            "before the training, of the last epoch and of the one that is used. 0 keeps none.",
            "20 in a run with at most 64 units, else 0",
        ),
    ] = None
    device: Annotated[Literal["cpu", "cuda"], Help("Device that trains the network.")] = "cpu"
    precision: Annotated[
        Precision,
        Help(
            "Arithmetic of the training. With device cuda, tf32 multiplies matrices in TensorFloat-"
            "32, and bfloat16 runs the network under autocast, with float32 weights."
        ),
    ] = "float32"
    threads: Annotated[
        Annotated[int, Ge(1), Le(1024)],
        Help("CPU threads. One is best for small networks; with one, runs repeat on any machine."),
    ] = 1
    seed: Annotated[int, Ge(0), Le(2**32 - 1), Help("Seed of all random numbers.")] = 0

    def __post_init__(self) -> None:
        if self.loss != "focal" and self.focal_gamma != 2.0:
            raise SettingsError(
                f"focal_gamma: {self.focal_gamma!r} is an option of loss 'focal', but loss is "
                f"{self.loss!r}"
            )
        if self.loss == "focal" and (smoothing := self.label_smoothing):
            raise SettingsError(f"label_smoothing: got {smoothing}, which loss 'focal' lacks")
        if self.precision != "float32" and self.device == "cpu":
            raise SettingsError(
                f"precision: got {self.precision!r}, but device 'cpu', which computes in float32. "
                "Use device 'cuda', or leave precision out"
            )

    def resolve(self, validation: bool) -> TrainingPlan:
        """Fill in all remaining defaults, including those that depend on a validation split.

        Raises: SettingsError if a setting needs a validation split and there is none.
        """
        if not validation and (self.keep == "best" or self.patience):
            raise SettingsError(
                "keep 'best' and patience need a validation split to choose by: give one, or leave "
                "both out"
            )
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        # 0.3 suits AdamW, whose decay is decoupled from the gradient (Loshchilov & Hutter 2019).
        # For Adam and SGD, decay is part of the gradient, and 0.3 would outweigh the loss.
        dependent = {
            "weight_decay": TrainingPlan.weight_decay if self.optimizer == "adamw" else 0.0,
            "patience": TrainingPlan.patience if validation else 0,
            "keep": "best" if validation else "last",
        }
        set_by_user = {name: value for name, value in values.items() if value is not None}
        return TrainingPlan(**{**dependent, **set_by_user})


@dataclass(frozen=True)
class TrainingPlan(TrainingSettings):
    """Settings of a training with all defaults filled in; see `TrainingSettings`."""

    epochs: int = 60
    batch_size: int | Literal["full"] = 32
    learning_rate: float = 3e-3
    weight_decay: float = 0.3
    label_smoothing: float = 0.0
    token_dropout: float = 0.25
    noise: float = 0.0
    patience: int = 15
    keep: Literal["best", "last"] = "best"
    keep_epochs: int = 0


@dataclass(frozen=True)
class ReportSettings:
    """What a run reports beyond its evaluation: section [report]."""

    diagnostics: Annotated[
        bool, Help("Report network diagnostics: doctor, memory and notable examples.")
    ] = True


# The settings of DataSettings that say how a file is read, for any purpose.
READING_SETTINGS = (
    *("format", "target", "text", "values", "categories", "id", "time"),
    *("channels", "decimal", "dates", "missing", "header", "skip_lines", "static"),
)

Section = type[DataSettings] | type[ModelSettings] | type[TrainingSettings] | type[ReportSettings]
SECTIONS: dict[str, Section] = {
    "data": DataSettings,
    "model": ModelSettings,
    "training": TrainingSettings,
    "report": ReportSettings,
}
