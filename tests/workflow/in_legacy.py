"""Runs in the environment `legacy`: quantizes a model on fixed windows, or only runs it.

AutoGPTQ refuses to quantize without CUDA. Here the CPU takes the GPU's place: its check, its device and its wait for
the device are replaced, after which its own code runs to the end.
"""

import json
import sys

import torch

WINDOWS = torch.randint(2, 300, (12, 64), generator=torch.Generator().manual_seed(0)).tolist()


def take_the_cpu_for_a_gpu() -> None:
    import auto_gptq.modeling._base as base  # before the check is replaced: it looks for kernels

    base.CUDA_0 = torch.device("cpu")
    torch.cuda.is_available = lambda: True
    torch.cuda.synchronize = lambda device=None: None


def main() -> None:
    name, model_dir, settings, out = sys.argv[1:]
    if name == "logits":
        from safetensors.torch import save_file
        from transformers import AutoModelForCausalLM

        from relapse.quantization.legacy import readable

        with readable(model_dir) as folder:
            model = AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32).eval()
        with torch.no_grad():
            save_file({"logits": model(torch.tensor(WINDOWS)).logits}, out)
        return
    from relapse.quantization import BACKENDS

    if name == "autogptq":
        take_the_cpu_for_a_gpu()
    BACKENDS.get(name).quantize(model_dir, BACKENDS.settings(json.loads(settings) | {"backend": name}), WINDOWS, out)


if __name__ == "__main__":
    main()
