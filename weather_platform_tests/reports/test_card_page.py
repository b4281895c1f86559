from weather_platform.plots import data_address
from weather_platform.reports.card_page import card_page

PICTURE = b"\x89PNG not looked into"


def test_pictures_are_inside_the_page_and_tables_are_tables() -> None:
    page = card_page("# Rain\n\n| a | b |\n|---|---:|\n| x | 1 |\n\n![one](plots/one.png)\n", {"one": PICTURE})
    assert "<h1>Rain</h1>" in page
    assert "<td>x</td>" in page
    assert f'<img src="{data_address(PICTURE)}" alt="one"' in page
    assert page.rstrip().endswith("</html>")


def test_html_inside_a_card_is_shown_as_text() -> None:
    page = card_page("<script>alert(1)</script> and [a link](javascript:alert(1))", {})
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "href" not in page
