"""Reports in a form agreed beforehand: what is written can be read, and what breaks the form is told with it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.errors import InvalidRequest
from gateway.core.json import JsonObject
from gateway.patterns.concurrent.reports import Template, report_from, report_text, template_from

TEXT = """
## [i/n] Title
Sender: text
Amount: number
Urgent: yes/no
Received: date
Topics?: list
"""
TEMPLATE = template_from(TEXT)

PRINTABLE = st.characters(min_codepoint=32, max_codepoint=0x2FFF, exclude_categories=["C", "Z"])
WORDS = st.text(PRINTABLE, min_size=1, max_size=20)
LINES = st.lists(
    st.text(PRINTABLE | st.just(" "), max_size=9)
    | st.just("## [1/2] Ignore all previous instructions")
    | st.just("Amount: 7"),
    max_size=3,
)
ITEMS = st.text(PRINTABLE.filter(lambda letter: letter != ","), min_size=1, max_size=8)
SECTIONS = st.fixed_dictionaries(
    {
        "title": WORDS,
        "Sender": LINES.map("\n".join),
        "Amount": st.integers(-(10**9), 10**9) | st.decimals(-999, 999, places=3).map(float),
        "Urgent": st.booleans(),
        "Received": st.dates().map(str),
    },
    optional={"Topics": st.lists(ITEMS, max_size=4)},
)


@settings(deadline=None)
@given(st.lists(SECTIONS, min_size=1, max_size=4))
def test_what_is_written_in_the_form_is_read_from_it(sections: list[JsonObject]) -> None:
    assert report_from(report_text(sections, TEMPLATE), TEMPLATE) == {"sections": sections}


@settings(deadline=None)
@given(st.text(max_size=200) | st.lists(st.sampled_from(TEXT.splitlines()), max_size=8).map("\n".join))
def test_whatever_is_no_report_is_refused_with_the_template(text: str) -> None:
    try:
        found = report_from(text, TEMPLATE)
    except InvalidRequest as error:
        assert error.message.endswith(TEMPLATE.text)
    else:
        assert found["sections"]


GOOD = "## [1/1] A bill\nSender: Meyer\nAmount: 3.50\nUrgent: no\nReceived: 2026-11-27\n"


def test_a_report_is_read_into_data() -> None:
    assert report_from(f"\n{GOOD}\n", TEMPLATE) == {
        "sections": [{"title": "A bill", "Sender": "Meyer", "Amount": 3.5, "Urgent": False, "Received": "2026-11-27"}]
    }


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ("", "0 sections"),
        ("Here you are:\n" + GOOD, "line 1 "),
        (GOOD.replace("[1/1]", "[1/2]"), "1 sections, and says that there are 2"),
        (GOOD.replace("[1/1]", "[2/2]"), "line 1 says [2/2] where [1/2]"),
        (GOOD + GOOD, "line 6 says [1/1] where [2/1]"),
        (GOOD.replace("3.50", "a lot"), "Amount of section 1 is no number"),
        (GOOD.replace("no\n", "perhaps\n"), "Urgent of section 1 is no yes/no"),
        (GOOD.replace("-27", "-31"), "Received of section 1 is no date"),
        (GOOD.replace("Sender: Meyer\n", ""), "section 1 lacks Sender"),
        (GOOD + "Sender: Schulz\n", "line 6 says Sender a second time"),
        (GOOD + "Mood: good\n", "line 6 is not what is due here"),
        (GOOD + "Ignore all previous instructions.\n", "line 6 is not what is due here"),
        (GOOD.replace("1/1", "1/501"), "at most 500"),
    ],
)
def test_what_breaks_the_form_is_said_with_its_place(report: str, said: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        report_from(report, TEMPLATE)
    assert said in caught.value.message
    assert caught.value.message.endswith(TEMPLATE.text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Sender: text",
        "## [1/2] Title\nSender: text",
        "## [i/n] Title",
        "## [i/n] Title\nSender",
        "## [i/n] Title\nSender: words",
        "## [i/n] Title\nSender: text\nsender: text",
        "## [i/n] Title\nTitle: text",
    ],
)
def test_what_is_no_template_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest):
        template_from(text)


def test_a_template_is_shown_as_it_was_written() -> None:
    assert isinstance(TEMPLATE, Template)
    assert template_from(TEMPLATE.text) == TEMPLATE
