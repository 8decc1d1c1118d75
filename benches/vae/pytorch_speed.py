"""Steps per second of a Bernoulli VAE, 784-400-20-400-784, in PyTorch: eager with fused Adam, and torch.compile.

    python benches/vae/pytorch_speed.py [--batch 128] [--threads 1 2] [--steps 300] [--variants eager compiled]

Prints one JSON object per variant. The same model, kind of images, batch and optimiser as `crates/sgvi/examples/vae_speed.rs`; what
the pixels are makes no difference to PyTorch's time. The memory is the largest resident set of the process so far: for a figure of
one variant run that variant alone.
"""

import argparse
import json
import resource
import time

import torch
from torch import nn
from torch.nn import functional


class Vae(nn.Module):
    def __init__(self, pixels=784, hidden=400, latent=20):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(pixels, hidden), nn.ReLU(), nn.Linear(hidden, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, hidden), nn.ReLU(), nn.Linear(hidden, pixels))

    def forward(self, x):
        mean, log_variance = self.encoder(x).chunk(2, dim=-1)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        logits = self.decoder(z)
        reconstruction = functional.binary_cross_entropy_with_logits(logits, x, reduction="sum")
        divergence = -0.5 * torch.sum(1 + log_variance - mean.square() - log_variance.exp())
        return (reconstruction + divergence) / x.shape[0]


def measure(data, batch, threads, steps, compiled):
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = Vae()
    loss_of = torch.compile(model) if compiled else model
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    order = torch.randint(0, data.shape[0], ((steps + 30) * batch,))

    def run(first, last):
        for step in range(first, last):
            x = data[order[step * batch : (step + 1) * batch]]
            optimizer.zero_grad(set_to_none=True)
            loss = loss_of(x)
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    run(0, 30)
    start = time.perf_counter()
    loss = run(30, 30 + steps)
    seconds = time.perf_counter() - start
    return {
        "variant": "compiled" if compiled else "eager",
        "batch": batch,
        "threads": threads,
        "steps_per_second": round(steps / seconds, 1),
        "loss": round(loss, 3),
        "max_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "torch": torch.__version__,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--variants", nargs="+", choices=["eager", "compiled"], default=["eager", "compiled"])
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(1)
    # Pixels are on with a probability that falls from the middle, about a fifth of them.
    place = torch.arange(28) - 13.5
    off = (0.4 + (place[:, None].square() + place.square()) / 250.0).flatten()
    data = (torch.rand(2048, 784, generator=generator) > off).float()
    for threads in options.threads:
        for variant in options.variants:
            print(json.dumps(measure(data, options.batch, threads, options.steps, variant == "compiled")), flush=True)


if __name__ == "__main__":
    main()
