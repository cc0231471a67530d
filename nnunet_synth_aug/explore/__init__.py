"""Hearts to play with: a page on this machine that asks a generator for hearts and shows them beating, and the same page as one file."""
