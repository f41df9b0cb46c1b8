"""The tokenizer beside a model: its own tokens, open at the end, and with a row in the embedding for each that occurs.

What transformers makes of a folder is held against the folder's tokenizer.json, which the model was trained with.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from relapse.runtime.errors import ConfigError, RelapseError

# Where tokenizers of different kinds differ: spaces, blank lines, digits, capitals, other scripts.
PROBE = "Ada Moss, born in  Lund\n\nin 1961:\tQuestion? Björk\u2019s \u6771\u4eac \u041a\u0430\u0437\u0430\u043d\u044c."
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json")  # of which a folder has one
CONVERTED = ("tokenizer.json", "vocab.json", "vocab.txt")


def load_tokenizer(path: Path, texts: Sequence[str] = ()):
    """Load the tokenizer that lies beside a model, with the tokens of its tokenizer.json where it has one.

    texts: what its tokens are compared on, beside `PROBE`. Raises RelapseError where there is none, or where it cannot
    be had with these tokens or without an end token behind every text.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    must_be_readable(Path(path))
    own = (Path(path) / "tokenizer.json").is_file()
    try:
        try:
            tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True)
            fits = _differs(tokenizer, path, texts) is None
        except Exception:  # each class has its own for files of another kind, or a package that it needs
            if not own:
                raise
            fits = False
        if not fits and own:  # the class that is named has another idea of how text is split
            tokenizer = PreTrainedTokenizerFast.from_pretrained(path, local_files_only=True)
    except Exception as error:
        raise RelapseError(f"cannot load a tokenizer from {path}: {type(error).__name__}: {error}") from None
    if (text := _differs(tokenizer, path, texts)) is not None:
        raise RelapseError(
            f"{path}: {type(tokenizer).__name__} of transformers and tokenizer.json make different tokens of "
            f"{text[:60]!r}: mend tokenizer_class in tokenizer_config.json (PreTrainedTokenizerFast takes "
            "tokenizer.json as it is)"
        )
    _open_at_its_end(tokenizer, path)
    return tokenizer


def must_be_readable(folder: Path) -> None:
    """Raise ConfigError for a folder without a tokenizer, of which transformers may make one that knows no word; and
    for one with a tokenizer.model alone where nothing here can read that."""
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise ConfigError(f"{folder} has no tokenizer: expected one of {', '.join(TOKENIZERS)}")
    if (folder / "tokenizer.model").is_file() and not any((folder / name).is_file() for name in CONVERTED):
        missing = [package for package in ("sentencepiece", "google.protobuf") if not _found(package)]
        if missing:
            raise ConfigError(
                f"{folder} has its tokenizer as tokenizer.model alone, which takes sentencepiece and protobuf to read. "
                'Convert it once where they are installed: python -c "from transformers import AutoTokenizer; '
                f"AutoTokenizer.from_pretrained('{folder}').save_pretrained('{folder}')\" writes tokenizer.json"
            )


def _found(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # of its parent
        return False


def _differs(tokenizer, path: Path, texts: Sequence[str]) -> str | None:
    """The first text that tokenizer.json gives other tokens; None if there is no such text, or no tokenizer.json."""
    from tokenizers import Tokenizer

    file = Path(path) / "tokenizer.json"
    if not file.is_file():
        return None
    own = Tokenizer.from_file(str(file))
    own.no_truncation()
    own.no_padding()
    for text in (PROBE, *texts):
        try:
            made = tokenizer(text, add_special_tokens=False)["input_ids"]
        except Exception:  # tokenizers' own: this class asks for tokens that the vocabulary does not have
            return text
        if made != own.encode(text, add_special_tokens=False).ids:
            return text
    return None


def _added(tokenizer) -> tuple[list[int], list[int]]:
    """The tokens that the tokenizer adds before and after a text."""
    plain, whole = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (False, True))
    places = [start for start in range(len(whole)) if whole[start : start + len(plain)] == plain]
    if not places:
        raise RelapseError(
            f"the tokenizer {type(tokenizer).__name__} gives a text other tokens when it adds special tokens: use a "
            "tokenizer that adds them before or after the text only"
        )
    place = places[0]
    return whole[:place], whole[place + len(plain) :]


def _open_at_its_end(tokenizer, path: Path) -> None:
    """Make the tokenizer add nothing after a text that a model continues: no end token (add_eos_token), no separator.

    In place. Raises RelapseError for a tokenizer that cannot be changed so.
    """
    from tokenizers import processors

    before, behind = _added(tokenizer)
    if not behind:
        return
    if getattr(tokenizer, "add_eos_token", False):
        tokenizer.add_eos_token = False
    if getattr(tokenizer, "is_fast", False) and _added(tokenizer)[1]:
        named = [(tokenizer.convert_ids_to_tokens(token), token) for token in before]
        template = [*(token for token, _ in named), "$A"]
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=template, special_tokens=named
        )
    if _added(tokenizer) != (before, []):
        raise RelapseError(
            f"{path}: the tokenizer adds {tokenizer.convert_ids_to_tokens(behind)} after every text, which ends a "
            "prompt before its answer: set add_eos_token to false in tokenizer_config.json"
        )


def check_vocabulary(model, tokenizer, origin: Path, texts: Sequence[str]) -> None:
    """Raise RelapseError where a token of `texts` has no row in the model's embedding; others need none."""
    rows = model.get_input_embeddings().weight.shape[0]
    if max(tokenizer.get_vocab().values()) < rows:
        return
    must_have_rows(lambda text: tokenizer(text)["input_ids"], tokenizer.convert_ids_to_tokens, rows, texts, origin)


def must_have_rows(encode, name, rows: int, texts: Sequence[str], origin: Path | str) -> None:
    """Raise RelapseError naming the first token of `texts` that an embedding of so many rows has no row for."""
    for text in texts:
        beyond = [token for token in encode(text) if token >= rows]
        if beyond:
            raise RelapseError(
                f"{origin}: the token {name(beyond[0])!r} ({beyond[0]}) of {text[:60]!r} has no row in the model's "
                f"embedding, which has {rows}: tokenizer and model do not belong together"
            )
