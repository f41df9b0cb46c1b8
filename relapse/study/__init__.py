"""A study file: reading it, checking it, and what only its files can tell, before anything runs."""
