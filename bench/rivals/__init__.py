"""The rivals: each folds the same events into the same rows by other means. ``comparisons.py`` has the table."""
