"""Quantizers written for reading, in float64 on the CPU: what the backends are compared with, and used nowhere else."""
