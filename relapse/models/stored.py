"""Whether a folder's weights are the model's, all of them and no others, before one of them is read.

The same for every loader: the names and shapes in the headers of the safetensors files are held against the model that
config.json describes, built without memory (on the meta device), by transformers' own rules for renamed weights.
"""

import logging
import re
from pathlib import Path

from relapse.models.headers import Formats, read_config, tensor_formats, weight_files
from relapse.runtime.errors import RelapseError

# How quantizers store a weight, and what they store beside it.
PACKED = re.compile(r"\.(qweight|weight_packed)$")
BESIDE_PACKED = re.compile(
    r"\.(qzeros|scales|g_idx|weight_(scale|zero_point|shape|g_idx|global_scale)|input_(scale|global_scale))$"
)
# What may lie in the files although the model has no place for it: buffers that older versions stored, and the parts
# of a multimodal model that its text does not go through.
NEEDLESS = re.compile(
    r"(rotary_emb\.inv_freq|attn\.(bias|masked_bias)|attention\.(bias|masked_bias|rotary_emb\.\w+))$"
    r"|(^|\.)(vision_tower|vision_model|visual|vision_embed_tokens|audio_tower|audio_model|multi_modal_projector|"
    r"mm_projector|embed_vision|embed_audio|image_newline|mtp)(\.|$)"
)
PLAIN = ("F64", "F32", "F16", "BF16")  # number formats, in safetensors' words, of weights that nobody has quantized


def check(folder: str | Path, packed: bool = False) -> None:
    """Raise RelapseError where weights are missing, left over, of another shape or quantized.

    packed: the folder is the checkpoint of a calibrated quantizer.
    """
    folder = Path(folder)
    read_config(folder)
    formats = _weights(folder)
    if not packed:
        must_be_plain(folder)
    stored, odd = {}, set()
    for name, (_, shape) in formats.items():
        if packed and BESIDE_PACKED.search(name):
            continue
        whole = PACKED.sub(".weight", name) if packed else name
        stored[whole] = shape
        if whole != name:
            odd.add(whole)
    report = _report(folder, stored)
    if missing := sorted(report["missing_keys"]):
        raise RelapseError(f"{folder} lacks the weights of {_listed(missing)}")
    left = sorted(name for name in report["unexpected_keys"] if not NEEDLESS.search(name))
    if packed and left:
        left = _not_zero(folder, left, {name.removesuffix(".weight") for name in odd})
    if left:
        raise RelapseError(
            f"{folder} has weights that the model has no place for: {_listed(left)}. Give the config.json that belongs "
            "to these weights: transformers would leave them out without a warning."
        )
    if wrong := sorted(one for one in report["mismatched_keys"] if one[0] not in odd):
        name, found, wanted = wrong[0]
        raise RelapseError(
            f"{folder}: {name} is {tuple(found)} in the files and {tuple(wanted)} by config.json: they do not belong "
            "together"
        )


def _counter(name: str, kind: str, shape: tuple[int, ...]) -> bool:
    """Whether a tensor is whole numbers that count or number something, and no weight."""
    return kind in ("I64", "I32", "BOOL") and (len(shape) < 2 or name.endswith("position_ids"))


def _weights(folder: Path) -> Formats:
    """The tensors in a folder's files that are no counters."""
    return {name: kind for name, kind in tensor_formats(folder).items() if not _counter(name, *kind)}


def must_be_plain(folder: Path) -> None:
    """Raise RelapseError for a checkpoint that is quantized already, which would count as full precision."""
    config, formats = read_config(folder), _weights(folder)
    nested = (config, config.get("text_config") or {})
    for how in (one.get(key) for one in nested for key in ("quantization_config", "compression_config")):
        if how:
            named = ", ".join(f"{key} {how[key]}" for key in ("quant_method", "format", "bits") if how.get(key))
            raise RelapseError(
                f"{folder} is quantized (its config.json has quantization_config: {named or 'of an unknown kind'}): "
                "give the model that it was made from. To score a checkpoint of scripts.quantize, use the quantizer's "
                "entry that made it."
            )
    odd = {name: kind for name, (kind, _) in formats.items() if kind not in PLAIN and not NEEDLESS.search(name)}
    if odd:
        name = min(odd)
        raise RelapseError(
            f"{folder} is quantized: its files hold {name} as {odd[name]}. Give the model that it was made from."
        )


def _report(folder: Path, stored: dict[str, tuple[int, ...]]) -> dict:
    """What transformers reports of weights of these names and shapes, without any being there."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    logger = logging.getLogger("transformers")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it would print the same report, as a warning
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        for part in (config, config.get_text_config()):
            if hasattr(part, "quantization_config"):
                del part.quantization_config
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config)
        tensors = {name: torch.empty(shape, device="meta") for name, shape in stored.items()}
        _, report = type(model).from_pretrained(
            None,
            config=model.config,
            state_dict=tensors,
            device_map={"": "meta"},
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except (OSError, ValueError) as error:  # transformers' words for a bad config.json
        raise RelapseError(f"cannot load the model in {folder}: {error}") from None
    finally:
        logger.setLevel(level)
    return report


def _not_zero(folder: Path, names: list[str], layers: set[str]) -> list[str]:
    """The names without biases of zeros, which AutoGPTQ stores beside every packed layer of a model that has none."""
    from safetensors import safe_open

    zero = set()
    for file in weight_files(folder):
        with safe_open(file, "pt") as tensors:
            for name in set(names) & set(tensors.keys()):
                if name.endswith(".bias") and name[: -len(".bias")] in layers and not tensors.get_tensor(name).any():
                    zero.add(name)
    return [name for name in names if name not in zero]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return f"{', '.join(names[:5])}{more}"
