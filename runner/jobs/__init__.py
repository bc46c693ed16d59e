"""Runs, a package for each kind; a command's own module is called like the command (``rebuilding/rebuild.py``).

following, doctoring and ``explain.py`` stand at the top; then updating, rebuilding, proving, publishing, comparing,
syncing; below them folding (what workers do), records (the ledger) and reports (what runs give back).
"""
