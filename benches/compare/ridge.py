"""Bayesian ridge regression against scikit-learn's BayesianRidge, from the file to the posterior."""

import time

import numpy as np
from sklearn.linear_model import BayesianRidge

import ours
from result import Result, alternate

INPUTS = 50


def generate(path, rows):
    random = np.random.default_rng(5)
    table = np.lib.format.open_memmap(path, mode="w+", dtype=np.float64, shape=(rows, INPUTS + 1))
    coefficients = random.standard_normal(INPUTS)
    for start in range(0, rows, 100_000):
        stop = min(start + 100_000, rows)
        x = random.standard_normal((stop - start, INPUTS))
        table[start:stop, :INPUTS] = x
        table[start:stop, INPUTS] = x @ coefficients + 0.5 * random.standard_normal(stop - start)
    table.flush()


def peer(file):
    begin = time.perf_counter()
    table = np.load(file)
    model = BayesianRidge().fit(table[:, :INPUTS], table[:, INPUTS])
    return time.perf_counter() - begin, model.coef_


def run(context):
    rows = context.size(1_000_000)
    file = context.folder / "ridge.npy"
    generate(file, rows)
    model = context.model("ridge")
    mine, theirs = alternate(context.repetitions, lambda: ours.run("cavi", model), lambda: peer(file))
    difference = np.abs(np.array(mine[0].posterior()["beta"]["mean"]) - theirs[0][1]).max()
    yield Result(
        f"Bayesian ridge, N = {rows}, D = {INPUTS}, end to end from NPY",
        "s",
        [r.wall_seconds for r in mine],
        "scikit-learn BayesianRidge",
        [seconds for seconds, _ in theirs],
        target=3.0,
        fair=(
            "Fair, in the peer's favour: ours is the whole process with its start, checks and output files, the peer's np.load and fit "
            "without starting Python or importing; each to its own default tolerance, and the coefficients agree."
        ),
        notes={
            "largest_difference_of_coefficients": float(difference),
            "our_seconds_per_iteration_after_the_first": [r.seconds_per_iteration() for r in mine],
            "our_peak_memory_bytes": mine[0].peak_bytes,
        },
    )
