"""Run the benchmarks and write what they print, word for word, into benchmarks/README.md.

    uv run python -m benchmarks                 # every script, most of an hour on an idle machine
    uv run python -m benchmarks em nuts         # these; what stands there of the others stays
    uv run python -m benchmarks --quick --output quick.md

Each section says which processor it was measured on, when, with what versions, and how busy the machine was.
"""

import argparse
import ast
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPTS = [path.stem for path in sorted(HERE.glob("[!_]*.py"))]
FURTHER_RUNS = {  # beside the one without options
    "loo": [["--rows", "8000", "--whole"]],
    "partitions": [["--losses", "binder", "omari", "--no-shortcut"]],
    "quality": [["--pixels"]],
}
PACKAGES = ("bayesgmm", "numpy", "scipy", "numba", "scikit-learn", "nutpie", "pymc", "pytensor")
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
HEADER = """# Benchmarks

Each script compares side by side in one run and prints ratios. Seconds depend on the processor and its other work,
ratios less. `uv run python -m benchmarks` runs every script and writes this page, `uv run python -m benchmarks em nuts`
these two sections of it; the `--quick` mode of each script only shows that it runs. BLAS has one thread unless a script
says otherwise. Sections that do not name a processor are older: they come from a shared 2-core machine whose processor
was not written down.
"""


def processor() -> str:
    """Name of the processor, on Linux with the family and model that tell generations apart."""
    cpuinfo = Path("/proc/cpuinfo")
    known = dict(re.findall(r"^(.+?)\s*: (.+)$", cpuinfo.read_text(), flags=re.MULTILINE)) if cpuinfo.exists() else {}
    if "model name" in known:
        return f"{known['model name']} (family {known.get('cpu family')}, model {known.get('model')})"
    return platform.processor() or platform.machine()


def circumstances() -> str:
    """Processor, date, load and versions, of the moment."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return (
        f"Measured on {processor()}, {os.cpu_count()} cores{load} at the start, {time.strftime('%d %B %Y')}; "
        f"Python {platform.python_version()}, {packages}."
    )


def output(name: str, options: list[str]) -> str:
    """The command, and what it prints."""
    path = f"benchmarks/{name}.py"
    done = subprocess.run(
        [sys.executable, path, *options],
        cwd=HERE.parent,
        env=os.environ | THREADS,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return f"```text\n$ python {' '.join([path, *options])}\n{done.stdout.strip('\n')}\n```\n"


def section(name: str, *, quick: bool) -> str:
    """What a script says of itself, and the output of each of its runs."""
    docstring = ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text(encoding="utf-8")))
    where = circumstances()
    runs = [["--quick"]] if quick else [[], *FURTHER_RUNS.get(name, [])]
    printed = "\n".join(output(name, options) for options in runs)
    return f"## `benchmarks/{name}.py`\n\n{docstring}\n\n{where}\n\n{printed}"


def sections(text: str) -> dict[str, str]:
    """The sections of the page as it is, by the script that their headings name."""
    found = re.findall(r"^(## [^\n]*benchmarks/(\w+)\.py.*?)(?=^## |\Z)", text, flags=re.MULTILINE | re.DOTALL)
    return {name: section for section, name in found}


def page(by_name: Mapping[str, str]) -> str:
    """Header and sections, in the order of the scripts."""
    return "\n".join([HEADER, *(by_name[name].rstrip() + "\n" for name in SCRIPTS if name in by_name)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scripts", nargs="*", metavar="script", help=f"of {', '.join(SCRIPTS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="every script in its quick mode")
    parser.add_argument("--output", type=Path, help="the page to write; by default benchmarks/README.md")
    options = parser.parse_args()
    if unknown := set(options.scripts) - set(SCRIPTS):
        parser.error(f"no such script: {', '.join(sorted(unknown))}; there are {', '.join(SCRIPTS)}")
    if options.quick and not options.output:
        parser.error("figures of quick runs mean nothing: give them an --output of their own")
    target = options.output or HERE / "README.md"
    for name in options.scripts or SCRIPTS:
        begun = time.perf_counter()
        written = sections(target.read_text(encoding="utf-8")) if target.exists() else {}
        written[name] = section(name, quick=options.quick)
        target.write_text(page(written), encoding="utf-8")  # after each: what is measured is kept
        print(f"{name}: {time.perf_counter() - begun:.0f} s", flush=True)


if __name__ == "__main__":
    main()
