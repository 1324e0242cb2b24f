"""Check the built site: local links lead somewhere, and a search for each public name finds its page."""

import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlparse

import bayesgmm
import bayesgmm.datasets


class Page(HTMLParser):
    """What a page links to, and what can be linked to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.anchors |= {name for name in (found.get("id"), found.get("name")) if name}
        self.targets += [found[key] for key in ("href", "src") if found.get(key)]


def broken_links(site: Path) -> list[str]:
    """Each local link without a file or anchor, as ``page: link``."""
    pages = {path: Page(path) for path in site.rglob("*.html") if "_static" not in path.parts}
    broken = []
    for path, page in pages.items():
        for target in page.targets:
            url = urlparse(target)
            if url.scheme or url.netloc:
                continue
            file = (path.parent / unquote(url.path)).resolve() if url.path else path
            anchors = pages[file].anchors if file in pages else {unquote(url.fragment)}
            if not file.exists() or (url.fragment and unquote(url.fragment) not in anchors):
                broken.append(f"{path.relative_to(site)}: {target}")
    return broken


def names_not_found(site: Path) -> list[str]:
    """Public names that the search index leads to no page of their own."""
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(re.fullmatch(r"Search\.setIndex\((.*)\)\s*", text, flags=re.DOTALL)[1])
    entries = ((f"{prefix}.{entry[4]}", entry[0]) for prefix, own in index["objects"].items() for entry in own)
    found = {name: index["docnames"][page] for name, page in entries}
    names = [f"bayesgmm.{name}" for name in bayesgmm.__all__ if name not in ("datasets", "exceptions", "style")]
    names += [f"bayesgmm.datasets.{name}" for name in bayesgmm.datasets.__all__]
    names += [f"bayesgmm.style.{name}" for name in bayesgmm.style.__all__ if name.islower()]
    names += [
        f"bayesgmm.exceptions.{name}"
        for name in vars(bayesgmm.exceptions)
        if name[0].isupper() and name.endswith(("Error", "Warning"))
    ]
    return [name for name in names if not found.get(name, "").endswith(f"/{name}")]


def main() -> None:
    """Exit with what is wrong, if anything is."""
    site = Path(sys.argv[1]).resolve()
    links, names = broken_links(site), names_not_found(site)
    if links or names:
        sys.exit("\n".join([*(f"broken link: {x}" for x in links), *(f"not found by a search: {x}" for x in names)]))
    print(f"{len(list(site.rglob('*.html')))} pages: links and searches for public names lead to their pages")


if __name__ == "__main__":
    main()
