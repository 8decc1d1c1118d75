"""Linear-Gaussian models and hidden Markov chains against BayesPy, as its documentation writes them."""

import contextlib
import io
import time

import numpy as np
from bayespy.inference import VB
from bayespy.nodes import Categorical, CategoricalMarkovChain, Dirichlet, Dot, Gamma, Gaussian, GaussianARD, GaussianMarkovChain
from bayespy.nodes import Mixture, SumMultiply

import ours
from result import Result, alternate

ROWS = 20_000
# The most iterations of ours to a measurement; BayesPy's are far fewer where one takes seconds.
ITERATIONS = 20
INPUTS = 2
# The state-space model: measured and latent coordinates, the share of the cells that is kept where some are missing.
OUTPUTS, LATENT, PRESENT = 30, 10, 0.2


def per_iteration(inference, iterations=ITERATIONS):
    """Mean seconds of an iteration after the first."""
    with contextlib.redirect_stdout(io.StringIO()):
        inference.update(repeat=1, tol=None)
        begin = time.perf_counter()
        inference.update(repeat=iterations, tol=None)
    return (time.perf_counter() - begin) / iterations


def pca(data, directions):
    """`doc/source/examples/pca.rst` without its optional rotations."""
    rows, outputs = data.shape
    score = GaussianARD(0, 1, shape=(directions,), plates=(1, rows))
    relevance = Gamma(1e-5, 1e-5, plates=(directions,))
    loading = GaussianARD(0, relevance, shape=(directions,), plates=(outputs, 1))
    noise = Gamma(1e-5, 1e-5)
    y = GaussianARD(Dot(loading, score), noise)
    y.observe(np.ascontiguousarray(data.T))
    loading.initialize_from_random()
    return per_iteration(VB(y, loading, score, relevance, noise))


def regression(data):
    """`doc/source/examples/regression.rst`."""
    beta = GaussianARD(0, 1e-6, shape=(INPUTS,))
    noise = Gamma(1e-3, 1e-3)
    y = GaussianARD(SumMultiply("i,i", beta, data[:, :INPUTS]), noise)
    y.observe(data[:, INPUTS])
    return per_iteration(VB(y, beta, noise))


def states_gaussian(data):
    """`doc/source/examples/hmm.rst`, the second model: unknown transitions, known Gaussian emissions."""
    start, transition = Dirichlet(1e-3 * np.ones(3)), Dirichlet(1e-3 * np.ones((3, 3)))
    state = CategoricalMarkovChain(start, transition, states=len(data))
    y = Mixture(state, Gaussian, CENTRES, 0.25 * np.identity(2))
    y.observe(data)
    return per_iteration(VB(y, state, transition, start), 3)


def states_categorical(symbols):
    """`doc/source/examples/hmm.rst`, the first model: everything known but the states."""
    state = CategoricalMarkovChain([0.6, 0.4], [[0.7, 0.3], [0.4, 0.6]], states=len(symbols))
    y = Mixture(state, Categorical, [[0.1, 0.4, 0.5], [0.6, 0.3, 0.1]])
    y.observe(symbols)
    return per_iteration(VB(y, state), 3)


def state_space(data):
    """`doc/source/examples/lssm.rst` without its optional rotations."""
    rows = len(data)
    persistence = Gamma(1e-5, 1e-5, plates=(LATENT,))
    dynamics = GaussianARD(0, persistence, shape=(LATENT,), plates=(LATENT,))
    state = GaussianMarkovChain(np.zeros(LATENT), 1e-3 * np.identity(LATENT), dynamics, np.ones(LATENT), n=rows)
    relevance = Gamma(1e-5, 1e-5, plates=(LATENT,))
    loading = GaussianARD(0, relevance, shape=(LATENT,), plates=(OUTPUTS, 1))
    loading.initialize_from_random()
    noise = Gamma(1e-5, 1e-5)
    y = GaussianARD(Dot(loading, state), noise)
    seen = np.isfinite(data.T)
    y.observe(np.where(seen, data.T, 0.0), mask=True if seen.all() else seen)
    return per_iteration(VB(state, loading, relevance, dynamics, persistence, noise, y), 2)


CENTRES = np.array([[0.0, 0.0], [3.0, 4.0], [6.0, 0.0]])


