"""The parameters that all estimators share: defaults, validation and documentation.

A dataclass generates an `__init__` that only assigns each argument to the attribute of that name,
which is what scikit-learn requires of a constructor. Defaults and help come from `elman.settings`.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from elman.data.dataset import InputKind, Layout
from elman.data.faults import format_count
from elman.errors import SettingsError
from elman.estimators.weights import plain_class_weight
from elman.setting_list import Setting, list_settings
from elman.settings import (
    DataSettings,
    ModelSettings,
    TrainingSettings,
)
from elman.validation import validate_settings

T = TypeVar("T")
_REDUCED_PRECISION = (8, 0)  # least compute capability with TF32 and bfloat16 (Ampere)
INPUTS = ("auto", "numbers", "tokens", "text", "mixed")
# Settings that apply to only one kind of input, with the defaults that have no effect.
_NUMBERS_ONLY = {"scale": True, "noise": None}
_TOKENS_ONLY = {"embedding_size": None, "token_dropout": None}


@dataclass(kw_only=True, eq=False, repr=False)
class Parameters:
    """Parameters of all estimators.

    An estimator with further parameters is also a dataclass, with the same options. Listed here are
    only parameters that `elman.settings` lacks, or that need more description than in `--help`.

    Args:
        initialization: `orthogonal`, with forget bias 1 for `lstm`, or `torch`, as in torch.nn.
        embedding_size: Size of the embedding of a token, and the largest size for a category.
        optimizer: `adamw`, `adam` or `sgd` (momentum 0.9).
        weight_decay: Applied to weight matrices; decoupled for `adamw`; None is 0 for the others.
        class_weight: Weight of each class in the loss: None for equal weights; `balanced`,
            n / (K * count) over the training split; or weights by label, 1 for labels not listed.
            For multilabel targets, the weight of positive examples of each label; `balanced` is
            the number of sequences without the label divided by the number with it.
        loss: Loss function: `auto`, the cross-entropy, or `focal`, which reduces the weight of
            examples that are already predicted well (Lin et al. 2017, arXiv:1708.02002).
        focal_gamma: Exponent of `focal`, which weights examples by (1 - p)^gamma.
        token_dropout: Alpha in the probability alpha / (alpha + count) of replacing a token by the
            unknown token in training (Kiperwasser & Goldberg 2016, arXiv:1603.04351).
        noise: Standard deviation of the Gaussian noise added to numbers in training, after
            standardisation (Bishop 1995, Neural Computation 7).
        keep_epochs: Number of epochs, mostly of the first, whose weights are kept in
            `kept_epochs_`, besides those before the training, of the last epoch and of the one that
            is used; None or 0 for none.
        validation: Share of the training sequences held out for validation, stratified; 0 for none;
            None for a share that depends on their number.
        inputs: Kind of X: `numbers`, `tokens`, `text`, `mixed`, or `auto`: arrays and lists of
            numbers with a fraction are numbers, lists of strings or integers are tokens, strings
            are text, and tables that contain strings are mixed.
        tokens: Unit that text is split into: `characters`, `words` (in lower case), `bytes` of
            UTF-8, or `auto`: words if there are three or more on average, else characters.
        threads: CPU threads in training and prediction; what native calls compute is bitwise equal
            for any number.
            More than one helps large networks on idle cores and costs time on a busy machine.
        warm_start: If fitted, `fit` continues from the present weights, classes, vocabulary and
            scaling, with a new optimizer state and learning rate schedule.
        verbose: 0 for no output, n for a line every n epochs and a progress bar.
        random_state: An int for the same result on every call, None, or a NumPy RandomState.
    """

    cell: str | None = ModelSettings.cell
    nonlinearity: str = ModelSettings.nonlinearity
    hidden_size: int | None = ModelSettings.hidden_size
    num_layers: int | None = ModelSettings.num_layers
    bidirectional: bool | None = ModelSettings.bidirectional
    streaming: bool = ModelSettings.streaming
    dropout: float | None = ModelSettings.dropout
    embedding_size: int | None = ModelSettings.embedding_size
    static_to: str | None = ModelSettings.static_to
    initialization: str = ModelSettings.initialization
    effort: str = TrainingSettings.effort
    epochs: int | None = TrainingSettings.epochs
    batch_size: int | str | None = TrainingSettings.batch_size
    tbptt: int | None = TrainingSettings.tbptt
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
    keep_epochs: int | None = TrainingSettings.keep_epochs
    validation: float | None = None  # in DataSettings it may also be a file
    inputs: str = "auto"
    tokens: str = DataSettings.tokens
    scale: bool = DataSettings.scale
    device: str = TrainingSettings.device
    precision: str = TrainingSettings.precision
    threads: int = TrainingSettings.threads
    warm_start: bool = False
    verbose: int = 0
    random_state: Any = None


@dataclass(frozen=True)
class Settings:
    """Checked parameters, by section. Settings that are None are chosen from the data later."""

    model: ModelSettings
    training: TrainingSettings
    data: DataSettings
    inputs: str


def settle_next_steps(settings: Settings, layout: Layout | None) -> Settings:
    """Return the settings for a target that is the sequence itself some steps ahead.

    Args:
        layout: of the training data; without `ahead` the settings are returned unchanged.
    Raises: SettingsError for a network that reads in both directions, or another unit of text.
    """
    if layout is None or not layout.ahead:
        return settings
    if settings.model.bidirectional:
        raise SettingsError(
            f"bidirectional: the target is the sequence itself {format_count(layout.ahead, 'step')}"
            " ahead, which a network that also reads from the end would see. Leave it out, or give "
            "--no-bidirectional (bidirectional=False)"
        )
    if layout.unit and settings.data.tokens not in ("auto", layout.unit):
        raise SettingsError(
            f"tokens: got {settings.data.tokens!r}, but the data were read with the "
            f"{layout.unit} as targets. Give the same unit to elman.data.read"
        )
    return dataclasses.replace(
        settings,
        model=dataclasses.replace(settings.model, bidirectional=False),
        data=dataclasses.replace(settings.data, tokens=layout.unit or settings.data.tokens),
    )


def check_parameters(
    parameters: Mapping[str, Any], readout: str, readouts: tuple[str, ...], seed: int
) -> Settings:
    """Check every parameter.

    Args:
        parameters: parameters of an estimator, by name.
        readout: the readout of its network.
        readouts: the readouts that the estimator supports, without `auto`.
        seed: the integer seed derived from its `random_state`.
    Raises: SettingsError that lists every fault.
    """
    faults: list[str] = []
    try:
        weight = plain_class_weight(parameters.get("class_weight"))
    except SettingsError as error:
        faults.append(str(error))
        weight = None
    if "class_weight" in parameters:
        parameters = {**parameters, "class_weight": weight}

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
    faults += truncation_faults(parameters, readout)
    if parameters["inputs"] not in INPUTS:
        faults.append(
            f"inputs: got {parameters['inputs']!r:.99}, expected 'auto', 'numbers', 'tokens', "
            "'text' or 'mixed'"
        )
    if isinstance(parameters["validation"], str):
        faults.append(
            f"validation: got {parameters['validation']!r:.99}, expected a share from 0 up to, "
            "not including, 1; give held-out data of your own to fit(..., validation_data=(X, y))"
        )
    if readout not in (*readouts, "auto"):
        faults.append(
            f"readout: got {readout!r:.100}, expected 'last', 'mean', 'max' or 'auto' in a "
            "classifier, 'every' in a tagger, and any of them in a regressor"
        )
    if faults:
        raise SettingsError("\n".join(faults))
    return Settings(model, training, data, parameters["inputs"])


def truncation_faults(parameters: Mapping[str, Any], readout: str = "every") -> list[str]:
    """Return what stands in the way of `tbptt`, if it is set."""
    if (steps := parameters.get("tbptt")) is None:
        return []
    faults = []
    if readout != "every":
        faults.append(
            f"tbptt: got {steps!r}, but there is one target for a whole sequence, whose loss is "
            "known at its end only. Use tbptt with a target at every step (tagging, numbers at "
            "every step, ahead; a SequenceTagger, or a regressor with readout='every'), or leave "
            "it out"
        )
    if parameters.get("bidirectional"):
        faults.append(
            f"tbptt: got {steps!r}, but bidirectional is on: a network that also reads from the "
            "end has no state to carry from one chunk to the next. Leave bidirectional out, so "
            "that the network reads in one direction, or leave tbptt out"
        )
    return faults


def refuse_missing_device(training: TrainingSettings) -> None:
    """Raise SettingsError if torch does not find the device, or it lacks the precision."""
    if training.device != "cuda":
        return
    if not torch.cuda.is_available():
        raise SettingsError(
            "device: got 'cuda', but torch finds no CUDA device here (`elman info` says what it "
            "finds). Use 'cpu'"
        )
    capability = torch.cuda.get_device_capability()
    if training.precision != "float32" and capability < _REDUCED_PRECISION:
        raise SettingsError(
            f"precision: got {training.precision!r}, but {torch.cuda.get_device_name()} (compute "
            f"capability {capability[0]}.{capability[1]}) cannot compute in it; that takes 8.0 or "
            "higher. Use 'float32'"
        )


def refuse_unused(settings: Settings, kind: InputKind) -> None:
    """Raise SettingsError for a setting that does not apply to this kind of input."""
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
    """Class decorator that adds every parameter to an estimator's docstring, for `help()` and docs.

    An entry under `Args` of the class takes precedence over one in `Parameters`, which takes
    precedence over the help text of the setting.
    """
    texts = {setting.name: _describe_setting(setting) for setting in list_settings()}
    before, own, after = _split_docstring(inspect.getdoc(estimator) or "")
    texts |= _split_docstring(inspect.getdoc(Parameters) or "")[1] | own
    lines = [f"    {name}: {texts[name]}" for name in inspect.signature(estimator).parameters]
    estimator.__doc__ = "\n".join([before.rstrip(), "", "Args:", *lines, "", after.lstrip()])
    return estimator


def _describe_setting(setting: Setting) -> str:
    """Return help, choices and, if it is None, the default of a setting, as a wrapped entry."""
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
