"""AutoGPTQ (archived upstream), for studies that must compare with checkpoints made with it. New work uses `gptq`.

AutoGPTQ needs CUDA. This module turns its files into a directory that other loaders read. `quantize` runs in the
environment `legacy`; checkpoints are scored in the environment `gptqmodel`. `dequantized` needs neither.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field

from relapse.models import stored
from relapse.quantization import (
    BACKENDS,
    Calibrated,
    check_group_size,
    check_multiples,
    copy_tokenizer,
    layer_shapes,
    packed,
)
from relapse.quantization.calibration import CalibratedSettings
from relapse.quantization.legacy import readable, restore_config
from relapse.runtime.errors import RelapseError
from relapse.runtime.settings import Positive

PACKED = 32  # rows and inputs that it packs at a time; what is left over it would drop without a word
GROUP_SIZES = (16, 32, 64, 128, 256, 512, 1024)  # that the kernels know which score its checkpoints


class AutoGptqSettings(CalibratedSettings):
    """A quantizer of this backend."""

    bits: Literal[4, 8] = Field(4, description="Bits of a weight's code.")
    group_size: Literal[*GROUP_SIZES] = Field(  # type: ignore[valid-type]
        128, description="Weights that share a step: a divisor of every layer's input width."
    )
    symmetric: bool = Field(
        True,
        description="true: codes around the middle of their range; false: with a zero point for each group.",
    )
    act_order: Literal["weight", "none"] = Field(
        "none",
        description="Order in which columns are rounded. none: from left to right. weight: those with the largest "
        "activations first, in groups that follow that order (AutoGPTQ's desc_act).",
    )
    dampening: Positive = Field(0.01, description="Share of the Hessian's mean diagonal that is added to its diagonal.")


class AutoGPTQ(Calibrated):
    """AutoGPTQ on every linear layer inside the blocks."""

    name = "autogptq"
    environment = "legacy"
    evaluation_environment = "gptqmodel"
    libraries = ("auto-gptq",)
    needs_gpu = (
        "AutoGPTQ quantizes on a CUDA GPU only, and there is none here: use gptq-int4 (backend: gptq), the maintained "
        "way, which runs on a CPU too"
    )
    settings = AutoGptqSettings
    examples = ({"group_size": 64}, {"bits": 8, "group_size": 32, "symmetric": False, "act_order": "weight"})

    def check(self, shapes: dict[str, tuple[int, int]], settings: AutoGptqSettings) -> None:
        check_group_size(shapes, settings.group_size, GROUP_SIZES)
        check_multiples(shapes, PACKED, PACKED, "AutoGPTQ", "use backend: gptq")

    def quantize(
        self, model_dir: str | Path, settings: AutoGptqSettings, windows: Sequence[Sequence[int]], out_dir: str | Path
    ) -> None:
        if not torch.cuda.is_available():
            raise RelapseError(self.needs_gpu)
        from auto_gptq import AutoGPTQForCausalLM, BaseQuantizeConfig

        config = BaseQuantizeConfig(**quantize_config(settings))
        samples = [torch.tensor([list(window)]) for window in windows]
        examples = [{"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in samples]
        try:
            with readable(model_dir) as folder:
                model = AutoGPTQForCausalLM.from_pretrained(str(folder), config, torch_dtype=torch.float16)
            self.check(layer_shapes(model.model), settings)
            model.quantize(examples, batch_size=1)
        except (TypeError, ValueError, AssertionError, RuntimeError) as error:
            raise RelapseError(f"autogptq of {model_dir} failed ({error}): use backend: gptq") from error
        model.save_quantized(str(out_dir), use_safetensors=True)
        finish(Path(out_dir), model_dir, settings)
        copy_tokenizer(model_dir, out_dir)

    def load(self, model_dir: str | Path, settings: AutoGptqSettings, dtype: torch.dtype = torch.float32) -> Any:
        from transformers import AutoModelForCausalLM, GPTQConfig

        self._must_be_quantized(model_dir)
        stored.check(model_dir, packed=True)
        # Without a GPU it would choose a kernel that computes in bfloat16.
        kernel = "auto" if torch.cuda.is_available() else "torch"
        return AutoModelForCausalLM.from_pretrained(
            model_dir,
            dtype=dtype,
            local_files_only=True,
            device_map="auto",
            quantization_config=GPTQConfig(bits=settings.bits, backend=kernel),
        ).eval()

    def dequantized(self, checkpoint: str | Path) -> dict[str, torch.Tensor]:
        self._must_be_quantized(checkpoint)
        config = json.loads((Path(checkpoint) / "config.json").read_text(encoding="utf-8"))
        return packed.dequantized(checkpoint, config["quantization_config"]["bits"])


def quantize_config(settings: AutoGptqSettings) -> dict[str, Any]:
    """An entry's keys under AutoGPTQ's names."""
    return {
        "bits": settings.bits,
        "group_size": settings.group_size,
        "desc_act": settings.act_order == "weight",
        "sym": settings.symmetric,
        "damp_percent": settings.dampening,
    }


def finish(folder: Path, model_dir: str | Path, settings: AutoGptqSettings) -> None:
    """Give what AutoGPTQ saved the names that AutoModelForCausalLM looks for.

    Its weights become model.safetensors, and the config.json of the model in `model_dir` records how they were made.
    """
    weights = folder / f"gptq_model-{settings.bits}bit-{settings.group_size}g.safetensors"
    weights.rename(folder / "model.safetensors")
    how = {"quant_method": "gptq", "checkpoint_format": "gptq"} | quantize_config(settings)
    restore_config(folder, model_dir, how)


BACKENDS.register(AutoGPTQ())