def chain_of_states(random, rows, stay):
    """A path through as many states as `stay` has probabilities to stay."""
    states = np.zeros(rows, dtype=int)
    chances, steps = random.random(rows), random.integers(1, len(stay), rows)
    for n in range(1, rows):
        before = states[n - 1]
        states[n] = before if chances[n] < stay[before] else (before + steps[n]) % len(stay)
    return states


def oscillators(random, rows):
    """Two noisy oscillators, a random walk and white noise, seen through thirty random combinations with noise of sd 3."""
    w = 0.3
    step = np.zeros((4, 4))
    step[:2, :2] = [[np.cos(w), -np.sin(w)], [np.sin(w), np.cos(w)]]
    step[2, 2] = 1.0
    loading = random.standard_normal((OUTPUTS, 4))
    states = np.empty((rows, 4))
    states[0] = 10.0 * random.standard_normal(4)
    for n in range(1, rows):
        states[n] = step @ states[n - 1] + np.array([1.0, 1.0, 10.0, 10.0]) * random.standard_normal(4)
    return states @ loading.T + 3.0 * random.standard_normal((rows, OUTPUTS))


def low_rank(random, rows, outputs, directions, noise):
    scores = random.standard_normal((rows, directions))
    return scores @ random.standard_normal((directions, outputs)) + noise * random.standard_normal((rows, outputs))


FAIR = "the same model and factorisation, an iteration updates every factor once and computes the bound on both sides"
FROM_SUMS = (
    f"Fair: {FAIR}; BayesPy is NumPy with two BLAS threads and goes through the rows in every iteration, ours sums over them "
    "once, before the first iteration, because no cell is missing."
)
RECURSION = f"Fair: {FAIR}; BayesPy's recursion along the rows is a loop in Python, the rest NumPy with two BLAS threads."


def run(context):
    rows = context.size(ROWS)
    random = np.random.default_rng(7)
    narrow, wide = low_rank(random, rows, 10, 3, 0.3), low_rank(random, rows, 20, 2, 0.1)
    table = np.column_stack([np.ones(rows), random.standard_normal(rows)])
    table = np.column_stack([table, table @ [1.0, 2.0] + random.standard_normal(rows)])
    measured = CENTRES[chain_of_states(random, rows, [0.9, 0.9, 0.9])] + 2.0 * random.standard_normal((rows, 2))
    weather = chain_of_states(random, rows, [0.7, 0.6])
    symbols = np.where(weather == 0, random.choice(3, rows, p=[0.1, 0.4, 0.5]), random.choice(3, rows, p=[0.6, 0.3, 0.1]))
    full = oscillators(random, rows)
    sparse = np.where(random.random(full.shape) < PRESENT, full, np.nan)
    for name, data in (("pca", narrow), ("pca-wide", wide), ("regression", table), ("states-gaussian", measured)):
        np.save(context.folder / f"{name}.npy", data)
    np.savetxt(context.folder / "states-categorical.csv", symbols, fmt="%d", header="seen", comments="")
    comparisons = (
        ("pca", f"PCA, N = {rows}, 10 outputs, 3 directions", None, lambda: pca(narrow, 3), FROM_SUMS),
        ("pca-wide", f"PCA as documented, N = {rows}, 20 outputs, 10 directions", None, lambda: pca(wide, 10), FROM_SUMS),
        ("regression", f"Linear regression, N = {rows}, D = {INPUTS}", None, lambda: regression(table), FROM_SUMS),
        ("states-gaussian", f"HMM, T = {rows}, 3 states, known Gaussians", None, lambda: states_gaussian(measured), RECURSION),
        ("states-categorical", f"HMM, T = {rows}, all known", None, lambda: states_categorical(symbols), RECURSION),
        ("state-space", f"State-space model, T = {rows}, {OUTPUTS} outputs, D = {LATENT}", full, lambda: state_space(full), RECURSION),
        (
            "state-space",
            f"That state-space model with {1 - PRESENT:.0%} of the cells missing",
            sparse,
            lambda: state_space(sparse),
            RECURSION,
        ),
    )
    for name, what, data, peer, fair in comparisons:
        model = context.model(name)
        if data is not None:
            np.save(context.folder / f"{name}.npy", data)
        mine, theirs = alternate(context.repetitions, lambda: ours.run("cavi", model, "--tolerance", 0, iterations=ITERATIONS + 1), peer)
        yield Result(
            what,
            "s per iteration",
            [r.seconds_per_iteration() for r in mine],
            "BayesPy",
            theirs,
            target=50.0,
            fair=fair,
        )
