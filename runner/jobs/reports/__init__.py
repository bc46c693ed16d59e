"""What runs give back: plain data for the command line, for JSON and for tests."""
