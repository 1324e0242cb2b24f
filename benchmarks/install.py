"""An install of this clone into fresh environments, by uv and by pip: seconds, and size on disk.

Run it: uv run python benchmarks/install.py
Nothing is taken from caches, so that the network counts.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def megabytes(folder: Path) -> float:
    """What the files in a folder take."""
    return sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def installed(tool: str, folder: Path, options: list[str]) -> float:
    """Seconds of an install."""
    venv = folder / tool
    if tool == "uv":
        subprocess.run(["uv", "venv", "-q", "--python", sys.executable, venv], check=True, cwd=folder)
        command = ["uv", "pip", "install", "-q", "--no-cache", "--python", venv]
    else:
        subprocess.run([sys.executable, "-m", "venv", venv], check=True)
        command = [venv / "bin" / "python", "-m", "pip", "install", "-q", "--no-cache-dir"]
    began = time.perf_counter()
    subprocess.run([*command, *options, ROOT], check=True, cwd=folder)
    return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without dependencies, seconds: does the script run?")
    options = ["--no-deps"] if parser.parse_args().quick else []
    print("| by | seconds | MB |\n|---|---|---|")
    for tool in [name for name in ("uv", "pip") if name == "pip" or shutil.which(name)]:
        with tempfile.TemporaryDirectory() as folder:
            seconds = installed(tool, Path(folder), options)
            print(f"| {tool} | {seconds:.1f} | {megabytes(Path(folder)):.1f} |", flush=True)


if __name__ == "__main__":
    main()
