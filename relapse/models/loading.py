"""Loading a causal language model and its tokenizer from a folder in Hugging Face's format, with checks.

transformers is imported where it is used, since importing it takes seconds.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch

from relapse.models import stored
from relapse.models.tokenizer import check_vocabulary, load_tokenizer
from relapse.runtime.device import device
from relapse.runtime.errors import RelapseError
from relapse.runtime.imports import without

__all__ = ["check_vocabulary", "import_transformers", "linear_layers", "load_model", "load_tokenizer"]

# A bar that fills in a tenth of a second helps nobody, and a log cannot show it.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def import_transformers() -> None:
    """Import what loading and running a model imports, so that a job can time it apart from its work."""
    # They are for a way of decoding, and for losses, that nothing here uses; lm-eval has brought scikit-learn. What is
    # installed transformers asks once: an answer that it has already must stay true.
    with without(*(("sklearn", "scipy") if "transformers" not in sys.modules else ())):
        import transformers.generation
        import transformers.modeling_utils
        import transformers.models.auto.modeling_auto  # noqa: F401


def load_model(path: str | Path, dtype: torch.dtype = torch.float32, packed: bool = False):
    """Load a local model directory onto `device()`, in evaluation mode.

    packed: it is a calibrated quantizer's checkpoint. Raises RelapseError where the directory holds no model, or other
    weights than the model's.
    """
    from transformers import AutoModelForCausalLM

    stored.check(path, packed)
    try:
        model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, local_files_only=True)
    except (OSError, ValueError) as error:  # transformers' words for missing weights and for a bad config.json
        raise RelapseError(f"cannot load the model in {path}: {error}") from None
    return model.to(device()).eval()


def linear_layers(model: Any) -> list[str]:
    """Names of the linear layers that quantizers round: every `nn.Linear` except the output head.

    Raises RelapseError for a model without any (GPT-2 keeps its weights in Conv1D), which would otherwise
    count as quantized with every weight in full precision.
    """
    head = model.get_output_embeddings()
    names = [
        name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear) and module is not head
    ]
    if not names:
        raise RelapseError(
            f"{type(model).__name__} has no torch.nn.Linear except its output head, so there is nothing to quantize: "
            "use a model with linear layers"
        )
    return names
