"""bitsandbytes through transformers: LLM.int8(), and 4-bit FP4 and NF4 in blocks of 64 weights.

The authors' released "4-bit" is this FP4 and their "8-bit" this int8. int8 quantizes the activations too, casts them to
float16, and picks its outlier columns over a whole batch, so that its scores depend on the evaluation's batch; FP4 and
NF4 quantize weights only. The output head is skipped. transformers imports bitsandbytes when a model is loaded.
"""

import logging
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from relapse.models import stored
from relapse.quantization import BACKENDS, DataFree, Grid, check_multiples, layer_shapes
from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.device import device
from relapse.runtime.errors import ConfigError, RelapseError

BLOCK = 64  # weights that share a scale in the 4-bit formats, along the flattened matrix
PACKED_ROWS = 32  # that its kernel for CPUs with AVX512-BF16 takes at a time


class BitsAndBytesSettings(QuantizerSettings):
    """A quantizer of this backend."""

    format: Literal["int8", "fp4", "nf4"] = Field(
        description="LLM.int8(), or one of the two 4-bit formats in blocks of 64 weights."
    )
    layer_compute: Literal["study", "float32"] = Field(
        "study",
        description="Number format in which layers of a 4-bit format multiply: the study's `compute`, or float32, "
        "which is bitsandbytes' default and what the paper's released code uses with a bfloat16 model. CPUs with "
        "AVX512-BF16 always multiply in bfloat16.",
    )


class BitsAndBytes(DataFree):
    """The library's own kernels, on the CPU or the GPU."""

    name = "bitsandbytes"
    packs = True
    settings = BitsAndBytesSettings
    examples = ({"format": "int8"}, {"format": "fp4"}, {"format": "nf4"}, {"format": "fp4", "layer_compute": "float32"})

    def check(self, shapes: dict[str, tuple[int, int]], settings: BitsAndBytesSettings) -> None:
        if settings.format == "int8" and settings.layer_compute != "study":
            raise ConfigError(
                f"layer_compute is {settings.layer_compute}, but format: int8 multiplies in int8 and float16: leave "
                "layer_compute out"
            )

    def load(self, model_dir: str | Path, settings: BitsAndBytesSettings, dtype: torch.dtype = torch.float32) -> Any:
        from bitsandbytes.functional import has_avx512bf16
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig

        # It would warn at every layer of every batch that int8 casts activations to float16.
        logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
        self.check({}, settings)
        stored.check(model_dir)
        wanted = settings.format
        compute = dtype if settings.layer_compute == "study" else torch.float32
        config = (
            BitsAndBytesConfig(load_in_8bit=True)
            if wanted == "int8"
            else BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=wanted, bnb_4bit_compute_dtype=compute)
        )
        try:
            model = AutoModelForCausalLM.from_pretrained(
                model_dir,
                quantization_config=config,
                dtype=dtype,
                device_map={"": device()},
                local_files_only=True,
                use_safetensors=True,
            )
        except (OSError, ValueError) as error:  # transformers' words for missing or unreadable files
            raise RelapseError(f"cannot load the model in {model_dir}: {error}") from None
        shapes = layer_shapes(model)
        if wanted != "int8" and device().type == "cpu" and has_avx512bf16():
            who, instead = f"bitsandbytes' {wanted} kernel for this CPU", "use format: int8, backend: rtn, or a GPU"
            check_multiples(shapes, PACKED_ROWS, BLOCK, who, instead)
        return model.eval()

    def rounded(self, weight: torch.Tensor, settings: BitsAndBytesSettings) -> torch.Tensor:
        import bitsandbytes.functional as kernels

        if settings.format == "int8":
            codes, largest, _ = kernels.int8_vectorwise_quant(weight.half())
            return codes.float() * (largest.float() / 127).unsqueeze(1)  # (out, in) * (out, 1)
        packed, state = kernels.quantize_4bit(weight.float().contiguous(), blocksize=BLOCK, quant_type=settings.format)
        return kernels.dequantize_4bit(packed, state)

    def grid(self, weight: torch.Tensor, settings: BitsAndBytesSettings) -> Grid:
        import bitsandbytes.functional as kernels

        if settings.format == "int8":
            _, largest, _ = kernels.int8_vectorwise_quant(weight.half())
            return Grid(torch.arange(-127.0, 128.0), (largest.float() / 127).unsqueeze(1).expand(weight.shape))
        _, state = kernels.quantize_4bit(weight.float().contiguous(), blocksize=BLOCK, quant_type=settings.format)
        scale = state.absmax.float().repeat_interleave(BLOCK)[: weight.numel()].reshape(weight.shape)
        return Grid(state.code.float().unique(), scale)


BACKENDS.register(BitsAndBytes())
