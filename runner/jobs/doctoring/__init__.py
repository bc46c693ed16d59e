"""Doctor: what stands in the way of a run, at every place that runner.toml names."""
