"""Seeds for every random draw, derived from what is drawn and not from when it is drawn.

A draw is named by (study seed, stage, item); its seed is a hash of that name, so it does not depend on the batch
size, on the order of the jobs or on what else runs.
"""

import hashlib


def seed_for(*name: object) -> int:
    """A 63-bit seed for the draw called `name`, such as `seed_for(0, "train", "target", epoch)`."""
    digest = hashlib.sha256("/".join(map(str, name)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
