"""What a package index shows: the readme in the wheel has no link that leads nowhere, and versions agree."""

import re
import tomllib
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from zipfile import ZipFile

import pytest
from hatchling.build import build_wheel

import hatch_build

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
REPOSITORY = PYPROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"]["repository"]
TARGETS = re.compile(r"(!?)\[[^\]]*\]\(([^)]+)\)")


@pytest.fixture
def metadata(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Message:
    """METADATA of the wheel that hatchling builds of this folder."""
    monkeypatch.chdir(ROOT)
    with ZipFile(tmp_path / build_wheel(str(tmp_path))) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(".dist-info/METADATA"))
        return message_from_bytes(wheel.read(name))


def test_links_of_the_wheels_page_lead_somewhere(metadata: Message) -> None:
    text = metadata.get_payload(decode=True).decode()
    assert text == hatch_build.wheel_readme(README, REPOSITORY)
    assert [target for _, target in TARGETS.findall(text) if not target.startswith("https:")] == []
    assert dict(url.split(", ") for url in metadata.get_all("Project-URL", [])) == hatch_build.project_urls(REPOSITORY)


def test_without_an_address_links_are_plain_text_and_there_is_no_picture() -> None:
    text = "a\n\n![b](b.png)\n\nc [d `e`](f.md#g), [h](https://h)\n"
    assert hatch_build.wheel_readme(text, "") == "a\n\nc d `e`, [h](https://h)\n"
    assert hatch_build.project_urls("") == {}


def test_with_an_address_links_and_pictures_lead_to_files_that_exist() -> None:
    assert TARGETS.search(README)
    expected = [
        (bang, f"https://x/{'raw' if bang else 'blob'}/main/{target}") for bang, target in TARGETS.findall(README)
    ]
    assert TARGETS.findall(hatch_build.wheel_readme(README, "https://x")) == expected
    assert hatch_build.project_urls("https://x").keys() == {"Repository", "Changelog"}


def test_citation_has_the_version_and_the_address_of_the_package() -> None:
    fields = dict(re.findall(r"^([a-z-]+): *(.*)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE))
    assert fields["version"] == PYPROJECT["project"]["version"]
    assert fields.get("repository-code", "").strip('"') == REPOSITORY
    assert f"bayesgmm-{fields['version']}-py3-none-any.whl" in README


def test_the_readme_is_short_and_begins_with_a_picture_and_code() -> None:
    lines = README.splitlines()
    assert len(lines) <= 100
    assert lines.index("```python") < 20
    assert next(line for line in lines if line.startswith("![")) in lines[:20]
