"""Reference values for posteriors with several modes, by replica exchange that is independent of the package.

Run it: uv run python benchmarks/mode_references.py [--only NAME ...]
Four independent runs a set (benchmarks/_tempered_gibbs.py), from random rows. benchmarks/mode_references.json, which
benchmarks/modes.py and the tests read, gets the value, the Monte Carlo error and R-hat over the runs of each quantity,
and the rates of exchanges between powers (least, largest) and the round trips of each run. A set counts as a reference
if every run made ten round trips and R-hat is at most 1.02.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import arviz_stats as azs
import numpy as np
from _mode_cases import Case, cases
from _tempered_gibbs import Tempered, tempered

PATH = Path(__file__).with_suffix(".json")
N_RUNS, LEAST_TRIPS, MOST_R_HAT = 4, 10, 1.02


def mean_and_error(series: Any) -> tuple[float, float, float]:
    """Mean, Monte Carlo error and R-hat of draws (chain, draw); no error if they are constant."""
    if np.ptp(series) == 0.0:
        return float(series.mean()), 0.0, 1.0
    return float(series.mean()), float(azs.mcse(series)), float(azs.rhat(series))


def mixed(run: Tempered, r_hats: list[float]) -> bool:
    """Whether a run is a reference."""
    return min(run.round_trips) >= LEAST_TRIPS and max(r_hats) <= MOST_R_HAT


def reference(case: Case, *, sweeps: int, seed: int = 0) -> dict[str, Any]:
    """What is written of one set."""
    began = time.process_time()
    run = tempered(case.X, case.k, case.own_prior, sweeps=sweeps, seeds=[[seed, r] for r in range(N_RUNS)])
    found = {name: mean_and_error(of(run.draws, case.X)) for name, of in case.quantities.items()}
    return {
        "mixed": mixed(run, [r_hat for *_, r_hat in found.values()]),
        "quantities": {
            name: {"value": round(value, 6), "error": round(error, 6), "r_hat": round(r_hat, 4)}
            for name, (value, error, r_hat) in found.items()
        },
        "runs": N_RUNS,
        "sweeps": sweeps,
        "levels": len(run.powers),
        "least_power": round(float(run.powers[-1]), 4),
        "swap_rates": [round(rate, 3) for rate in run.swap_rates],
        "round_trips": run.round_trips,
        "processor_seconds": round(time.process_time() - began, 1),
    }


def told(key: str, found: dict[str, Any]) -> str:
    """One line a quantity."""
    rates, trips = "-".join(f"{rate:.2f}" for rate in found["swap_rates"]), " ".join(map(str, found["round_trips"]))
    return "\n".join(
        f"| {key} | {name} | {each['value']:.4f} | {each['error']:.4f} | {each['r_hat']:.3f} | {found['levels']} "
        f"| {rates} | {trips} | {found['processor_seconds']:.0f} | {'yes' if found['mixed'] else 'no'} |"
        for name, each in found["quantities"].items()
    )


def read() -> dict[str, Any]:
    """The references that are written, by the keys of the cases."""
    return json.loads(PATH.read_text())["references"] if PATH.exists() else {}


def main() -> None:
    """Make references, print them and write them after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="NAME", help="beginnings of sets, as they are printed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="one set, seconds, nothing is written")
    options = parser.parse_args()
    print("| data | quantity | value | error | R-hat | levels | exchanges | round trips | CPU s | reference |")
    print("|---" * 10 + "|", flush=True)
    if options.quick:
        case = next(cases())
        print(told(case.key, reference(case, sweeps=200)))
        return
    for case in cases():
        if case.sweeps and (options.only is None or case.key.startswith(tuple(options.only))):
            found = reference(case, sweeps=case.sweeps, seed=options.seed)
            print(told(case.key, found), flush=True)
            written = {"made_by": "benchmarks/mode_references.py", "references": read() | {case.key: found}}
            PATH.write_text(json.dumps(written, indent=1) + "\n")


if __name__ == "__main__":
    main()
