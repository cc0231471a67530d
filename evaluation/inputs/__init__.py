"""What is scored: folders of predictions, references, labels, patients."""
