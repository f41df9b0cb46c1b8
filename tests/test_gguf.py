"""GGUF: held to llama.cpp's own quantizer byte for byte, and to what llama.cpp answers from a file."""

import ctypes
from pathlib import Path

import libgguf
import numpy as np
import pytest
import torch
import xllamacpp
from entries import quantizer_settings
from gguf_file import write
from tiny_llama import TINY_TEXT, build_tiny_llama
from transformers import AutoModelForCausalLM, AutoTokenizer

from relapse.quantization import BACKENDS
from relapse.quantization.gguf import BLOCKS
from relapse.runtime.errors import ConfigError

GGUF = BACKENDS.get("gguf")


@pytest.fixture(scope="module")
def awkward() -> np.ndarray:
    """Rows (32, 512) with what is easily got wrong: zeros, constants, two values, tiny, huge, ties, heavy tails."""
    generator = np.random.default_rng(0)
    rows = generator.normal(size=(32, 512), scale=0.1)
    rows[0], rows[1, :32], rows[2] = 0, 0, 0.5
    rows[3] = np.tile([1, -1], 256)
    rows[4] *= 1e-6
    rows[5] *= 1e5
    rows[6] = np.linspace(-8, 7.96875, 512)
    rows[7] = generator.standard_t(2, 512)
    return rows.astype(np.float32)


@pytest.mark.parametrize("name", BLOCKS)
def test_codes_are_llamacpps_own_byte_for_byte(awkward, name):
    library = ctypes.CDLL(str(next(Path(xllamacpp.__file__).parent.glob("*.so"))))
    quantize = library.ggml_quantize_chunk  # (type, source, destination, start, rows, row width, importance matrix)
    quantize.restype = ctypes.c_size_t
    quantize.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *[ctypes.c_int64] * 3, ctypes.c_void_p]
    kind = int(libgguf.GGMLQuantizationType[name.upper()])
    ours = libgguf.quantize_rows(awkward, kind)
    theirs = np.zeros_like(ours)
    assert quantize(kind, awkward.ctypes.data, theirs.ctypes.data, 0, *awkward.shape, None) == ours.nbytes
    assert (ours == theirs).all()
    rows = np.empty_like(awkward)
    back = getattr(library, f"dequantize_row_{name.replace('k', 'K')}")
    back.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
    back(theirs.ctypes.data, rows.ctypes.data, rows.size)
    assert torch.equal(
        GGUF.rounded(torch.from_numpy(awkward), quantizer_settings("gguf", format=name)), torch.from_numpy(rows)
    )


def test_q4_0_by_hand():
    """The largest weight by size, -1, becomes the code -8: a step of 1/8. 0.06 rounds to 0, 0.07 to a step."""
    weight = torch.zeros(1, 32)
    weight[0, :4] = torch.tensor([-1.0, 0.06, 0.07, 0.9])
    rounded = GGUF.rounded(weight, quantizer_settings("gguf", format="q4_0"))
    assert rounded[0, :4].tolist() == [-1.0, 0.0, 0.125, 0.875]


def test_a_width_that_does_not_fit_names_the_layer_and_what_fits():
    shapes = {"model.layers.0.q_proj": (128, 256), "model.layers.0.down_proj": (128, 384)}
    with pytest.raises(ConfigError, match=r"format q4_k .* blocks of 256, and layer model.layers.0.down_proj has 384"):
        GGUF.check(shapes, quantizer_settings("gguf", format="q4_k"))
    with pytest.raises(ConfigError, match=r"fit every layer: q4_0, q4_1, q8_0, iq4_nl\."):
        GGUF.check(shapes, quantizer_settings("gguf", format="q6_k"))
    GGUF.check(shapes, quantizer_settings("gguf", format="q8_0"))


def learned(folder: Path) -> Path:
    """The tiny Llama, wide enough for k-quants, after it has learned TINY_TEXT by heart."""
    build_tiny_llama(folder, hidden_size=256, intermediate_size=512)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    batches = [torch.tensor([tokenizer(text)["input_ids"]]) for text in TINY_TEXT]
    for _ in range(60):
        for tokens in batches:
            optimizer.zero_grad()
            model(tokens, labels=tokens).loss.backward()
            optimizer.step()
    model.save_pretrained(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", BLOCKS)
def test_llamacpp_answers_as_our_model_does(tmp_path, name):
    """It rounds activations to 8 bit as well, which decides no token of a text that the model knows by heart."""
    folder = learned(tmp_path / "model")
    write(folder, tmp_path / "model.gguf", name)
    params = xllamacpp.CommonParams()
    params.model.path = str(tmp_path / "model.gguf")
    params.n_ctx, params.n_parallel, params.cpuparams.n_threads, params.warmup = 128, 1, 1, False
    server = xllamacpp.Server(params)
    model = GGUF.load(folder, quantizer_settings("gguf", format=name))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text in TINY_TEXT:
        tokens = tokenizer(text)["input_ids"]
        prompt, length = tokens[:8], len(tokens) - 8
        ours = model.generate(torch.tensor([prompt]), max_new_tokens=length, do_sample=False, eos_token_id=None)
        answer = server.handle_completions(
            {"prompt": prompt, "max_tokens": length, "temperature": 0, "ignore_eos": True}
        )["choices"][0]["text"]
        assert answer == tokenizer.decode(ours[0, 8:]) == tokenizer.decode(tokens[8:])
