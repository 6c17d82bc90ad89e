"""The arguments of every estimator, once: their defaults, their check and their documentation.

A dataclass writes `__init__` from its fields, each with its name and nothing else in it, which is
just what scikit-learn asks of a constructor. Defaults and meanings are those of `elman.settings`.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from elman.data.dataset import InputKind
from elman.errors import SettingsError
from elman.settings import (
    DataSettings,
    ModelSettings,
    Setting,
    TrainingSettings,
    list_settings,
)
from elman.validation import validate_settings

T = TypeVar("T")
INPUTS = ("auto", "numbers", "tokens", "text", "mixed")
# Settings that only one kind of input can honour, with the defaults that have no effect.
_NUMBERS_ONLY = {"scale": True, "noise": None}
_TOKENS_ONLY = {"embedding_size": None, "token_dropout": None}


@dataclass(kw_only=True, eq=False, repr=False)
class Parameters:
    """What all estimators take.

    An estimator with arguments of its own is a dataclass too, with the same options. Described here
    is what `elman.settings` does not have, or what says more in Python than in `--help`.

    Args:
        initialization: `orthogonal`, with forget bias 1 for `lstm`, or `torch`, as torch.nn.
        embedding_size: Size of the vector of a token; at most so much for a category.
        optimizer: `adamw`, `adam` or `sgd` (momentum 0.9).
        weight_decay: Of weight matrices; decoupled with `adamw`; None means 0 with the others.
        class_weight: What a class counts in the loss: None for alike; `balanced`, n / (K * count)
            over the training split; or weights by label, 1 for those not named. Of several labels,
            what one that is there counts against one that is not: `balanced` is without / with.
        loss: What is minimised: `auto`, the cross-entropy, or `focal`, where examples already
            predicted well count less (Lin et al. 2017, arXiv:1708.02002).
        focal_gamma: Of loss `focal`, how much less: by (1 - p)^gamma.
        token_dropout: Alpha of the chance alpha / (alpha + count) that a token is read as unknown
            while training (Kiperwasser & Goldberg 2016, arXiv:1603.04351).
        noise: Standard deviation of the normal noise that training adds to numbers, after they were
            standardised (Bishop 1995, Neural Computation 7).
        validation: Share of the training sequences, stratified, held out to watch the training; 0
            for none; None for one that suits their number.
        inputs: What a step of X is: `numbers`, `tokens`, `text`, `mixed`, or `auto`: arrays and
            lists of numbers with a fraction hold numbers, lists of strings or whole numbers hold
            tokens, a string is text, tables with words in them are mixed.
        tokens: What text is cut into: `characters`, `words` (in lower case), `bytes` of UTF-8, or
            `auto`: words if there are three or more on average, else characters.
        threads: Of the CPU, in training and prediction; the bits are the same for any number. More
            than one is for large networks and idle cores: on a busy machine they cost time.
        warm_start: `fit` continues from the present weights, classes, vocabulary and scaling, where
            there are any; with an optimizer and a schedule that begin anew.
        verbose: 0 for silence, n for a line every n epochs and a progress bar.
        random_state: Int for the same result on every call, None, or a NumPy RandomState.
    """

    cell: str | None = ModelSettings.cell
    nonlinearity: str = ModelSettings.nonlinearity
    hidden_size: int | None = ModelSettings.hidden_size
    num_layers: int | None = ModelSettings.num_layers
    bidirectional: bool | None = ModelSettings.bidirectional
    dropout: float | None = ModelSettings.dropout
    embedding_size: int | None = ModelSettings.embedding_size
    initialization: str = ModelSettings.initialization
    effort: str = TrainingSettings.effort
    epochs: int | None = TrainingSettings.epochs
    batch_size: int | str | None = TrainingSettings.batch_size
    learning_rate: float | None = TrainingSettings.learning_rate
    optimizer: str = TrainingSettings.optimizer
    weight_decay: float | None = TrainingSettings.weight_decay
    schedule: str = TrainingSettings.schedule
    warmup: float = TrainingSettings.warmup
    clip_norm: float = TrainingSettings.clip_norm
    label_smoothing: float | None = TrainingSettings.label_smoothing
    class_weight: Any = TrainingSettings.class_weight
    loss: str = TrainingSettings.loss
    focal_gamma: float = TrainingSettings.focal_gamma
    token_dropout: float | None = TrainingSettings.token_dropout
    noise: float | None = TrainingSettings.noise
    patience: int | None = TrainingSettings.patience
    keep: str | None = TrainingSettings.keep
    validation: float | None = None  # of the settings this one may be a file too
    inputs: str = "auto"
    tokens: str = DataSettings.tokens
    scale: bool = DataSettings.scale
    device: str = TrainingSettings.device
    threads: int = TrainingSettings.threads
    warm_start: bool = False
    verbose: int = 0
    random_state: Any = None


@dataclass(frozen=True)
class Settings:
    """Checked parameters, by section. What is None is to be chosen from the data."""

    model: ModelSettings
    training: TrainingSettings
    data: DataSettings
    inputs: str


def check_parameters(
    parameters: Mapping[str, Any], readout: str, readouts: tuple[str, ...], seed: int
) -> Settings:
    """Check every parameter.

    Args:
        parameters: of an estimator, by name.
        readout: what its network's output reads.
        readouts: those that the estimator has, without `auto`.
        seed: the whole number that its `random_state` comes to.
    Raises: SettingsError that lists every fault.
    """
    faults: list[str] = []

    def section(owner: type[T], **more: Any) -> Any:
        names = {entry.name for entry in dataclasses.fields(owner)} & parameters.keys()  # type: ignore[arg-type]
        values = {name: parameters[name] for name in names if name != "readout"} | more
        try:
            return validate_settings(owner, values)
        except SettingsError as error:
            faults.append(str(error).replace("seed:", "random_state:"))

    model = section(ModelSettings, readout=readout)
    training = section(TrainingSettings, seed=seed)
    data = section(DataSettings)
    if parameters["inputs"] not in INPUTS:
        faults.append(
            f"inputs: got {parameters['inputs']!r}, expected 'auto', 'numbers', 'tokens', 'text' "
            "or 'mixed'"
        )
    if isinstance(parameters["validation"], str):
        faults.append(
            f"validation: got {parameters['validation']!r}, expected a share from 0 up to, not "
            "including, 1; give held-out data of your own to fit(..., validation_data=(X, y))"
        )
    if readout not in (*readouts, "auto"):
        faults.append(
            f"readout: got {readout!r}, expected 'last', 'mean', 'max' or 'auto' in a "
            "classifier, 'every' in a tagger, and any of them in a regressor"
        )
    if faults:
        raise SettingsError("\n".join(faults))
    return Settings(model, training, data, parameters["inputs"])


def refuse_unused(settings: Settings, kind: InputKind) -> None:
    """Raise SettingsError for a setting that this kind of input cannot honour."""
    unused: dict[str, Any] = {}
    if kind != "mixed":
        unused |= _TOKENS_ONLY if kind == "numbers" else _NUMBERS_ONLY
    if kind != "text":
        unused["tokens"] = "auto"
    values = {
        name: value
        for section in (settings.model, settings.training, settings.data)
        for name, value in vars(section).items()
    }
    for name, default in unused.items():
        if values[name] != default:
            raise SettingsError(
                f"{name}: got {values[name]!r}, but the sequences are {kind}, "
                "which have no such setting. Leave it out"
            )


def document_parameters(estimator: type[T]) -> type[T]:
    """Put every parameter into an estimator's docstring, where `help()` and the docs read it.

    A class decorator. An entry under `Args` of the class itself is used first, then one of
    `Parameters`, then the help text of the setting.
    """
    texts = {setting.name: _describe_setting(setting) for setting in list_settings()}
    before, own, after = _split_docstring(inspect.getdoc(estimator) or "")
    texts |= _split_docstring(inspect.getdoc(Parameters) or "")[1] | own
    lines = [f"    {name}: {texts[name]}" for name in inspect.signature(estimator).parameters]
    estimator.__doc__ = "\n".join([before.rstrip(), "", "Args:", *lines, "", after.lstrip()])
    return estimator


def _describe_setting(setting: Setting) -> str:
    """Meaning, choices and, where it is None, the default of a setting, wrapped as an entry."""
    text = setting.help
    if setting.choices and not setting.types:
        text += f" Choices: {', '.join(f'`{choice}`' for choice in setting.choices)}."
    if setting.default is None and setting.default_text:
        text += f" None: {setting.default_text}."
    return textwrap.fill(
        text, 96, initial_indent=" " * (len(setting.name) + 6), subsequent_indent=" " * 8
    ).lstrip()


def _split_docstring(text: str) -> tuple[str, dict[str, str], str]:
    """Split at `Args:`: the text before it, its entries by name, and the text after them."""
    before, found, rest = text.partition("\nArgs:\n")
    if not found:
        before, found, rest = text.partition("\nAttributes:")
        return before, {}, found.lstrip() + rest
    end = re.search(r"\n(?=\S)", rest)
    entries, after = (rest, "") if end is None else (rest[: end.start()], rest[end.start() :])
    pairs = re.findall(r"^    (\w+): (.*?)(?=^    \w+: |\Z)", entries + "\n", re.M | re.S)
    return before, {name: text.rstrip() for name, text in pairs}, after
