"""The study in a few lines of text: retained knowledge of the utility-constrained methods at every precision."""

import textwrap

from relapse.analysis.retained import AVERAGE, KNOWLEDGE, Reader, Retained
from relapse.analysis.study import Study

WIDTH = 100


def _paragraph(text: str) -> str:
    return "\n".join(textwrap.wrap(text, WIDTH))


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _interval(study: Study, reader: Reader) -> str:
    """What the brackets hold, and what it is about."""
    if len(study.seeds) > 1:
        return f"95 % t interval over {len(study.seeds)} seeds, training runs on the same corpus"
    unit = "people, all examples about one together" if reader.grouped else "examples"
    return f"95 % interval of a paired bootstrap over {unit}; it does not cover another training run"


def headline(study: Study, rows: list[Retained], reader: Reader, statements: dict[str, str]) -> str:
    """The text of headline.txt.

    statements: corpus -> its own description. `reader` has read the records, so that it knows how many examples
    there are. bitsandbytes' formats stand apart from round-to-nearest; nothing is averaged over quantizers.
    """
    average = {row.quantizer: row for row in rows if row.model == AVERAGE}
    if not average:
        return "This study has no utility-constrained method, so that there is no average of retained knowledge.\n"

    def lines(names: list[str]) -> list[str]:
        width = max(map(len, study.quantizers))
        return [
            f"  {name:<{width}}  {row.value:6.1f} %   [{row.ci_low:.1f}, {row.ci_high:.1f}]"
            if row.value is not None
            else f"  {name:<{width}}       –     (the target knows nothing under it)"
            for name, row in ((name, average[name]) for name in names if name in average)
        ]

    own = [name for name, entry in study.quantizers.items() if entry["backend"] in ("full", "rtn")]
    others = [name for name in study.quantizers if name not in own]
    text = [
        "Retained knowledge of the utility-constrained methods (100 % = the target at the same precision)",
        "",
        *lines(own),
    ]
    if set(others) & set(average):
        text += ["", "Other quantizers, each on a line of its own and in no average with the above:", *lines(others)]
    text += [
        "",
        _paragraph(
            f"Reconstructed average: (VerMem forget + KnowMem forget) summed over {', '.join(study.averaged)} and "
            f"{_count(len(study.corpora), 'corpus').replace('corpuss', 'corpora')}, divided by the same sum for the "
            f"target. {_count(len(study.seeds), 'seed')}. In brackets the {_interval(study, reader)}."
        ),
    ]
    for corpus in study.corpora:
        verbmem, knowmem = (len(reader.examples[corpus, metric]) for metric in KNOWLEDGE)
        statement = f"{corpus}: {statements[corpus].rstrip('.')}; " if statements.get(corpus) else f"{corpus}: "
        text.append(_paragraph(f"{statement}{verbmem} VerMem prompts and {knowmem} KnowMem questions on forget."))
    text.append(
        _paragraph(
            "The paper reports 21 % in full precision and 83 % at 4 bit for 7B models on MUSE; those are its numbers, "
            "and it does not define its average."
        )
    )
    return "\n".join(text) + "\n"
