"""Does an unlearned checkpoint stay unlearned in the format that ships? Answered from the weights of two models alone.

No text, no GPU, no generation: what of the update survives each format, what the update looks like, and a verdict.
"""
