"""MIPP as published: networks forecast the next layer with each channel and without it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from scipy.stats import t as student
from torch import Tensor
from tqdm.auto import tqdm

from mitools._validation import checked_choice, checked_count, checked_share
from mitools.mipp.engines import Elimination, Layer, Reads, Step
from mitools.mipp.forecasts import Forecast, Head, forecast_of
from mitools.mipp.perceptrons import Lesson, Perceptrons, Rows, Shape, drawn, trained
from mitools.neural.isolation import isolated

