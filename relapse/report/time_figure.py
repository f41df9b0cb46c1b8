"""Where the time goes: a bar per rule, split into imports, loading, quantizing, scoring and training."""

import matplotlib.pyplot as plt

from relapse.analysis.timings import REST, RuleTime, part_names
from relapse.report.style import BLUE, GREEN, ORANGE, PURPLE, QUIET, RC, RULE, VERMILION

COLOURS = {"imports": ORANGE, "load": PURPLE, "quantize": BLUE, "score": GREEN, "training": VERMILION, REST: RULE}
SPARE = "#b0b0b0"


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def title(rules: list[RuleTime]) -> str:
    """The finding in one line: all the time there was, and what took most of it."""
    total = sum(rule.seconds for rule in rules)
    if not total:
        return "No job took any time"
    text = f"{duration(total)} of work: {100 * rules[0].seconds / total:.0f} % in {rules[0].rule}"
    imports = sum(rule.parts.get("imports", 0.0) for rule in rules)
    return f"{text}, {100 * imports / total:.0f} % in imports" if imports else text


def time_figure(rules: list[RuleTime]) -> plt.Figure:
    """The figure. rules: as `read_timings` gives them; what jobs did not tell is grey."""
    parts = [*part_names(rules), REST]
    high = 1.35 + 0.34 * len(rules)
    with plt.rc_context(RC | {"axes.grid.axis": "x", "axes.spines.left": False}):
        figure = plt.figure(figsize=(7.6, high))
        axes = figure.add_axes((1.35 / 7.6, 0.5 / high, 5.0 / 7.6, 0.34 * len(rules) / high))
        for place, rule in enumerate(rules):
            left = 0.0
            for part in parts:
                seconds = rule.rest if part == REST else rule.parts.get(part, 0.0)
                axes.barh(place, seconds, 0.62, left, color=COLOURS.get(part, SPARE))
                left += seconds
            jobs = f"{rule.jobs} job{'' if rule.jobs == 1 else 's'}"
            axes.annotate(
                f"{duration(rule.seconds)}, {jobs}",
                (left, place),
                (4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=QUIET,
            )
        axes.set_yticks(range(len(rules)), [rule.rule for rule in rules])
        axes.tick_params(axis="y", labelcolor="black")
        axes.set_ylim(len(rules) - 0.4, -0.6)
        axes.set_xlabel("seconds, summed over jobs")
        figure.text(0.12 / 7.6, 1 - 0.15 / high, title(rules), fontsize=11.5, fontweight="bold", va="top")
        if len(parts) > 1:
            handles = [plt.Rectangle((0, 0), 1, 1, color=COLOURS.get(part, SPARE)) for part in parts]
            figure.legend(
                handles,
                parts,
                loc="upper left",
                bbox_to_anchor=(0.06 / 7.6, 1 - 0.4 / high),
                ncols=len(parts),
                fontsize=8.5,
                handlelength=1.1,
                columnspacing=1.3,
                handletextpad=0.5,
            )
    return figure
