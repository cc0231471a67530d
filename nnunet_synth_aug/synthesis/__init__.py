"""From a trained generator to checked 4D sequences on disk."""
