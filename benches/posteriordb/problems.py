"""The problems: a model file for `sgvi`, its data, and its log joint over unconstrained coordinates for the reference.

The models are those of posteriordb that the language can say (regressions on raw scales, hierarchies, autoregression,
mixtures, a hidden Markov model). Their data are small: eight schools (Rubin 1981), files under models/data, and simulated
tables from fixed seeds in the form of the originals.
"""

import csv
import math
import pathlib

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
SHIPPED = HERE.parent.parent / "models" / "data"
LN_2PI = math.log(2 * math.pi)


class Reader:
    """Hands out unconstrained coordinates one after the other, with the log Jacobians of what they are made into."""

    def __init__(self, jnp, jax, theta):
        self.jnp, self.jax, self.theta, self.at, self.jacobian = jnp, jax, theta, 0, 0.0

    def real(self, count=None):
        n = 1 if count is None else count
        out = self.theta[self.at : self.at + n]
        self.at += n
        return out[0] if count is None else out

    def positive(self, count=None):
        y = self.real(count)
        self.jacobian = self.jacobian + self.jnp.sum(y)
        return self.jnp.exp(y)

    def unit(self):
        y = self.real()
        self.jacobian = self.jacobian - self.jnp.logaddexp(0.0, y) - self.jnp.logaddexp(0.0, -y)
        return self.jax.nn.sigmoid(y)

    def ordered(self, count):
        y = self.real(count)
        self.jacobian = self.jacobian + self.jnp.sum(y[1:])
        return self.jnp.cumsum(self.jnp.concatenate([y[:1], self.jnp.exp(y[1:])]))


def table(path):
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    return {name: [row[name] for row in rows] for name in rows[0]}


def numbers(columns, name):
    return np.array([float(x) for x in columns[name]])


def write(name, columns):
    """Writes a simulated table, rounded, and returns it as it is in the file."""
    path = HERE / "data" / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    length = len(next(iter(columns.values())))
    with open(path, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        for i in range(length):
            writer.writerow([columns[c][i] if isinstance(columns[c][i], (str, np.str_)) else f"{columns[c][i]:.10g}" for c in columns])
    return table(path)


PROBLEMS = {}


def problem(name, coordinates, start=None):
    """Registers a function from (jax, jnp) to the log joint: theta → (value, table of what is reported)."""

    def add(make):
        PROBLEMS[name] = {"coordinates": coordinates, "make": make, "start": start}
        return make

    return add


def normal(jnp, x, mean, sd):
    return -0.5 * ((x - mean) / sd) ** 2 - jnp.log(sd) - 0.5 * LN_2PI


def linear(name, columns, response, prior_sd=None, half_cauchy=None):
    """A linear regression with flat (or normal) coefficients, the first an intercept."""
    y, x = columns[response], np.stack(columns["design"], 1)

    def make(jax, jnp):
        def log_joint(theta):
            p = Reader(jnp, jax, theta)
            beta, sigma = p.real(x.shape[1]), p.positive()
            value = jnp.sum(normal(jnp, jnp.array(y), jnp.array(x) @ beta, sigma)) + p.jacobian
            if prior_sd is not None:
                value = value + jnp.sum(normal(jnp, beta, 0.0, prior_sd))
                value = value + normal(jnp, sigma, 0.0, prior_sd) + math.log(2)
            if half_cauchy is not None:
                value = value - jnp.log1p((sigma / half_cauchy) ** 2)
            return value, {**{f"b{i}": beta[i] for i in range(x.shape[1])}, "sigma": sigma}

        return log_joint

    mean, *_ = np.linalg.lstsq(x, y, rcond=None)
    spread = np.std(y - x @ mean)
    problem(name, x.shape[1] + 1, start=[*mean, math.log(spread)])(make)


@problem("eight_schools_noncentered", 10)
def eight_schools(jax, jnp):
    y = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
    s = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])

    def log_joint(theta):
        p = Reader(jnp, jax, theta)
        mu, tau, effect = p.real(), p.positive(), p.real(8)
        value = normal(jnp, mu, 0.0, 5.0) - jnp.log1p((tau / 5.0) ** 2) + jnp.sum(normal(jnp, effect, 0.0, 1.0))
        value = value + jnp.sum(normal(jnp, y, mu + tau * effect, s)) + p.jacobian
        return value, {"mu": mu, "tau": tau, "theta": mu + tau * effect}

    return log_joint


random = np.random.default_rng(20)

