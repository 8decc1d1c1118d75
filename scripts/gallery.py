#!/usr/bin/env python3
"""Draws the pictures of the README: runs every model file and copies the picture that shows most to docs/gallery/.

Needs Pillow. Build first: cargo build --release --workspace. Then: scripts/gallery.py [MODEL ...]; without names, all of them.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
GALLERY = ROOT / "docs" / "gallery"
# The picture to show where a run draws several (the beginning of its name); else the first in ORDER; else the convergence curve.
PREFERRED = {
    "bayesian-pca": "images-",
    "bernoulli-mixture": "images-",
    "factor-analysis": "table-loading",
    "hierarchical-regression": "estimates-slope_mean",
    "item-response": "estimates-difficulty",
    "local-level": "series-",
    "poisson-mixture": "estimates-rate",
    "stochastic-block-model": "table-tie_rate",
    "vae": "reconstructions",
    "vae-conv": "reconstructions",
    "vae-full": "reconstructions",
    "vae-normal": "reconstructions",
    "cvae": "samples",
}
ORDER = ["clusters-", "states-", "series-", "largest-", "images-", "scores-", "estimates-", "table-", "densities", ""]
WIDTH = 640
# Models whose data each user brings.
OWN_DATA = {"mnist"}


def engine(binaries: Path, model: Path) -> Path:
    """`cavi` where it takes the model, else `sgvi`."""
    command = [str(binaries / "cavi"), "check", str(model)]
    taken = subprocess.run(command, check=False, capture_output=True).returncode == 0
    return binaries / ("cavi" if taken else "sgvi")


def picture(folder: Path, name: str) -> Path | None:
    drawn = sorted(p for p in folder.rglob("*.png") if p.stem != "elbo")
    for beginning in [PREFERRED[name], *ORDER] if name in PREFERRED else ORDER:
        chosen = [p for p in drawn if p.stem.startswith(beginning)]
        if chosen:
            return chosen[0]
    curve = folder / "elbo.png"
    return curve if curve.exists() else None


def save(source: Path, target: Path) -> None:
    """The picture at the README's width, in a palette made for its own colours."""
    with Image.open(source) as image:
        small = image.convert("RGB")
        if small.width > WIDTH:
            small = small.resize((WIDTH, round(small.height * WIDTH / small.width)), Image.Resampling.LANCZOS)
        small.quantize(256, kmeans=1).save(target, optimize=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binaries", type=Path, default=ROOT / "target" / "release")
    parser.add_argument("models", nargs="*", metavar="MODEL")
    arguments = parser.parse_args()
    GALLERY.mkdir(parents=True, exist_ok=True)
    failed = False
    for model in sorted((ROOT / "models").glob("*.toml")):
        if model.stem in OWN_DATA or arguments.models and model.stem not in arguments.models:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch) / model.stem
            command = [str(engine(arguments.binaries, model)), "run", str(model), "--quiet", "--output", str(folder)]
            status = subprocess.run(command, check=False).returncode
            found = picture(folder, model.stem) if folder.exists() else None
            if found is None:
                failed = True
                print(f"{model.stem}: no picture (exit status {status})", file=sys.stderr)
                continue
            save(found, GALLERY / f"{model.stem}.png")
            if model.stem == "gmm":
                save(folder / "elbo.png", GALLERY / "gmm-elbo.png")
            print(f"{model.stem}: {found.relative_to(folder)} (exit status {status})")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
