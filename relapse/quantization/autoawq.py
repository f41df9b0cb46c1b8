"""AutoAWQ (deprecated upstream), for studies that must compare with checkpoints made with it. New work uses `awq`.

AutoAWQ needs an older transformers, so `quantize` runs in the environment `legacy`. Its checkpoints are scored in the
environment `gptqmodel`, whose kernels load them. `dequantized` needs neither.
"""

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
from relapse.quantization.folding import Folding
from relapse.quantization.legacy import readable, restore_config
from relapse.runtime.errors import RelapseError

CLIP_ROWS = 64  # its clipping search takes rows in batches of 256 or 64, and refuses another rest
GROUP_SIZES = (16, 32, 64, 128)  # that the kernels know which score its checkpoints


class AutoAwqSettings(CalibratedSettings):
    """A quantizer of this backend."""

    bits: Literal[4] = Field(4, description="Bits of a weight's code; AutoAWQ packs 4.")
    group_size: Literal[*GROUP_SIZES] = Field(  # type: ignore[valid-type]
        128, description="Weights that share a step: a divisor of every layer's input width."
    )


class AutoAWQ(Calibrated):
    """AutoAWQ's 4 bit with zero points, in its `gemm` format, with its clipping search."""

    name = "autoawq"
    environment = "legacy"
    evaluation_environment = "gptqmodel"
    libraries = ("autoawq",)
    settings = AutoAwqSettings
    examples = ({"group_size": 64},)

    def check(self, shapes: dict[str, tuple[int, int]], settings: AutoAwqSettings) -> None:
        check_group_size(shapes, settings.group_size, GROUP_SIZES)
        check_multiples(shapes, CLIP_ROWS, 1, "AutoAWQ", "use backend: awq")

    def quantize(
        self, model_dir: str | Path, settings: AutoAwqSettings, windows: Sequence[Sequence[int]], out_dir: str | Path
    ) -> None:
        from awq import AutoAWQForCausalLM
        from awq.quantize.quantizer import AwqQuantizer
        from awq.utils.module import get_op_name

        folding = Folding()
        # It joins all windows and cuts them again into blocks of this length.
        length = min(settings.sample_length, sum(map(len, windows)))
        long = [len(window) for window in windows if len(window) > length]
        if long:
            raise RelapseError(f"autoawq: a window has {max(long)} tokens, more than sample_length {length}")

        class Noting(AwqQuantizer):
            def _search_best_scale(self, module, *arguments, **named):
                before, layers, scale = super()._search_best_scale(module, *arguments, **named)
                block = get_op_name(self.model, module)
                folding.add(f"{block}.{before}", [f"{block}.{layer}" for layer in layers], scale)
                return before, layers, scale

        wanted = {"w_bit": settings.bits, "q_group_size": settings.group_size, "zero_point": True}
        try:
            with readable(model_dir) as folder:
                model = AutoAWQForCausalLM.from_pretrained(str(folder), torch_dtype=torch.float32)
            self.check(layer_shapes(model.model), settings)
            model.quantize(
                quant_config=wanted | {"version": "GEMM"},
                calib_data=[list(window) for window in windows],
                max_calib_samples=len(windows),
                max_calib_seq_len=length,
                quantizer_cls=Noting,
            )
        except (TypeError, ValueError, AssertionError, RuntimeError) as error:
            raise RelapseError(f"autoawq of {model_dir} failed ({error}): use backend: awq or gptq") from error
        model.save_quantized(str(out_dir))
        restore_config(out_dir, model_dir, model.quant_config.to_transformers_dict())
        folding.write(out_dir)
        copy_tokenizer(model_dir, out_dir)

    def load(self, model_dir: str | Path, settings: AutoAwqSettings, dtype: torch.dtype = torch.float32) -> Any:
        from transformers import AutoModelForCausalLM, AwqConfig

        self._must_be_quantized(model_dir)
        stored.check(model_dir, packed=True)
        # Without a GPU it would choose a kernel that computes in bfloat16; this one computes in float16.
        kernel = "auto" if torch.cuda.is_available() else "torch_awq"
        config = AwqConfig(bits=settings.bits, group_size=settings.group_size, backend=kernel)
        return AutoModelForCausalLM.from_pretrained(
            model_dir, dtype=dtype, local_files_only=True, device_map="auto", quantization_config=config
        ).eval()

    def dequantized(self, checkpoint: str | Path) -> dict[str, torch.Tensor]:
        self._must_be_quantized(checkpoint)
        return packed.dequantized(checkpoint, bits=4)


BACKENDS.register(AutoAWQ())
