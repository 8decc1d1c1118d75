"""A Gaussian hidden Markov model against hmmlearn's VariationalGaussianHMM."""

import time

import numpy as np
from hmmlearn.vhmm import VariationalGaussianHMM

import ours
from result import Result, alternate

STATES, DIMENSION, ITERATIONS = 10, 4, 7


def generate(path, rows):
    random = np.random.default_rng(3)
    jumps = np.where(random.random(rows) < 0.95, 0, random.integers(1, STATES, rows))
    states = np.cumsum(jumps) % STATES
    means = 3.0 * random.standard_normal((STATES, DIMENSION))
    factors = np.eye(DIMENSION) + 0.4 * random.standard_normal((STATES, DIMENSION, DIMENSION))
    noise = random.standard_normal((rows, DIMENSION))
    np.save(path, means[states] + np.einsum("tij,tj->ti", factors[states], noise))


class Timed(VariationalGaussianHMM):
    """Notes the time at the end of every iteration."""

    def _do_mstep(self, stats):
        super()._do_mstep(stats)
        self.times_.append(time.perf_counter())


def peer(data, implementation):
    model = Timed(
        n_components=STATES, covariance_type="full", n_iter=ITERATIONS, tol=-np.inf, random_state=0, implementation=implementation
    )
    model.times_ = []
    model.fit(data)
    return (model.times_[-1] - model.times_[0]) / (len(model.times_) - 1)


def run(context):
    rows = context.size(200_000)
    file = context.folder / "hidden-markov.npy"
    generate(file, rows)
    data = np.load(file)
    model = context.model("hidden-markov")
    mine, log, scaling = alternate(
        context.repetitions,
        lambda: ours.run("cavi", model, "--tolerance", 0, iterations=ITERATIONS).seconds_per_iteration(),
        lambda: peer(data, "log"),
        lambda: peer(data, "scaling"),
    )
    fair = (
        "Fair: the same priors, data and number of iterations; hmmlearn's recursions are C++ on one thread and cannot use the "
        "second, its emissions are NumPy."
    )
    for name, theirs, target in (("default, log space", log, 8.0), ("implementation='scaling'", scaling, None)):
        yield Result(
            f"Gaussian HMM, full covariance, T = {rows}, D = {DIMENSION}, K = {STATES}",
            "s per iteration",
            mine,
            f"hmmlearn VariationalGaussianHMM ({name})",
            theirs,
            target=target,
            fair=fair,
        )
