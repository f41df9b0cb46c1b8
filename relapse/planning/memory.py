"""How much memory a job takes, from a model's shape and the job's settings, before anything is loaded.

It counts what training, unlearning, scoring and quantizing hold at the same time: weights, gradients, optimiser states,
activations saved for the backward pass, logits, key-value caches, a reference. All sizes are in bytes. Python and its
imports are not counted (about 0.4 GB; with CUDA about 1 GB of host memory more). plan.py lists a study's jobs, fit.py
compares them with the machine.

The counts are those of Llama blocks in transformers: RMSNorm, scaled dot-product attention, SwiGLU. Other architectures
have nearly the same in other places.
"""

from collections.abc import Mapping

from relapse.models.files import Architecture
from relapse.training.settings import TrainedModel
from relapse.unlearning.methods import METHODS
from relapse.unlearning.saliency import Sure
from relapse.unlearning.settings import MethodSettings

STORED = 2  # bytes of a weight on disk: bfloat16
MOMENTS = {"sign": 0.0, "adamw_8bit": 2 * (1 + 4 / 256)}  # bytes a weight, with a float32 maximum for every 256
LOGIT_COPIES = 3  # of (tokens, V) float32 at once, from picking the real tokens to the gradient of a cross-entropy
KL_COPIES = 4  # more of them: the reference's logits, both sides' log-probabilities, the divergence
SCORE_COPIES = 2  # of (tokens, V) float32 when log-probabilities alone are wanted
LINEAR_IN_BLOCK = 7  # queries, keys, values, output; gate, up, down
FIXED = 8e6  # buffers of the libraries


def saved_per_token(model: Architecture, width: int, checkpointing: bool, frozen: bool = False) -> int:
    """Bytes saved for the backward pass for each token, with numbers of `width` bytes.

    With checkpointing every block keeps its input alone, and one block at a time is computed again.
    """
    block, norm = saved_by_block(model, width, frozen), (2 if frozen else 3) * model.hidden * width
    return norm + (model.layers * model.hidden * width + block if checkpointing else model.layers * block)


def saved_by_block(model: Architecture, width: int, frozen: bool = False) -> int:
    """Bytes that one block saves for each token.

    Its input, the two norms' scaled and final outputs (without the scaled ones where the norms are frozen),
    queries, keys, values, the attention's output, the sum after it; and four in SwiGLU. In bfloat16 both norms
    compute on a float32 copy of their input.
    """
    numbers = (6 if frozen else 8) * model.hidden + 2 * model.key_values + 4 * model.intermediate
    return numbers * width + (2 * model.hidden * 4 if width < 4 else 0)


def working_per_token(model: Architecture) -> int:
    """Numbers alive at once for each token in a forward pass without gradients."""
    return 3 * model.hidden + max(3 * model.intermediate, 2 * model.hidden + 2 * model.key_values)


def loading(model: Architecture, width: int, on_gpu: bool = False) -> float:
    """A model while it is loaded: its weights, and on the CPU the file they are read from."""
    return model.parameters * (width + (0 if on_gpu else STORED))


def training(model: Architecture, settings: TrainedModel, width: int, on_gpu: bool = False) -> float:
    """Training of target or retrain. settings: the models entry; width: bytes of a number in `compute`."""
    tokens = settings.batch_size * settings.max_length
    weights = model.parameters * width
    passing = tokens * (saved_per_token(model, width, False) + model.vocabulary * (4 * LOGIT_COPIES + width))
    updating = 4 * weights + largest(model, width)
    last = 3 * weights + last_block(model, width, tokens)
    return FIXED + max(loading(model, width, on_gpu), 3 * weights + passing, last, updating)


def last_block(model: Architecture, width: int, tokens: int) -> float:
    """What the backward pass holds in the first block, its last: nearly all gradients, and that block's activations."""
    gradients = model.parameters - model.vocabulary * model.hidden - 4 * model.hidden**2
    return width * (gradients + tokens * 3 * model.intermediate) + tokens * saved_by_block(model, width)


def largest(model: Architecture, width: int) -> float:
    """The largest weight, of which an update keeps a copy for a moment."""
    return max(model.vocabulary * model.hidden, model.hidden * model.intermediate) * width


