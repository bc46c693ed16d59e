"""Metrics of runs: ``names`` says which there are, ``prometheus`` counts them. Importing this loads neither."""
