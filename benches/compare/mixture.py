"""Gaussian mixtures against scikit-learn's BayesianGaussianMixture; and how our time and memory grow with the rows."""

import shutil
import time
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import BayesianGaussianMixture

import ours
from result import Result, alternate

COMPONENTS, DIMENSION = 32, 16
FAIR = (
    "Fair: the same model family (normal-wishart or normal-gamma components, Dirichlet weights), data, threads and number of "
    "iterations, f64 on both sides, initialisation and loading left out; ours includes every attempt of its extrapolation, "
    "and starts differ (an iteration of either costs the same anywhere)."
)


def generate(path, rows, seed):
    """Overlapping clusters, written in pieces so that ten million rows need no memory."""
    random = np.random.default_rng(seed)
    centres = 2.0 * random.standard_normal((COMPONENTS, DIMENSION))
    file = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(rows, DIMENSION))
    for start in range(0, rows, 200_000):
        stop = min(start + 200_000, rows)
        labels = random.integers(0, COMPONENTS, stop - start)
        file[start:stop] = centres[labels] + random.standard_normal((stop - start, DIMENSION))
    file.flush()


class Timed(BayesianGaussianMixture):
    """Notes the time at the end of every iteration."""

    def _compute_lower_bound(self, *arguments, **options):
        bound = super()._compute_lower_bound(*arguments, **options)
        self.times_.append(time.perf_counter())
        return bound


def peer(data, covariance, iterations):
    model = Timed(
        n_components=COMPONENTS,
        covariance_type=covariance,
        weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=1.0,
        max_iter=iterations,
        tol=0.0,
        init_params="random_from_data",
        random_state=0,
    )
    model.times_ = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(data)
    return (model.times_[-1] - model.times_[0]) / (len(model.times_) - 1)


def run(context):
    rows = context.size(200_000)
    file = context.folder / "mixture.npy"
    generate(file, rows, 1)
    data = np.load(file)
    for covariance, name, target, iterations in (("full", "mixture-full", 40.0, 10), ("diag", "mixture-diagonal", 15.0, 20)):
        model = context.model(name)
        mine, theirs = alternate(
            context.repetitions,
            lambda: ours.run("cavi", model, "--tolerance", 0, iterations=iterations).seconds_per_iteration(),
            lambda: peer(data, covariance, iterations),
        )
        yield Result(
            f"Gaussian mixture, {'full' if covariance == 'full' else 'diagonal'} covariance, N = {rows}, D = {DIMENSION}, K = {COMPONENTS}",
            "s per iteration",
            mine,
            "scikit-learn BayesianGaussianMixture",
            theirs,
            target=target,
            fair=FAIR,
        )


def run_scaling(context):
    """Time per row and memory at 1e5, 1e6 and 1e7 rows; one thread against two."""
    file = context.folder / "mixture.npy"
    model = context.model("mixture-full")
    per_row, memory = {}, {}
    for rows in map(context.size, (100_000, 1_000_000, 10_000_000)):
        generate(file, rows, 2)
        iterations = max(4, min(20, 4_000_000 // rows))
        run_ = ours.run("cavi", model, "--tolerance", 0, iterations=iterations)
        per_row[rows] = run_.seconds_per_iteration() / rows
        memory[rows] = run_.peak_bytes
    smallest, *_, largest = per_row
    yield Result(
        f"Mixture (full): nanoseconds per row and iteration at {', '.join(f'{n:.0e}' for n in per_row)} rows, from NPY",
        "ns",
        [1e9 * v for v in per_row.values()],
        "",
        [],
        fair="No peer: linear in the rows where the numbers are equal.",
        notes={"peak_memory_bytes": memory, "last_over_first": per_row[largest] / per_row[smallest]},
    )
    yield Result(
        f"Mixture (full): memory that the process allocates (without the mapped file) at {', '.join(f'{n:.0e}' for n in memory)} rows",
        "MiB",
        [m["RssAnon"] / 2**20 for m in memory.values()],
        "",
        [],
        fair="No peer: flat in the rows where the numbers are equal; up to 256 MiB of data are copied into memory, larger files are read in each pass.",
    )
    generate(file, context.size(200_000), 1)
    two, one = alternate(
        context.repetitions,
        lambda: ours.run("cavi", model, "--tolerance", 0, iterations=20),
        lambda: ours.run("cavi", model, "--tolerance", 0, iterations=20, threads=1),
    )
    yield Result(
        f"Mixture (full), N = {context.size(200_000)}: two threads against one",
        "s per iteration",
        [r.seconds_per_iteration() for r in two],
        "ours on one thread",
        [r.seconds_per_iteration() for r in one],
        target=1.7,
        fair="Fair: the same run twice; whether the two posteriors are the same to the bit stands below.",
        notes={"bitwise_equal": all(a.posterior() == b.posterior() for a, b in zip(two, one, strict=True))},
    )
    example = context.folder / "gmm.toml"
    shutil.copy(context.root / "models" / "gmm.toml", example)
    shutil.copytree(context.root / "models" / "data", context.folder / "data")
    yield Result(
        "`cavi run models/gmm.toml --restarts 10`, the whole process without pictures",
        "s",
        [ours.run("cavi", example, "--restarts", 10).wall_seconds for _ in range(context.repetitions)],
        "",
        [],
        fair="No peer: wall time from start to exit.",
    )
