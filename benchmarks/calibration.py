"""Simulation-based calibration of default fits: both samplers, full and diagonal covariances.

Run it: uv run python benchmarks/calibration.py                    # 500 simulations a line, all cores
        uv run python benchmarks/calibration.py --figure docs/images/calibration.png

K = 2, D = 2, 60 rows, the default prior. "smallest p" is that of the quantity whose ranks depart most from uniform,
"limit" the p-value below which a quantity counts as uncalibrated: 1e-3 divided by the number of quantities.
"""

import argparse
from pathlib import Path

from _measuring import timed

from bayesgmm import calibrate

LINES = [(inference, family) for inference in ("nuts", "gibbs") for family in ("full", "diag")]
HEADER = "| sampler | family | simulations | quantities | smallest p | of | limit | not converged | s |\n|" + "---|" * 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=500, help="a line")
    parser.add_argument("--quick", action="store_true", help="8 simulations of one line, to see that it runs")
    parser.add_argument("--folder", type=Path, help="where finished simulations are kept, to go on from")
    parser.add_argument("--figure", type=Path, help="where to draw the first line")
    options = parser.parse_args()
    n, lines = (8, LINES[2:3]) if options.quick else (options.simulations, LINES)
    print(HEADER)
    for inference, family in lines:
        path = options.folder and options.folder / f"{inference}_{family}.nc"
        model = {"n_rows": 60, "n_components": 2, "n_features": 2, "covariance_type": family, "inference": inference}
        how = {"n_simulations": n, "random_state": 1, "n_jobs": 1 if options.quick else -1, "path": path}
        (seconds, _), found = timed(lambda model=model, how=how: calibrate(**model, **how))
        worst = found.table["p_value"].idxmin()
        bad = int((~found.tree["prior_sbc"]["converged"]).sum())
        print(
            f"| {inference} | {family} | {found.n_simulations} | {len(found.table)} | "
            f"{found.table['p_value'].min():.4f} | {worst} | {found.limit:.1e} | {bad} | {seconds:.0f} |",
            flush=True,
        )
        if options.figure and (inference, family) == LINES[0]:
            found.plot().savefig(options.figure, dpi=110)


if __name__ == "__main__":
    main()