def unlearning(
    model: Architecture, settings: MethodSettings, width: int, tokens: Mapping[str, int], on_gpu: bool = False
) -> float:
    """An unlearning run. settings: the methods entry; tokens: half ("forget", "retain") -> tokens of its windows.

    on_gpu: what the accelerator holds; a reference kept in memory is not there.
    """
    method = METHODS.get(settings.method)
    adapted, length = settings.parameters == "lora", settings.max_length
    windows = min(settings.micro_batch or settings.batch_size, settings.batch_size)
    weights = model.parameters * width
    sure = settings if isinstance(settings, Sure) else None
    trained: float = adapters(model, settings.lora.rank) * 4 if adapted else weights
    masked = sure if sure and sure.mask in ("paper", "random") else None
    if masked and not adapted:
        trained = kept_by_sure(model, masked.percentile) * width
    blocks = method.trained(settings)
    if blocks is not None and not adapted:
        trained = model.linear * len(blocks) / model.layers * width
    needs = method.reference_needs(settings)

    def passing(each: int, *parts: str) -> float:
        """Memory of a forward and backward pass over this number of windows of each of these parts."""
        seen = each * len(parts) * length
        size = seen * saved_per_token(model, width, settings.gradient_checkpointing, adapted)
        size += seen * model.vocabulary * (LOGIT_COPIES * 4 + width)
        copies = method.copies + sum(KL_COPIES for part in parts if needs[part] == "logits")
        return size + each * length * model.vocabulary * 4 * copies

    halves = method.halves
    kept = 0.0
    if settings.reference == "model" and {"logits", "hidden"} & set(needs.values()):
        kept = 0.0 if adapted else weights
    elif settings.reference == "cache" and not on_gpu:
        kept = reference_table(model, settings, width, tokens)
    rows, states = beside_gradients(settings, width), between_steps(settings, width)
    unrounded = model.linear * width if settings.quantization_aware else 0
    peak = max(
        weights + states * trained + passing(windows, *halves) + rows * trained + unrounded,
        weights + (states + 1 + rows) * trained + largest(model, width) + unrounded,
        0
        if adapted or masked or blocks is not None
        else (states + 1) * weights
        + rows * trained
        + unrounded
        + last_block(model, width, windows * len(halves) * length),
    )
    if masked:
        # Beside their sum in float32: what a part saves, and in the end its gradients with what the first block saved.
        begun, done = passing(windows, "forget"), last_block(model, width, windows * length)
        peak = max(peak, weights + model.linear * 4 + max(begun, done))
    if adapted:
        merged = model.linear * 4 if settings.storage == "float32" else model.linear * width
        peak = max(peak, weights - model.linear * width + merged + trained + 2 * largest(model, 4))
    return FIXED + kept + max(peak, loading(model, width, on_gpu))


def beside_gradients(settings: MethodSettings, width: int) -> float:
    """What a step keeps beside the gradient, in float32, in weights that are trained."""
    in_float32 = 4 / width
    if settings.sam_rho is not None:  # the forget gradient at the weights, that uphill, and the weights to go back to
        return 2 * in_float32 + 1
    kept = in_float32 if isinstance(settings, Sure) and settings.mask == "row" else 0.0  # the forget gradient
    windows = min(settings.micro_batch or settings.batch_size, settings.batch_size)
    if windows < settings.batch_size and width < 4 and settings.parameters != "lora":
        kept += in_float32 - 1  # the sum of a batch's parts, where a part's gradient is let go as it is added
    return kept


def between_steps(settings: MethodSettings, width: int) -> float:
    """The optimiser's states, and copies that rounding or a task vector keeps, in weights that are trained."""
    states = MOMENTS.get(settings.optimizer, 2 * width) / width + (2 if settings.storage == "bfloat16_kahan" else 0)
    # The target; the reinforced weights while the negated ones are looked at.
    return states + (2 if METHODS.get(settings.method).negated else 0)


def adapters(model: Architecture, rank: int) -> int:
    """Parameters of LoRA adapters on every linear layer."""
    ins_and_outs = 6 * model.hidden + 2 * model.key_values + 3 * (model.hidden + model.intermediate)
    return rank * model.layers * ins_and_outs


def kept_by_sure(model: Architecture, percentile: float) -> float:
    """Parameters of the linear layers, taken as equal, whose saliency is at or above a percentile of them all."""
    modules = LINEAR_IN_BLOCK * model.layers
    kept = int((modules - 1) * (1 - percentile / 100)) + 1
    return model.linear * kept / modules


def reference_table(model: Architecture, settings: MethodSettings, width: int, tokens: Mapping[str, int]) -> float:
    """The reference's logits, or hidden states, for every window whose loss asks for them."""
    needs = METHODS.get(settings.method).reference_needs(settings)
    widths = {"logits": model.vocabulary, "hidden": model.hidden}
    return sum(tokens[part] * widths[need] * width for part, need in needs.items() if need in widths)


def scoring(
    model: Architecture,
    width: int,
    batch_size: int,
    longest: Mapping[str, tuple[int, int, int]],
    on_gpu: bool = False,
) -> float:
    """Scoring under one quantizer, with de-quantized weights; packed ones take less.

    longest: what is generated or scored -> (number of texts, longest text in tokens, new tokens; 0 where its
    tokens are scored).
    """
    peak = loading(model, width, on_gpu)
    for texts, prompt, new in longest.values():
        rows = min(batch_size, texts)
        working = rows * prompt * working_per_token(model) * width
        if new:
            caches = rows * (prompt + new) * 2 * model.key_values * model.layers * width
            passing = caches + working
        else:
            passing = working + rows * prompt * model.vocabulary * (4 * SCORE_COPIES + width)
        peak = max(peak, model.parameters * width + passing)
    return FIXED + peak


def calibrating(model: Architecture, tokens: int, longest: int, on_gpu: bool = False) -> float:
    """A calibrated quantizer, which computes in float32: weights, what its windows are inside, a block's Hessians.

    tokens: of all windows; longest: of the longest.
    """
    hessians = (6 * model.hidden**2 + model.intermediate**2) * 4
    inside = 2 * tokens * model.hidden * 4 + longest * working_per_token(model) * 4
    return FIXED + loading(model, 4, on_gpu) + inside + 2 * hessians


def comparing(model: Architecture, checkpoints: bool = False) -> float:
    """Absorption: one weight of target and model at a time, in float32, with its grids, codes and sizes.

    checkpoints: those of a calibrated quantizer, two of which are held whole, de-quantized.
    """
    held = model.parameters * 4 + loading(model, 4) if checkpoints else 0
    return FIXED + held + 20 * largest(model, 4)