# Regressions on raw scales, in the form of kidiq, earnings, mesquite.
n = 434
hs = (random.random(n) < 0.79).astype(float)
iq = np.round(100 + 15 * random.standard_normal(n) + 2 * (hs - 0.79), 4)
score = np.round(np.clip(-11.5 + 51.3 * hs + 1.1 * iq - 0.48 * hs * iq + 18 * random.standard_normal(n), 20, 150))
kid = write("kidscore", {"hs": hs, "iq": iq, "score": score})
kid = {c: numbers(kid, c) for c in kid}
one = np.ones(n)
linear("kidscore_momiq", {"design": [one, kid["iq"]], "score": kid["score"]}, "score", half_cauchy=2.5)
linear(
    "kidscore_interaction",
    {"design": [one, kid["hs"], kid["iq"], kid["hs"] * kid["iq"]], "score": kid["score"]},
    "score",
    half_cauchy=2.5,
)
n = 1192
male = (random.random(n) < 0.43).astype(float)
height = np.round(random.normal(64.5, 2.6, n) + 5.3 * male, 1)
earn = np.round(np.exp(7.2 + 0.035 * height + 0.35 * male + 0.85 * random.standard_normal(n)), -2) + 100
earnings = write("earnings", {"earn": earn, "height": height, "male": male})
earnings = {c: numbers(earnings, c) for c in earnings}
one = np.ones(n)
linear("earn_height", {"design": [one, earnings["height"]], "earn": earnings["earn"]}, "earn")
log_earn = {"design": [one, earnings["height"], earnings["male"], earnings["height"] * earnings["male"]]}
linear("logearn_interaction", {**log_earn, "earn": np.log(earnings["earn"])}, "earn")

# Calendar years as they are.
nile = table(SHIPPED / "nile.csv")
year, flow = numbers(nile, "year"), numbers(nile, "flow")
linear("kilpisjarvi_like", {"design": [np.ones(len(year)), year], "y": flow}, "y")

# Bayesian linear regression with correlated covariates.
n, d = 100, 5
common = random.standard_normal((n, 1))
x = 0.7 * common + 0.7 * random.standard_normal((n, d))
y = x @ np.array([1.2, -0.7, 0.2, 0.9, -1.4]) + 1.1 * random.standard_normal(n)
blr = write("blr", {**{f"x{i + 1}": x[:, i] for i in range(d)}, "y": y})
linear("sblrc", {"design": [numbers(blr, f"x{i + 1}") for i in range(d)], "y": numbers(blr, "y")}, "y", prior_sd=10.0)

# Autoregression of order five.
n, coefficients = 205, [0.7, -0.1, 0.2, -0.3, 0.15]
series = [0.0] * 5
for t in range(5, n):
    series.append(0.3 + sum(b * series[t - k - 1] for k, b in enumerate(coefficients)) + 0.2 * random.standard_normal())
lags = {f"lag{k + 1}": series[4 - k : n - k - 1] for k in range(5)}
ark = write("ark", {"y": series[5:], **lags})


@problem("arK", 7, start=[0.0] * 6 + [-1.0])
def autoregression(jax, jnp):
    y, x = jnp.array(numbers(ark, "y")), jnp.array(np.stack([numbers(ark, f"lag{k + 1}") for k in range(5)], 1))

    def log_joint(theta):
        p = Reader(jnp, jax, theta)
        alpha, beta, sigma = p.real(), p.real(5), p.positive()
        value = normal(jnp, alpha, 0.0, 10.0) + jnp.sum(normal(jnp, beta, 0.0, 10.0)) - jnp.log1p((sigma / 2.5) ** 2)
        value = value + jnp.sum(normal(jnp, y, alpha + x @ beta, sigma)) + p.jacobian
        return value, {"alpha": alpha, "beta": beta, "sigma": sigma}

    return log_joint


n = 1000
pick = random.random(n) < 0.35
mixture = write("mixture", {"y": np.where(pick, random.normal(-2.8, 0.9, n), random.normal(2.7, 1.2, n))})


@problem("low_dim_gauss_mix", 5, start=[-2.5, 1.6, 0.0, 0.0, 0.0])
def gauss_mix(jax, jnp):
    y = jnp.array(numbers(mixture, "y"))

    def log_joint(theta):
        p = Reader(jnp, jax, theta)
        mu, sigma, share = p.ordered(2), p.positive(2), p.unit()
        value = jnp.sum(normal(jnp, mu, 0.0, 2.0)) + jnp.sum(normal(jnp, sigma, 0.0, 2.0))
        value = value + 4 * jnp.log(share) + 4 * jnp.log1p(-share)
        first = jnp.log(share) + normal(jnp, y, mu[0], sigma[0])
        second = jnp.log1p(-share) + normal(jnp, y, mu[1], sigma[1])
        value = value + jnp.sum(jnp.logaddexp(first, second)) + p.jacobian
        return value, {"mu": mu, "sigma": sigma, "share": jnp.stack([share, 1 - share])}

    return log_joint


