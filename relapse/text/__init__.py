"""Text as a model sees it: prompts, and token windows with their log-probabilities."""
