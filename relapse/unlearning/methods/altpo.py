"""AltPO: altpo, altpo_gdr, altpo_klr (arXiv 2409.13474): prefer another plausible answer to the true one.

The paper lets the target write the alternatives; here the corpus has them, with its question/answer pairs.
"""

from relapse.unlearning.methods.idkdpo import preference
from relapse.unlearning.retain import register_family

register_family(preference("altpo", "alternatives"))
