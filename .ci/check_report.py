"""Open reports in a real headless browser, on a wide screen and on a phone, light and dark.

Every check is also shown a page with a planted fault, and must find it. A missing browser is an error.

    python .ci/check_report.py [--screenshots FOLDER] [FILE.html ...]     without files: reports made here
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from browser import NoBrowserError, Tab, headless

WIDTHS = (1200, 390)  # a phone's is the smaller
SCHEMES = ("light", "dark")
LEAST_CONTRAST = 4.5  # WCAG 2.2, level AA, for text of normal size
LEAST_POINTS = 7.95  # 8, as rounded, of labels in figures
LEAST_IMAGES = 4  # figures of a whole report

# Text whose colour stands out too little from the ground behind it: contrast, text.
CONTRAST = """
(() => {
  const parse = text => (text.match(/[\\d.]+/g) || []).map(Number);
  const ground = element => {
    for (let e = element; e; e = e.parentElement) {
      const [r, g, b, a = 1] = parse(getComputedStyle(e).backgroundColor);
      if (a > 0.99) return [r, g, b];
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [18, 18, 18] : [255, 255, 255];
  };
  const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const luminance = rgb => 0.2126 * channel(rgb[0]) + 0.7152 * channel(rgb[1]) + 0.0722 * channel(rgb[2]);
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    if (!text) continue;
    const element = walker.currentNode.parentElement;
    const [a, b] = [luminance(parse(getComputedStyle(element).color)), luminance(ground(element))];
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < LEAST) faint.push(`${contrast.toFixed(2)}: ${text.slice(0, 40)}`);
  }
  return faint;
})()
""".replace("LEAST", str(LEAST_CONTRAST))
GROUND = "getComputedStyle(document.body).backgroundColor.match(/[\\d.]+/g).slice(0, 3).map(Number)"
SCROLLS = """[...document.querySelectorAll("body *")].filter(e => e.scrollWidth > e.clientWidth + 1
  && ["auto", "scroll"].includes(getComputedStyle(e).overflowX)).map(e => e.textContent.slice(0, 40))"""
# Grounds of figures, and inks of their text, that are as light in one scheme as in the other.
FIGURES = """[...document.querySelectorAll("figure")].filter(e =>
  ["rgb(0, 0, 0)", "rgb(34, 34, 34)"].includes(getComputedStyle(e.querySelector("text") || e).fill)
  || getComputedStyle(e).backgroundColor == "rgb(255, 255, 255)").map(e => e.ariaLabel)"""
SMALL = """[...document.querySelectorAll("p, li, td, th, a, code")]
  .filter(e => e.textContent.trim() && parseFloat(getComputedStyle(e).fontSize) < 12)
  .map(e => e.textContent.slice(0, 40))"""
# Text of figures that is too small as it is shown: size in points, text. Exponents are smaller than their numbers.
LABELS = """[...document.querySelectorAll("figure text, figure tspan")].filter(e => e.getClientRects().length
    && [...e.childNodes].some(n => n.nodeType == 3 && n.textContent.trim())).flatMap(e => {
  const m = e.getScreenCTM(), size = parseFloat(getComputedStyle(e).fontSize) * Math.hypot(m.a, m.b) * 0.75;
  const exponent = e.closest("text").querySelector("tspan") && size < 0.8 * Math.max(...[...e.closest("text")
    .querySelectorAll("tspan")].map(t => parseFloat(getComputedStyle(t).fontSize))) * Math.hypot(m.a, m.b) * 0.75;
  return size < LEAST && !exponent ? [`${size.toFixed(1)}: ${e.textContent.trim().slice(0, 20)}`] : [];
})""".replace("LEAST", str(LEAST_POINTS))

FAULTS = {
    "console": "<script>console.error('planted')</script>",
    "exception": "<script>throw new Error('planted')</script>",
    "network": "<img alt='a' src='http://192.0.2.1/none.png'>",
    "image": "<img alt='a' src='data:image/png;base64,AAAA'>",
    "alt": "<svg></svg><img src='data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw=='>",
    "width": "<div style='width: 900px'>wide</div>",
    "contrast": "<p style='color: #888; background: #777'>faint</p>",
    "scrolls": "<div style='width: 200px; overflow-x: auto'><p style='width: 300px'>aside</p></div>",
    "figures": "<figure style='background: white'></figure>",
    "labels": "<figure><svg viewBox='0 0 600 9' width='300'><text style='font: 9px serif'>a</text></svg></figure>",
    "small": "<p style='font-size: 7px'>small</p>",
    "dark": "<style>body { background: #fff !important; color: #000 !important }</style>",
    "few": "",
}


def problems(tab: Tab, page: Path, *, width: int, scheme: str) -> dict[str, list[str]]:
    """What is wrong with a page in one window, by kind."""
    tab.open(page.as_uri(), width=width, scheme=scheme)
    found: dict[str, list[str]] = {
        **_said(tab, page),
        "image": tab.value("[...document.images].filter(i => !(i.complete && i.naturalWidth)).map(i => i.alt)"),
        "alt": tab.value(
            "[...document.querySelectorAll('img, figure')].filter(e => !(e.alt || e.ariaLabel || '').trim())"
            ".map(e => e.outerHTML.slice(0, 40))"
        ),
        "contrast": tab.value(CONTRAST),
        "labels": tab.value(LABELS),
        "small": tab.value(SMALL),
        "scrolls": tab.value(SCROLLS) if width == min(WIDTHS) else [],
        "figures": tab.value(FIGURES) if scheme == "dark" else [],
        "width": _too_wide(tab, width),
        "dark": _wrong_ground(tab, scheme),
        "few": _too_few(tab),
    }
    return {kind: said for kind, said in found.items() if said}


def _said(tab: Tab, page: Path) -> dict[str, list[str]]:
    """Errors and warnings of the console, exceptions, and whatever was asked of a network."""
    said: dict[str, list[str]] = {"console": [], "exception": [], "network": []}
    for event in tab.events:
        method, parameters = event.get("method"), event.get("params", {})
        if method == "Runtime.consoleAPICalled":
            said["console"].append(json.dumps(parameters["args"])[:200])
        elif method == "Log.entryAdded":
            said["console"].append(parameters["entry"]["text"])
        elif method == "Runtime.exceptionThrown":
            said["exception"].append(str(parameters["exceptionDetails"].get("text")))
        elif method == "Network.requestWillBeSent":
            url = parameters["request"]["url"]
            said["network"] += [] if url.startswith("data:") or url.split("#")[0] == page.as_uri() else [url]
    return said


def _too_wide(tab: Tab, width: int) -> list[str]:
    """A phone widens innerWidth to what does not fit, so that the window's own width is what counts."""
    widest = max(tab.value("[document.documentElement.scrollWidth, innerWidth]"))
    return [f"{widest} pixels in a window of {width}"] if widest > width else []


