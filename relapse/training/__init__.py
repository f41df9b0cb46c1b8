"""Training of target and retrain from a base model."""
