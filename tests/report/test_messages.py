"""Every sentence that users read stands in a `messages` module, where its first four words find it."""

import re
from collections.abc import Iterator
from enum import StrEnum
from html import unescape
from importlib import import_module
from pathlib import Path
from string import Formatter
from types import ModuleType

import pytest

import bayesgmm

FILES = sorted(Path(bayesgmm.__file__).parent.glob("*/messages.py"))
SOURCE = "\n".join(file.read_text(encoding="utf-8") for file in FILES)
MODULES = [import_module(f"bayesgmm.{file.parent.name}.messages") for file in FILES]
END = re.compile(r"(?<=\.)\s+(?=[A-Z{])")  # of a sentence, with a new one behind it
PARAGRAPH = re.compile(r"<(?:p|li)>(.*?)</(?:p|li)>")
WORDS = 4


def texts(value: object) -> Iterator[str]:
    """Everything written in a table, class or constant."""
    if isinstance(value, type) and issubclass(value, StrEnum):
        yield from (str(member) for member in value)
    elif isinstance(value, str):
        yield value
    elif isinstance(value, dict | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts(item)


def templates(module: ModuleType) -> list[str]:
    """The sentences of a module, one by one; parts of sentences do not end in a stop."""
    own = [value for name, value in vars(module).items() if not name.startswith("__")]
    found = [part for value in own for text in texts(value) for part in END.split(text)]
    return sorted({part for part in found if part.endswith(".")})


def literal_words(template: str) -> list[str]:
    """The words before the first value."""
    return next(iter(Formatter().parse(template)))[0].split()


def starts(text: str) -> str:
    return " ".join(text.split()[:WORDS])


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_a_sentence_begins_with_words_and_not_with_a_value(module: ModuleType) -> None:
    sentences = templates(module)
    assert sentences
    assert [text for text in sentences if len(literal_words(text)) < min(WORDS, len(text.split()) - 1)] == []


def test_every_sentence_of_a_report_is_found_by_its_first_words(text: str) -> None:
    paragraphs = [unescape(re.sub(r"<span.*?</span> |<[^>]+>", "", part)) for part in PARAGRAPH.findall(text)]
    sentences = [part for paragraph in paragraphs for part in END.split(paragraph)]
    assert len(sentences) > 20
    assert [part for part in sentences if starts(part) not in SOURCE and not part.startswith("Verdict: ")] == []
