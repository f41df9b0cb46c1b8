"""The keys that every `methods` entry of a study may have; a method's own keys stand next to its losses."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from relapse.runtime.settings import UNIQUE, Count, Positive, Settings, Text, Whole
from relapse.unlearning.lora import Lora

Values = Annotated[list[Any], Field(min_length=1, description="Values that the key takes.", json_schema_extra=UNIQUE)]


class StopAt(Settings):
    """What a run must have reached before it stops early."""

    knowmem_forget: float = Field(
        gt=0, lt=1, description="KnowMem forget must have fallen to this share of the target's."
    )
    knowmem_retain: float | None = Field(
        None,
        gt=0,
        le=1,
        description="KnowMem retain must be at least this share of the target's; left out, it may be anything.",
    )


class MethodSettings(Settings):
    """An unlearning run; further keys are the method's own: alpha, beta, formulation, kl_direction, and SURE's mask,
    percentile and modules (paper, Eq. 4-6)."""

    model_config = ConfigDict(json_schema_extra={"oneOf": [{"required": ["steps"]}, {"required": ["epochs"]}]})

    method: str = Field(description="Registered method; the entry's own name where left out.")
    lr: Positive = Field(description="Learning rate, without weight decay; its peak where it varies.")
    optimizer: Literal["adamw_fused", "adamw_foreach", "adamw_8bit", "sign"] = Field(
        "adamw_fused",
        description="AdamW or signSGD. The kernel of AdamW matters where parameters and states are bfloat16 themselves "
        "(compute: bfloat16): adamw_fused rounds once a step; adamw_foreach, what `adamw_torch` of transformers 4.40 "
        "and so the released code runs on a GPU, rounds after every operation, so that other weights move. "
        "adamw_8bit: AdamW of bitsandbytes, with both moments in 8 bits (arXiv 2110.02861). sign: every weight moves "
        "by lr against the sign of its gradient (arXiv 1802.04434; for unlearning: arXiv 2510.00761).",
    )
    lr_schedule: Literal["constant", "linear"] = Field(
        "constant",
        description="The rate after the warm-up: constant, as in the paper's released code; or falling linearly to "
        "zero at the limit of steps, as transformers' Trainer has it by default.",
    )
    warmup_steps: Whole = Field(0, description="Steps in which the rate rises linearly to lr.")
    steps: Count | None = Field(None, description="Optimiser steps. Give either steps or epochs.")
    epochs: Count | None = Field(
        None, description="Passes over the windows of the forget text. Give either steps or epochs."
    )
    batch_size: Count = Field(
        8, description="Windows of forget text in a step, and as many of retain text: the effective batch."
    )
    micro_batch: Count | None = Field(
        None,
        description="Windows of each kind that go through the model at once; a step's gradients are added up over its "
        "batch. Left out: all of batch_size. On a GPU that is out of memory it halves by itself. Changes no result "
        "beyond rounding.",
    )
    gradient_checkpointing: bool = Field(
        False,
        description="Whether activations inside a block are computed again in the backward pass and not kept: about a "
        "third more time, far less memory. Changes no result.",
    )
    max_length: int = Field(
        2048, ge=8, description="Tokens in a window, at most the model's context; 2048 in the paper."
    )
    windows: Literal["packed", "concatenated"] = Field(
        "packed",
        description="How raw text becomes windows. packed: whole short texts are shuffled and joined, long ones cut, "
        "so that a window ends where a text does. concatenated: as the paper's released code has it, all texts are "
        "joined by blank lines and cut in order, whatever stands at the cut, and the last window is filled up with the "
        "beginning.",
    )
    retain_pairing: Literal["rotating", "fixed"] = Field(
        "rotating",
        description="Which of n_r retain windows stands beside forget window i. fixed: i mod n_r in every epoch, as "
        "the paper's released code has it, so that of a larger retain text only as much is used as there is forget "
        "text. rotating: the same in the first epoch, and later epochs go on through the retain text.",
    )
    storage: Literal["bfloat16", "bfloat16_stochastic", "bfloat16_kahan", "float32"] = Field(
        "bfloat16",
        description="Number format that the weights are rounded to between steps, and stored in: bfloat16 to nearest, "
        "as when a bfloat16 model is trained directly; bfloat16 stochastically, so that small steps survive on "
        "average; bfloat16 to nearest with Kahan's compensation, so that what was lost counts in the next step; or "
        "float32. With parameters: lora, what the merged weights are rounded to, once.",
    )
    region: Literal["all", "below_edge", "beyond_edge"] = Field(
        "all",
        description="Which values may move, a control: all; those that lie, in the target, below the edge from which "
        "on bfloat16 loses a step of lr; or those beyond it. Needs parameters: full.",
    )
    sam_rho: Positive | None = Field(
        None,
        description="Sharpness-aware minimization of the forget loss (arXiv 2502.05374): its gradient is taken at the "
        "weights moved by this distance along it, where the loss is higher. Left out: at the weights themselves.",
    )
    quantization_aware: Text | None = Field(
        None,
        description="Quantization-aware unlearning: every step computes its losses with the linear layers rounded by "
        "this quantizer, an entry of quantizers that needs no text, and changes the unrounded weights by the gradients "
        "(straight-through, arXiv 1308.3432). Left out: with the weights as they are.",
    )
    state_storage: Literal["bfloat16", "float32"] = Field(
        "float32",
        description="Number format of AdamW's two moments between steps. In bfloat16 the second one hardly decays: "
        "0.999 v rounds back to v, so that a large gradient once seen keeps steps small.",
    )
    parameters: Literal["full", "lora"] = Field(
        "full",
        description="What is trained: the model's own weights, or LoRA adapters of its linear layers, kept in float32 "
        "and merged in the end. The reference of NPO and KLR is then the model with its adapters switched off.",
    )
    lora: Lora = Field(Lora(), description="The adapters of parameters: lora; not read otherwise.")
    stop_at: StopAt | None = Field(
        None,
        description="Stop at the first look, in full precision, at which both conditions hold. Looks come every 10 "
        "steps at first and then whenever a tenth more steps have gone by. steps or epochs stay the limit. "
        "training.json, models.csv and the tables report which of the two ended the run, and what it missed. Left out: "
        "no look, steps ends the run.",
    )
    twin: Text | None = Field(
        None,
        description="Another entry that differs in storage alone, which is float32: recovery.csv has the part of the "
        "recovered share that goes beyond the twin's. Where it has a grid, such as its own, the point of it that does. "
        "Changes no model.",
    )
    grid: Annotated[dict[str, Values], Field(min_length=1)] | None = Field(
        None,
        description="Key -> list of values: one model for each combination, called NAME-KEYVALUE-..., such as "
        "npo_klr-lr5e-05-float32 for {lr: [5.0e-5], storage: [float32]}. The other keys are the same for all, and so "
        "is the order of the windows, which follows from the seed alone.",
    )
    reference: Literal["cache", "disk", "model"] = Field(
        "cache",
        description="The target's outputs, for NPO, KLR and others that compare with it. cache: computed once and kept "
        "in memory (with KLR, vocabulary values for every retain token, in the number format of compute). disk: logits "
        "in a temporary file below TMPDIR. model: computed at every step by a second resident model.",
    )
    max_grad_norm: Positive = Field(1.0, description="Norm that the gradient is clipped to.")
