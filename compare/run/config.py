"""What a training run is made of: every option of `manualbp train`, with its default."""

from __future__ import annotations

import dataclasses
import difflib
import math
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from compare.run.rhythm import rhythm
from compare.small_file import read_small

Activation = Literal[
    "sigmoid", "tanh", "relu", "leaky-relu", "elu", "silu", "softplus", "gelu", "identity"
]  # fmt: skip
LossName = Literal["auto", "log-loss", "cross-entropy", "squared-error"]
InitName = Literal["normal", "zeros", "xavier", "kaiming"]
UpdateName = Literal["batch", "stochastic", "mini-batch"]
TaskName = Literal["auto", "binary", "classes", "regression"]
ScaleName = Literal["auto", "standard", "unit", "none"]
CheckWhen = Literal["every", "epoch", "off"]
TwinLoss = Literal["exact", "stock"]
DType = Literal["float32", "float64"]
Device = Literal["auto", "cpu", "cuda"]
EngineChoice = Literal["auto", "reference", "fused", "compiled", "graph"]
ProductName = Literal["auto", "torch", "onednn", "mkl", "openblas", "mkl-1", "openblas-1", "loops"]
Matmul = Literal["ieee", "tf32", "bf16"]

CHOICES: dict[str, tuple[str, ...]] = {
    "task": get_args(TaskName),
    "scale": get_args(ScaleName),
    "activation": get_args(Activation),
    "loss": get_args(LossName),
    "init": get_args(InitName),
    "update": get_args(UpdateName),
    "twin_loss": get_args(TwinLoss),
    "dtype": get_args(DType),
    "device": get_args(Device),
    "engine": get_args(EngineChoice),
    "product": get_args(ProductName),
    "matmul": get_args(Matmul),
}
WHOLE_NUMBERS = {"epochs": 0, "patience": 0, "seed": 0, "log_every": 1, "max_bytes": 1, "checkpoint_keep": 1}  # least

MOST_THREADS = 1024


