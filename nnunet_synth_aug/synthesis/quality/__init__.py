"""Which samples are no hearts."""
