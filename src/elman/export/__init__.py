"""A trained model as a file for other programs, checked against elman before it is written."""