@dataclass(frozen=True)
class TrainConfig:
    """Train a network by hand-written gradients next to its autograd twin."""

    data: str = "breast-cancer"
    """Data set: breast-cancer, digits, iris, wine, diabetes, xor, figure-1, or a CSV, NPZ or IDX file."""
    target: str | None = None
    """Column of a CSV file to predict."""
    labels: str | None = None
    """File of labels for IDX images, where it is not beside them."""
    task: TaskName = "auto"
    """What the target is; auto tells it from the data."""
    scale: ScaleName = "auto"
    """Scaling of the inputs, fitted on the training part."""
    val_fraction: float = 0.2
    """Share of the samples kept for validation."""
    max_bytes: int = 2 * 2**30
    """Largest file to read, and most memory for its numbers."""

    hidden: tuple[int, ...] | None = None
    """Units of each hidden layer; none at all for a linear model. By default 16, or 64 above 50 inputs
    (figure-1: 3, as in the lecture)."""
    activation: Activation = "sigmoid"
    """Activation of the hidden layers."""
    loss: LossName = "auto"
    """Cost; auto: log-loss for two classes, cross-entropy for several, squared-error for regression."""
    init: InitName = "normal"
    """Initial weights."""
    init_std: float = 0.1
    """Standard deviation of --init normal, for weights and biases."""

    update: UpdateName = "mini-batch"
    """Samples behind each update: all, one, or --batch-size of them."""
    batch_size: int | None = None
    """Samples of a mini-batch; by default 32, or all where there are fewer."""
    epochs: int = 30
    """Passes over the training part."""
    lr: float = 0.5
    """Learning rate."""
    l2: float = 0.0
    """Factor lambda of the penalty (lambda/2) ||W||^2."""
    patience: int = 0
    """Stop after this many epochs without a lower validation loss; 0: never."""

    dtype: DType = "float64"
    """Floating numbers of both runs."""
    device: Device = "auto"
    """Where to train; auto takes CUDA where there is a GPU."""
    threads: int | None = None
    """Threads of torch on the CPU; by default torch's own choice."""
    engine: EngineChoice = "auto"
    """How the hand-written network is computed: as it is written (reference), or faster and equal up to rounding, where
    no step or the first of each epoch is compared; auto measures which is the fastest then."""
    product: ProductName = "auto"
    """Matrix products of the engine; auto measures. torch, onednn: of fused; mkl, openblas, loops: of compiled."""
    matmul: Matmul = "ieee"
    """Precision of the engine's float32 products on CUDA: as IEEE says, or operands rounded to 11 or 8 bits."""
    seed: int = 0
    """Seed of the split, the initial weights and the order of samples."""

    check: CheckWhen | int = "every"
    """Compare both gradients at every step, at the first step of each epoch, at every N-th step, or not at all."""
    twin_loss: TwinLoss = "exact"
    """Cross-entropy of the twin: as a sum of log-sum-exp (bit for bit), or torch's fused kernel (up to rounding)."""

    name: str | None = None
    """Name of the run; by default the data and the time."""
    runs: str = "runs"
    """Folder of all runs."""
    overwrite: bool = False
    """Replace a run of the same name."""
    log_every: int = 1
    """Evaluate and log every this many epochs."""
    checkpoint_every: int | str = "epoch"
    """Save what `manualbp resume` goes on from: after each epoch (at most once a second), every N steps ("500"), every
    N epochs ("5 epochs"), or never ("off")."""
    checkpoint_keep: int = 3
    """Checkpoints to keep, the last ones."""

    def __post_init__(self) -> None:
        for field, allowed in CHOICES.items():
            value = getattr(self, field)
            if value not in allowed:
                raise ValueError(
                    f"{_flag(field)} is {value!r}; choose one of {', '.join(allowed)}{near(value, allowed)}"
                )
        if self.hidden is not None:
            _require(isinstance(self.hidden, list | tuple), "hidden", self.hidden, "a list of whole numbers")
            object.__setattr__(self, "hidden", tuple(self.hidden))  # a list out of a TOML file
            for units in self.hidden:
                _require(_is_int(units) and units >= 1, "hidden", units, "whole numbers of units, at least 1 each")
        if not (self.check in get_args(CheckWhen) or (_is_int(self.check) and int(self.check) >= 1)):
            raise ValueError(f"--check is {self.check!r}; choose every, epoch, off or a number of steps, at least 1")
        for field, least in (
            ("epochs", 0),
            ("patience", 0),
            ("seed", 0),
            ("log_every", 1),
            ("max_bytes", 1),
            ("checkpoint_keep", 1),
        ):
            value = getattr(self, field)
            _require(_is_int(value) and value >= least, field, value, f"a whole number, at least {least}")
        for field in ("batch_size", "threads"):
            value = getattr(self, field)
            _require(value is None or (_is_int(value) and value >= 1), field, value, "a whole number, at least 1")
        most = f"at most {MOST_THREADS}: more than processors only slow a run down"
        _require(self.threads is None or self.threads <= MOST_THREADS, "threads", self.threads, most)
        for field in ("lr", "l2", "init_std", "val_fraction"):
            value = getattr(self, field)
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            _require(number and value >= 0, field, value, "a finite number, at least 0")
        for field in ("data", "target", "labels", "name", "runs"):
            value = getattr(self, field)
            optional = field in ("target", "labels", "name")
            _require(isinstance(value, str) or (optional and value is None), field, value, "text")
        _require(isinstance(self.overwrite, bool), "overwrite", self.overwrite, "true or false")
        rhythm(self.checkpoint_every)

    def checked(self, step: int, first_of_epoch: bool) -> bool:
        """Whether both gradients are compared at a step, counted from 0."""
        if self.check == "every":
            return True
        if self.check == "epoch":
            return first_of_epoch
        return self.check != "off" and step % int(self.check) == 0


FIELDS = tuple(field.name for field in dataclasses.fields(TrainConfig))


def from_mapping(values: dict[str, Any], source: str) -> TrainConfig:
    """A config from names and values, dashes or underscores; tables are opened.

    Raises `ValueError` that names an unknown key and the nearest known one.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        name = key.replace("-", "_")
        if name not in FIELDS:
            raise ValueError(f"{source}: unknown key {key!r}{near(name, FIELDS)}; keys are the flags of manualbp train")
        flat[name] = value
    try:
        return TrainConfig(**flat)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from None


def from_toml(path: str | Path) -> TrainConfig:
    """A config from a TOML file; of a run's own `config.toml` the table `[config]` is read.

    Raises `ValueError`, of one line, where the file cannot be read, is no TOML or holds an unknown key.
    """
    where = ascii(str(path))[1:-1]
    try:
        text = read_small(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise ValueError(f"--config {where}: cannot be read ({reason}); check the path") from None
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"--config {where}: is no TOML ({error}); one `key = value` a line") from None
    inner = values.get("config")
    return from_mapping(inner if isinstance(inner, dict) else values, f"--config {where}")


def near(word: Any, known: tuple[str, ...]) -> str:
    """ " (did you mean X?)", or nothing where no known word is close."""
    close = difflib.get_close_matches(str(word), known, n=1)
    return f" (did you mean {close[0].replace('_', '-')}?)" if close else ""


def _flag(field: str) -> str:
    return "--" + field.replace("_", "-")


def _is_int(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _require(ok: bool, field: str, value: Any, rule: str) -> None:
    if not ok:
        raise ValueError(f"{_flag(field)} is {value!r}; it must be {rule}")
