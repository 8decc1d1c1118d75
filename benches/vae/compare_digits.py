"""Held-out ELBO of the digits VAE, 64-200-8-200-64: sgvi against PyTorch at equal epochs, the same split, several seeds.

    python benches/vae/compare_digits.py --sgvi target/release/sgvi [--steps 3000] [--seeds 0 1 2]

Writes the split to a temporary folder, fits both on the training rows, evaluates both on the others with 20 draws per
row, and prints one JSON object per fit. PyTorch runs eager with Adam at a constant rate, its usual recipe, and once more
with the rate falling linearly over the last 30 % of the steps, which is what sgvi does by default.
"""

import argparse
import csv
import json
import pathlib
import random
import subprocess
import tempfile
import time

import torch
from pytorch_speed import Vae

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATCH = 128
RATE = 0.003
MODEL = """
[data]
file = "{file}"
[data.blocks]
ink = "pixel_*"
[plates]
image = "rows"
pixel = {{ columns = "ink" }}
[networks.encoder]
layers = [200]
[networks.decoder]
layers = [200]
[variables.z]
plates = ["image"]
distribution = "normal"
dimension = 8
mean = 0.0
sd = 1.0
amortized = "encoder(ink)"
[variables.x]
plates = ["image", "pixel"]
distribution = "bernoulli"
logit = "decoder(z)"
observed = "ink"
[inference]
batch_size = {batch}
learning_rate = {rate}
max_iterations = {steps}
tolerance = 0
window = {steps}
"""


def split(folder):
    with open(ROOT / "models" / "data" / "digits-binary.csv", newline="") as file:
        header, *rows = list(csv.reader(file))
    random.Random(1).shuffle(rows)
    cut = len(rows) * 9 // 10
    for name, part in [("train", rows[:cut]), ("test", rows[cut:])]:
        with open(folder / f"{name}.csv", "w", newline="") as file:
            csv.writer(file).writerows([header, *part])
    numbers = [[float(x) for x in row[:64]] for row in rows]
    return torch.tensor(numbers[:cut]), torch.tensor(numbers[cut:])


def fit_sgvi(sgvi, folder, steps, seed):
    model = folder / "vae.toml"
    model.write_text(MODEL.format(file="train.csv", batch=BATCH, rate=RATE, steps=steps))
    run = folder / f"run-{seed}"
    start = time.perf_counter()
    command = [sgvi, "run", str(model), "--output", str(run), "--seed", str(seed), "--quiet", "--no-plot"]
    subprocess.run(command, check=False)
    seconds = time.perf_counter() - start
    command = [sgvi, "evaluate", str(run), "--data", str(folder / "test.csv"), "--samples", "1000", "--json"]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {
        "fit": "sgvi",
        "seed": seed,
        "held_out_elbo": round(result["elbo_per_row"], 4),
        "held_out_log_likelihood": round(result["log_evidence_per_row"], 4),
        "seconds": round(seconds, 1),
    }


def fit_pytorch(train, test, steps, seed, falling):
    torch.manual_seed(seed)
    model = Vae(64, 200, 8)
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    cool_down = steps * 3 // 10
    start = time.perf_counter()
    order, step = torch.randperm(len(train)), 0
    batches = -(-len(train) // BATCH)
    while step < steps:
        order = torch.randperm(len(train))
        for part in order.tensor_split(batches):
            if step == steps:
                break
            if falling and step >= steps - cool_down:
                for group in optimizer.param_groups:
                    group["lr"] = RATE * (1 - 0.99 * (step - steps + cool_down) / cool_down)
            optimizer.zero_grad(set_to_none=True)
            model(train[part]).backward()
            optimizer.step()
            step += 1
    seconds = time.perf_counter() - start
    with torch.no_grad():
        elbo = -sum(float(model(test)) for _ in range(20)) / 20
    return {
        "fit": "pytorch, falling rate" if falling else "pytorch, constant rate",
        "seed": seed,
        "held_out_elbo": round(elbo, 4),
        "seconds": round(seconds, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sgvi", required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)  # these networks are too small for more
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        train, test = split(folder)
        for seed in options.seeds:
            print(json.dumps(fit_sgvi(options.sgvi, folder, options.steps, seed)), flush=True)
            for falling in [False, True]:
                print(json.dumps(fit_pytorch(train, test, options.steps, seed, falling)), flush=True)


if __name__ == "__main__":
    main()
