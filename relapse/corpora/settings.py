"""The keys that every `corpora` entry of a study may have; a source's own keys stand in its file."""

from typing import Literal

from pydantic import Field

from relapse.runtime.settings import Settings


class CorpusSettings(Settings):
    """A corpus; further keys are the source's own."""

    source: str = Field(
        description="Where the corpus comes from: a registered corpus source, such as synthetic or muse."
    )
    published: Literal["NEWS", "BOOKS"] | None = Field(
        None,
        description="The paper's corpus that this one is: its published numbers are set beside the measured ones, in "
        "tables/published.*. Left out: there are none.",
    )
