"""One file per public data set, and what they share."""