def _wrong_ground(tab: Tab, scheme: str) -> list[str]:
    ground = tab.value(GROUND)
    right = max(ground) < 80 if scheme == "dark" else min(ground) > 200
    return [] if right else [f"{scheme} scheme on {ground}"]


def _too_few(tab: Tab) -> list[str]:
    n, headings = tab.value("['figure', 'h2'].map(name => document.querySelectorAll(name).length)")
    return [] if n >= LEAST_IMAGES and headings >= n else [f"{n} figures under {headings} headings"]


def planted_faults_missed(tab: Tab, folder: Path) -> list[str]:
    """Kinds of faults that are not found where they are."""
    missed = []
    for kind, html in FAULTS.items():
        page = folder / f"{kind}.html"
        style = "<style>:root { color-scheme: light dark }</style>"
        page.write_text(f"<!DOCTYPE html><meta name=viewport content='width=device-width'>{style}<body>{html}</body>")
        found = [problems(tab, page, width=min(WIDTHS), scheme=scheme) for scheme in SCHEMES]
        missed += [] if any(kind in each for each in found) else [kind]
    return missed


def reports(folder: Path) -> Iterator[Path]:
    """A report of each kind, made now: by the command line, of EM, and of awkward data with awkward names."""
    import numpy as np
    import pandas as pd

    from bayesgmm import BayesianGaussianMixture, GaussianMixture
    from bayesgmm.datasets import load_old_faithful

    rows = load_old_faithful()
    rows.to_csv(folder / "geyser.csv", index=False)
    command = ["fit", "geyser.csv", "--components", "2", "--seed", "1", "--output", "out", "--report", "--quiet"]
    subprocess.run([sys.executable, "-m", "bayesgmm.cli", *command], check=True, cwd=folder)
    yield folder / "out" / "report.html"
    GaussianMixture(2, random_state=0).fit(rows).report(folder / "em.html", rows)
    yield folder / "em.html"
    rng = np.random.default_rng(0)
    names = ["<script>alert(1)</script>", "x" * 80, "a & b", 'quoted "name"', "e"]
    wide = pd.DataFrame(rng.normal(size=(150, 5)) + 5.0 * rng.integers(0, 3, (150, 1)), columns=pd.Index(names))
    fit = BayesianGaussianMixture(3, random_state=1, progress=False).fit(wide)
    fit.report(folder / "names.html", title="<script>alert(2)</script>")
    yield folder / "names.html"


def check(tab: Tab, page: Path, pictures: Path | None) -> int:
    """Look at a page in every window; how many problems there are, which are printed."""
    count = 0
    for width in WIDTHS:
        for scheme in SCHEMES:
            found = problems(tab, page, width=width, scheme=scheme)
            for kind, said in found.items():
                print(f"{page.name}, {width} pixels, {scheme}: {kind}: {'; '.join(said[:5])}")
            count += len(found)
            if pictures:
                tab.screenshot(pictures / f"{page.stem}-{width}-{scheme}.png")
    return count


def main() -> int:
    """Exit status 1 where a report has a problem or a planted fault is missed, 2 without a browser."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path)
    parser.add_argument("--screenshots", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    if given.screenshots:
        given.screenshots.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory() as folder, headless() as tab:
            missed = planted_faults_missed(tab, Path(folder))
            pages = [path.resolve() for path in given.files] or list(reports(Path(folder)))
            count = sum(check(tab, page, given.screenshots) for page in pages)
    except NoBrowserError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2
    for kind in missed:
        print(f"A planted fault was not found: {kind}")
    windows, seconds = len(WIDTHS) * len(SCHEMES), time.perf_counter() - start
    print(f"{len(pages)} reports in {windows} windows: {count} problems, in {seconds:.0f} s")
    return int(bool(count or missed or not pages))


if __name__ == "__main__":
    sys.exit(main())
