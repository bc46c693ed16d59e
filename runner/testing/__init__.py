"""For authors and adapters: given/expect, conformance suites, strategies."""
