"""What keeps a network from learning: diagnosed with evidence and a remedy."""

from elman.explain.doctor.examine import Watch, doctor
from elman.explain.doctor.findings import Diagnosis, Finding

__all__ = ["Diagnosis", "Finding", "Watch", "doctor"]
