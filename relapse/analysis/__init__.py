"""What the scores mean together: numbers computed from per-example records of several models."""
