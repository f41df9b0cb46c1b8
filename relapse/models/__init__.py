"""Causal language models on disk, in Hugging Face's format: a random base, loading, saving, shapes and weights.

Target, retrain and unlearned models rest in bfloat16; what trains or rounds them lives elsewhere.
"""
