"""The help button opens the page's own documentation, in the language of the page."""

from __future__ import annotations

import pytest

from tests.ui.conftest import all_text
from ui.components import header


@pytest.mark.parametrize(("language", "words"), [("en", "Search words of the prompt"), ("zh", "按提示词搜索")])
def test_it_opens_the_documentation_of_the_page(studio, open_page, language, words):
    page = open_page("history")
    page.button_group(key="language_switch").set_value(language).run()
    assert words not in all_text(page)
    page.button(key="help").click().run()
    assert words in all_text(page) and not page.exception
    assert "](" not in "".join(one.value for one in page.markdown if words in one.value), "links lead nowhere from here"


def test_every_page_that_is_offered_exists_in_both_languages():
    for name in {*header.PAGES.values(), *header.MORE}:
        for language in ("en", "zh"):
            assert header.title_of(name, language), name
    missing = [name for name in header.MORE if not (header.DOCS / f"{name}.zh.md").is_file()]
    assert missing == ["glossary"], "the glossary has both languages in one page"


def test_images_and_links_are_taken_apart():
    text = "# A\n\n[中文](a.zh.md)\n\nsee [B](b.md) and [C](https://c.example)\n\n![d](screenshots/d.webp)\n\nend\n"
    assert [kind for kind, _ in header.parts(text)] == ["text", "image", "text"]
    first = next(header.parts(text))[1]
    assert "see **B** and [C](https://c.example)" in first and "中文" not in first
