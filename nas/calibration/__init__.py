"""Calibrated quality: what sub-DiTs trained on their own teach of all others, with an interval for each."""

from nas.calibration._model import FEWEST
from nas.calibration._model import Prediction
from nas.calibration._model import fit_model
from nas.calibration._model import leave_one_out
from nas.calibration._model import quality_features

__all__ = ["FEWEST", "Prediction", "fit_model", "leave_one_out", "quality_features"]