# A hidden Markov model with known places of the states' means.
n = 100
state, states = 0, []
for _ in range(n):
    state = int(random.random() < (0.3 if state == 0 else 0.8))
    states.append(state)
hidden = write("hmm", {"y": np.where(np.array(states) == 0, 3.0, 10.0) + random.standard_normal(n)})


@problem("hmm_example", 4, start=[0.0, 0.0, 3.0, 2.0])
def hmm(jax, jnp):
    y = jnp.array(numbers(hidden, "y"))

    def log_joint(theta):
        p = Reader(jnp, jax, theta)
        stay, leave, mu = p.unit(), p.unit(), p.ordered(2)
        transition = jnp.log(jnp.stack([jnp.stack([stay, 1 - stay]), jnp.stack([leave, 1 - leave])]))
        emission = normal(jnp, y[:, None], mu[None, :], 1.0)
        value = normal(jnp, mu[0], 3.0, 1.0) + normal(jnp, mu[1], 10.0, 1.0) + p.jacobian

        def step(alpha, e):
            return jax.scipy.special.logsumexp(alpha[:, None] + transition, 0) + e, None

        alpha, _ = jax.lax.scan(step, emission[0] - math.log(2), emission[1:])
        value = value + jax.scipy.special.logsumexp(alpha)
        return value, {"mu": mu, "A": jnp.exp(transition)}

    return log_joint


# A radon-like hierarchy: floors in counties, intercepts non-centred.
n, counties = 600, 40
sizes = random.dirichlet(np.full(counties, 0.9))
county = random.choice(counties, n, p=sizes)
level = 1.4 + 0.35 * random.standard_normal(counties)
floor = (random.random(n) < 0.17).astype(float)
radon = write(
    "radon",
    {
        "county": [f"c{c:02d}" for c in county],
        "floor": floor,
        "log_radon": level[county] - 0.65 * floor + 0.75 * random.standard_normal(n),
    },
)


@problem("radon_noncentered", 44)
def radon_like(jax, jnp):
    y, x = jnp.array(numbers(radon, "log_radon")), jnp.array(numbers(radon, "floor"))
    levels = list(dict.fromkeys(radon["county"]))
    code = jnp.array([levels.index(c) for c in radon["county"]])

    def log_joint(theta):
        p = Reader(jnp, jax, theta)
        mu, spread, slope, sigma, effect = p.real(), p.positive(), p.real(), p.positive(), p.real(len(levels))
        value = normal(jnp, mu, 0.0, 10.0) + normal(jnp, slope, 0.0, 10.0)
        value = value + normal(jnp, spread, 0.0, 1.0) + normal(jnp, sigma, 0.0, 1.0) + jnp.sum(normal(jnp, effect, 0.0, 1.0))
        value = value + jnp.sum(normal(jnp, y, mu + spread * effect[code] + slope * x, sigma)) + p.jacobian
        return value, {"mu": mu, "spread": spread, "slope": slope, "sigma": sigma}

    return log_joint


# Logistic regression, in the form of wells; distances in metres.
n = 1000
distance = np.round(random.gamma(1.6, 30.0, n), 3)
arsenic = np.round(0.5 + random.gamma(1.2, 1.0, n), 2)
switched = random.random(n) < 1 / (1 + np.exp(-(0.0 - 0.009 * distance + 0.46 * arsenic)))
wells = write("wells", {"distance": distance, "arsenic": arsenic, "switched": switched.astype(float)})


@problem("wells_dist100ars_like", 3)
def wells_like(jax, jnp):
    x = jnp.stack([jnp.ones(n), jnp.array(numbers(wells, "distance")), jnp.array(numbers(wells, "arsenic"))], 1)
    y = jnp.array(numbers(wells, "switched"))

    def log_joint(theta):
        eta = x @ (theta / jnp.array([1.0, 30.0, 1.0]))
        value = jnp.sum(y * eta - jnp.logaddexp(0.0, eta))
        return value, {f"b{i}": theta[i] / [1.0, 30.0, 1.0][i] for i in range(3)}

    return log_joint


# Counts with a quadratic trend in calendar years.
coal = table(SHIPPED / "coal-disasters.csv")
years, counts = numbers(coal, "year"), numbers(coal, "disasters")


@problem("glm_poisson_like", 3)
def poisson_trend(jax, jnp):
    t = (years - years.mean()) / years.std()
    x, y = jnp.stack([jnp.ones(len(t)), jnp.array(t), jnp.array(t**2)], 1), jnp.array(counts)
    factorials = sum(math.lgamma(k + 1) for k in counts)

    def log_joint(theta):
        eta = x @ theta
        value = jnp.sum(normal(jnp, theta, 0.0, 10.0)) + jnp.sum(y * eta - jnp.exp(eta)) - factorials
        return value, {f"b{i}": theta[i] for i in range(3)}

    return log_joint
