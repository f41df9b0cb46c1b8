"""Attacks: ways to bring forgotten knowledge back, or to tell whether it is there. One file per attack.

An attack is applied to a loaded model, which is then scored in the same process: it changes weights in place, or the
way in which the model is asked. Quantizers are attacks too, but of a kind of their own (`relapse/quantization/`): they
are how models are deployed. This package defines the interface; the study lists which models are attacked.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from relapse.corpora.corpus import Corpus
from relapse.metrics import METRICS, Evaluated
from relapse.quantization.settings import QuantizerSettings
from relapse.runtime.registry import Registry
from relapse.runtime.settings import UNIQUE, Settings, Text

ATTACKS: "Registry[Attack]" = Registry("attack", "relapse.attacks", named_by="attack")


class AttackSettings(Settings):
    """An attack; further keys are its own."""

    attack: str = Field(description="Registered attack: noise, orthogonal, relearn or sample.")
    under: Text = Field(
        "full",
        description="The quantizer of the attacked model: the name of its entry. One that needs no calibration text.",
    )
    methods: Annotated[list[str], Field(json_schema_extra=UNIQUE)] | None = Field(
        None,
        description="Names of the entries of methods that it is applied to. Left out: all of them. It is always "
        "applied to target and retrain.",
    )


@dataclass(frozen=True)
class Attacked:
    """What an attack may look at: the loaded model and its corpus, the target's folder, and a quantizer it names."""

    run: Evaluated
    target: Path | None = None
    quantizer: QuantizerSettings | None = None


class Attack:
    """What every attack gives.

    `name` is the value of `attack:` in the config, `settings` the class of such an entry, `examples` the own keys of
    some small ones. changes_weights: `apply` does, so that they must not be packed. needs_quantizer: `quantizer` in its
    settings names one. needs_target: it compares with the target's weights.
    """

    name: str
    settings: type[AttackSettings]
    examples: tuple[dict[str, Any], ...]
    changes_weights: ClassVar[bool] = True
    needs_quantizer: ClassVar[bool] = False
    needs_target: ClassVar[bool] = False

    def named_quantizer(self, settings: Any) -> str | None:
        """The quantizer that an entry names, where the attack needs one."""
        return settings.quantizer if self.needs_quantizer else None

    def check(self, corpus: Corpus, settings: Any) -> None:
        """Raise ConfigError where a corpus has not what the attack needs."""

    def apply(self, attacked: Attacked, settings: Any) -> None:
        """Change the model in place."""

    def takes(self, shape: Any, settings: Any, width: int, on_gpu: bool) -> tuple[float, float, int]:
        """Beside scoring once: bytes at the peak, floating-point operations, and how many times the model is scored.

        shape: planning's Architecture; width: bytes of a number in `compute`.
        """
        return 0.0, 0.0, 1

    def metrics(self, metrics: Mapping[str, Settings]) -> dict[str, Settings]:
        """The metrics that are scored, of those that a study has."""
        return dict(metrics)

    def records(self, name: str, attacked: Attacked, entry: Settings, settings: Any) -> list[dict]:
        """A metric's per-example records, of the model as it is now. entry: the metric's settings."""
        return METRICS.get(name).records(attacked.run, entry)


NO_ATTACK = Attack()
