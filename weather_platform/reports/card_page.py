"""A model card as one HTML page that carries its pictures, for MLflow, which shows Markdown files as plain text.

What belongs here: the page around a card. What does not: the card's text (``domain.model_card``).
"""

from collections.abc import Mapping

from weather_platform.domain.model_card import with_pictures
from weather_platform.plots import data_address

_HEAD = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>Model card</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #22262b; max-width: 56rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto }
th, td { border: 1px solid #d9dde2; padding: .3rem .6rem }
th { background: #f4f6f8 }
img { max-width: 100% }
code { background: #f4f6f8; padding: .1rem .2rem; overflow-wrap: anywhere }
blockquote { border-left: 4px solid #d6604d; margin: 1rem 0; padding: .1rem 1rem; background: #fdf4f1 }
</style>
</head>
<body>
"""


def card_page(card: str, pictures: Mapping[str, bytes]) -> str:
    """The card as HTML; `pictures` are PNG by the names that the card has for them. HTML inside the card is text."""
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(with_pictures(card, lambda name: name))
    # After parsing: the parser looks at every character of an address, and a picture has a hundred thousand.
    for child in (child for token in tokens for child in token.children or () if child.type == "image"):
        child.attrs["src"] = data_address(pictures[str(child.attrs["src"])])
    return f"{_HEAD}{markdown.renderer.render(tokens, markdown.options, {})}</body>\n</html>\n"
