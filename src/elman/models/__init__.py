"""Recurrent models: input encoder, recurrent stack, readout, linear output."""

from elman.models.model import ModelConfig, SequenceModel
from elman.models.storage import load_folder, save_folder

__all__ = ["ModelConfig", "SequenceModel", "load_folder", "save_folder"]
