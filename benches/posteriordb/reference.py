"""Reference posteriors by NUTS: reference.json from problems.py. Needs numpyro; minutes.

    python reference.py [NAME ...]

Where a start is given, coordinates are first whitened at the mode, so that raw scales do no harm to the sampler. Four chains
of 5000 draws after 1500 of warm-up each; the largest split R-hat and the least effective sample size are kept
beside the means and standard deviations.
"""

import json
import sys

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin
from numpyro.infer import MCMC, NUTS
from scipy.optimize import minimize

from problems import HERE, PROBLEMS

jax.config.update("jax_enable_x64", True)
PATH = HERE / "reference.json"
CHAINS, WARMUP, DRAWS = 4, 1500, 5000


def whitening(log_joint, start):
    """The mode and a root of the inverse curvature there: by BFGS in coordinates scaled by the curvature's diagonal."""
    value = jax.jit(jax.value_and_grad(lambda theta: -log_joint(theta)[0]))
    hessian = jax.jit(jax.hessian(lambda theta: -log_joint(theta)[0]))
    mode = np.array(start, float)
    for _ in range(5):
        values, vectors = np.linalg.eigh(np.asarray(hessian(mode)))
        root = vectors / np.sqrt(np.maximum(np.abs(values), 1e-12 * np.abs(values).max()))

        def scaled(z, mode=mode, root=root):
            f, g = value(mode + root @ z)
            return float(f), root.T @ np.asarray(g)

        mode = mode + root @ minimize(scaled, np.zeros(len(mode)), jac=True, method="BFGS").x
    values, vectors = np.linalg.eigh(np.asarray(hessian(mode)))
    return jnp.array(mode), jnp.array(vectors / np.sqrt(values))


def main():
    found = json.loads(PATH.read_text()) if PATH.exists() else {}
    for name in sys.argv[1:] or PROBLEMS:
        problem = PROBLEMS[name]
        log_joint = problem["make"](jax, jnp)
        n = problem["coordinates"]
        mode, root = whitening(log_joint, problem["start"]) if problem["start"] else (jnp.zeros(n), jnp.eye(n))
        kernel = NUTS(potential_fn=lambda z: -log_joint(mode + root @ z)[0], target_accept_prob=0.9)
        sampler = MCMC(kernel, num_warmup=WARMUP, num_samples=DRAWS, num_chains=CHAINS, chain_method="sequential", progress_bar=False)
        starts = 0.5 * jax.random.normal(jax.random.PRNGKey(7), (CHAINS, n))
        sampler.run(jax.random.PRNGKey(1), init_params=starts)
        draws = sampler.get_samples(group_by_chain=True)
        values = jax.vmap(jax.vmap(lambda z: log_joint(mode + root @ z)[1]))(draws)
        entry = {}
        for key, value in values.items():
            value = np.asarray(value)
            entry[key] = {
                "mean": value.mean((0, 1)).tolist(),
                "sd": value.std((0, 1)).tolist(),
                "rhat": float(np.nanmax(split_gelman_rubin(value))),
                "ess": float(np.nanmin(effective_sample_size(value))),
            }
        found[name] = entry
        worst = max(e["rhat"] for e in entry.values()), min(e["ess"] for e in entry.values())
        print(f"{name}: R-hat {worst[0]:.4f}, effective draws {worst[1]:.0f}", flush=True)
        found = {n: found[n] for n in PROBLEMS if n in found}
        PATH.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    numpyro.set_host_device_count(1)
    main()
