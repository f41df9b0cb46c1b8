"""The keys that every `quantizers` entry of a study may have; a backend's own keys stand in its file."""

from typing import Annotated, Any

from pydantic import Field

from relapse.runtime.settings import UNIQUE, Settings

NOT_ROUNDING = ("methods", "keep")  # what a quantizer is applied to, and what is kept of it


class QuantizerSettings(Settings):
    """A quantizer; further keys are the backend's own."""

    backend: str = Field(
        description="Registered quantizer backend, such as full, rtn, bitsandbytes, gguf, gptq or prune.",
    )
    methods: Annotated[list[str], Field(json_schema_extra=UNIQUE)] | None = Field(
        None,
        description="Names of the entries of methods that it is applied to. Left out: all of them. It is always "
        "applied to target and retrain.",
    )
    keep: bool = Field(
        False,
        description="Whether to keep the checkpoints that a calibrated quantizer writes, in "
        "results/{study}/quantized/. Otherwise each is deleted after it is scored, except the target's, which "
        "absorption of every method needs. Other quantizers write none.",
    )

    def rounding(self) -> dict[str, Any]:
        """How weights are rounded, as plain values."""
        return {key: value for key, value in self.plain().items() if key not in NOT_ROUNDING}
