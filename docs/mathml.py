"""A hook of mkdocs: equations become MathML, so that no page needs a script to draw them."""

import html
import re

from latex2mathml.converter import convert

EQUATION = re.compile(r'<(span|div) class="arithmatex">\\([(\[])(.*?)\\[)\]]</\1>', re.DOTALL)


def on_page_content(content: str, **_: object) -> str:
    """The page with every equation that pymdownx.arithmatex has marked in MathML; a wide one scrolls by itself."""

    def drawn(found: re.Match) -> str:
        tag, kind, latex = found.groups()
        mathml = convert(html.unescape(latex.strip()), display="block" if kind == "[" else "inline")
        return f'<{tag} class="equation">{mathml}</{tag}>'

    return EQUATION.sub(drawn, content)
