"""What a comparison reports, and the repetition that runs both sides alternately."""

import dataclasses
import statistics


@dataclasses.dataclass
class Result:
    name: str  # what is computed, with its sizes
    unit: str  # of the numbers
    ours: list  # one number per repetition
    peer: str  # the peer's name and variant; empty where a measurement has none
    theirs: list
    lower_is_better: bool = True
    target: float | None = None  # of the ratio
    fair: str = ""  # one sentence
    reached: bool = True  # false where ours never got where the peer did: its numbers are then lower bounds
    peer_reached: bool = True  # false where the peer never got where ours did: its numbers are then lower bounds
    shown: bool = False  # in the README's table even without a target
    notes: dict = dataclasses.field(default_factory=dict)  # raw numbers beside

    def ratio(self):
        """Median over the repetitions of how many times better ours is than the peer."""
        pairs = zip(self.ours, self.theirs, strict=True)
        return statistics.median(t / o if self.lower_is_better else o / t for o, t in pairs)

    def as_json(self):
        out = dataclasses.asdict(self)
        out["ratio"] = self.ratio() if self.theirs else None
        best = min if self.lower_is_better else max
        fastest = (best(self.ours), best(self.theirs)) if self.theirs else None
        out["ratio_of_fastest"] = fastest and (fastest[1] / fastest[0] if self.lower_is_better else fastest[0] / fastest[1])
        out["meets_target"] = None if self.target is None or not self.theirs else self.reached and self.ratio() >= self.target
        return out


def alternate(repetitions, ours, *theirs):
    """Calls ours, then each peer, and again; returns one list of results per side."""
    sides = (ours, *theirs)
    results = [[] for _ in sides]
    for _ in range(repetitions):
        for kept, side in zip(results, sides, strict=True):
            kept.append(side())
    return results
