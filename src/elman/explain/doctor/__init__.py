"""What keeps a network from learning: looked for, measured and named, with what would mend it."""

from elman.explain.doctor.examine import doctor
from elman.explain.doctor.findings import Diagnosis, Finding
from elman.explain.doctor.watch import Watch

__all__ = ["Diagnosis", "Finding", "Watch", "doctor"]
