"""Pages of a run: report.html and the pieces that other pages are made of."""
