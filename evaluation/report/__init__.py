"""Statistics become a page."""
