"""Training with masks enforced, evaluation, and checkpoints to go on from."""

from mitools.training.evaluation import Evaluation, evaluate
from mitools.training.history import History
from mitools.training.loop import Training, train
from mitools.training.losses import cross_entropy, loss_of, mean_squared_error
from mitools.training.optimizers import SGD, Adam, AdamW, Optimizer
from mitools.training.schedules import Constant, Cosine, MultiStep, Schedule, Warmup
from mitools.training.stacked import train_together
from mitools.training.state import Epoch, TrainState, state_of
from mitools.training.stopping import EarlyStopping

__all__ = [
    "SGD",
    "Adam",
    "AdamW",
    "Constant",
    "Cosine",
    "EarlyStopping",
    "Epoch",
    "Evaluation",
    "History",
    "MultiStep",
    "Optimizer",
    "Schedule",
    "TrainState",
    "Training",
    "Warmup",
    "cross_entropy",
    "evaluate",
    "loss_of",
    "mean_squared_error",
    "state_of",
    "train",
    "train_together",
]
