"""Follow: sync and update in a loop, until it is asked to stop."""
