"""Where the hearts of a bank come from: one file per source."""
