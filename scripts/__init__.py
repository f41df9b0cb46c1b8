"""One small program per Snakemake rule; run as `python -m scripts.NAME` from the repository root."""
