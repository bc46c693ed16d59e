"""Compare: read models against the tables that the application wrote, at the place that those reflect."""
