#!/usr/bin/env python3
"""Writes the data files under models/data.

Real tables are exported from where they are distributed: R's `datasets`, `MASS` and `boot` (needs Rscript), scikit-learn,
statsmodels and networkx (each optional). Simulated tables are drawn from fixed seeds with the standard library alone. What
a missing program or package provides is left as it is and named at the end.

    python3 scripts/make_data.py [--output models/data] [NAME ...]
"""

from __future__ import annotations

import argparse
import csv
import io
import math
import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

Table = tuple[list[str], list[list[object]]]
MAKERS: dict[str, Callable[[], Table]] = {}


class Unavailable(Exception):
    """A program or package that a table comes from is not installed."""


def table(name: str) -> Callable[[Callable[[], Table]], Callable[[], Table]]:
    """Registers the function that makes one file."""

    def register(make: Callable[[], Table]) -> Callable[[], Table]:
        MAKERS[name] = make
        return make

    return register


def number(x: float) -> str:
    """The shortest text of a number, integers without a decimal point."""
    return str(int(x)) if float(x).is_integer() else repr(float(x))


# Tables of R --------------------------------------------------------------------------------------------------------

R_TABLES: dict[str, tuple[str, list[str]]] = {
    "old-faithful": ("datasets::faithful", ["eruptions", "waiting"]),
    "iris": ("datasets::iris", ["sepal_length", "sepal_width", "petal_length", "petal_width", "species"]),
    "airquality": ("datasets::airquality", ["ozone", "solar_radiation", "wind", "temperature", "month", "day"]),
    "nile": ("data.frame(as.integer(time(Nile)), as.integer(Nile))", ["year", "flow"]),
    "lynx": ("data.frame(as.integer(time(lynx)), as.integer(lynx))", ["year", "trapped"]),
    "warpbreaks": ("datasets::warpbreaks", ["breaks", "wool", "tension"]),
    "insect-sprays": ("datasets::InsectSprays", ["count", "spray"]),
    "cars": ("datasets::cars", ["speed", "distance"]),
    "mtcars": (
        "data.frame(rownames(mtcars), mtcars)",
        ["model", "mpg", "cylinders", "displacement", "horsepower", "axle_ratio", "weight", "quarter_mile", "v_engine"]
        + ["manual", "gears", "carburetors"],
    ),
    "stackloss": ("datasets::stackloss", ["air_flow", "water_temperature", "acid_concentration", "stack_loss"]),
    "longley": (
        "datasets::longley",
        ["gnp_deflator", "gnp", "unemployed", "armed_forces", "population", "year", "employed"],
    ),
    "swiss": (
        "data.frame(rownames(swiss), swiss)",
        ["province", "fertility", "agriculture", "examination", "education", "catholic", "infant_mortality"],
    ),
    "chick-weight": ("as.data.frame(ChickWeight)[c('Chick', 'Diet', 'Time', 'weight')]", ["chick", "diet", "day", "weight"]),
    "orange-trees": ("as.data.frame(Orange)", ["tree", "age", "circumference"]),
    "sleep": ("datasets::sleep", ["extra", "drug", "patient"]),
    "infertility": (
        "infert[c('case', 'age', 'parity', 'induced', 'spontaneous', 'education', 'stratum')]",
        ["case", "age", "parity", "induced", "spontaneous", "education", "stratum"],
    ),
    "titanic": (
        "with(subset(as.data.frame(Titanic), Freq > 0), data.frame(Class, Sex, Age, as.integer(Survived == 'Yes'), Freq))",
        ["class", "sex", "age", "survived", "people"],
    ),
    "berkeley-admissions": (
        "with(reshape(as.data.frame(UCBAdmissions), idvar = c('Gender', 'Dept'), timevar = 'Admit', direction = 'wide'),"
        " data.frame(Dept, Gender, Freq.Admitted, Freq.Admitted + Freq.Rejected))",
        ["department", "gender", "admitted", "applicants"],
    ),
    "us-arrests": ("data.frame(rownames(USArrests), USArrests)", ["state", "murder", "assault", "urban_population", "rape"]),
    "judge-ratings": (
        "data.frame(rownames(USJudgeRatings), USJudgeRatings)",
        ["judge", "contacts", "integrity", "demeanor", "diligence", "case_flow", "decisions", "preparation", "familiarity"]
        + ["oral_rulings", "written_rulings", "physical_ability", "retention"],
    ),
    # Thousands of km/s. MASS documents that its 78th value, 26690, should read 26960 as in the source.
    "galaxies": ("data.frame(replace(as.integer(MASS::galaxies), 78, 26960L) / 1000)", ["velocity"]),
    "coal-disasters": (
        "data.frame(1851:1962, as.integer(table(factor(floor(boot::coal$date), 1851:1962))))",
        ["year", "disasters"],
    ),
}


def r_table(expression: str, header: list[str]) -> Table:
    """An R data frame; factors as their labels."""
    if shutil.which("Rscript") is None:
        raise Unavailable("Rscript")
    program = f"options(digits = 15); write.csv({expression}, stdout(), row.names = FALSE, quote = TRUE)"
    ran = subprocess.run(["Rscript", "--vanilla", "-e", program], capture_output=True, text=True)
    if ran.returncode != 0:
        raise Unavailable(f"R: {ran.stderr.strip().splitlines()[-1]}")
    rows = list(csv.reader(io.StringIO(ran.stdout)))
    if len(rows[0]) != len(header):
        raise ValueError(f"{expression} has columns {rows[0]}, expected {len(header)}")
    return header, [list(row) for row in rows[1:]]


for _name, (_expression, _header) in R_TABLES.items():
    MAKERS[_name] = lambda e=_expression, h=_header: r_table(e, h)


# Tables of Python packages ------------------------------------------------------------------------------------------


def digits() -> tuple[list[list[float]], list[int]]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise Unavailable("scikit-learn") from error
    bunch = load_digits()
    return bunch.data.tolist(), bunch.target.tolist()


PIXELS = [f"pixel_{i}" for i in range(64)]


@table("digits")
def make_digits() -> Table:
    """Ink from 0 to 16 in 8×8 cells, rows of the image first."""
    images, labels = digits()
    return PIXELS + ["label"], [[number(x) for x in image] + [label] for image, label in zip(images, labels)]


@table("digits-binary")
def make_digits_binary() -> Table:
    """The same with ink above 7 as 1."""
    images, labels = digits()
    return PIXELS + ["label"], [[int(x > 7) for x in image] + [label] for image, label in zip(images, labels)]


@table("diabetes")
def make_diabetes() -> Table:
    try:
        from sklearn.datasets import load_diabetes
    except ImportError as error:
        raise Unavailable("scikit-learn") from error
    bunch = load_diabetes(scaled=False)
    header = ["age", "sex", "bmi", "blood_pressure", "s1", "s2", "s3", "s4", "s5", "s6", "progression"]
    return header, [[number(round(x, 6)) for x in [*row, y]] for row, y in zip(bunch.data.tolist(), bunch.target.tolist())]


@table("breast-cancer")
def make_breast_cancer() -> Table:
    """The ten mean measurements of each sample; 1 is malignant."""
    try:
        from sklearn.datasets import load_breast_cancer
    except ImportError as error:
        raise Unavailable("scikit-learn") from error
    bunch = load_breast_cancer()
    header = [re.sub(r"\W+", "_", name.removeprefix("mean ")) for name in bunch.feature_names[:10]]
    rows = zip(bunch.data[:, :10].tolist(), bunch.target.tolist())
    return header + ["malignant"], [[number(x) for x in row] + [1 - y] for row, y in rows]


def statsmodels_table(module: str, columns: dict[str, str]) -> Table:
    try:
        import statsmodels.datasets as datasets
    except ImportError as error:
        raise Unavailable("statsmodels") from error
    frame = getattr(datasets, module).load_pandas().data
    return list(columns.values()), [[number(x) for x in row] for row in frame[list(columns)].to_numpy().tolist()]


@table("cpunish")
def make_cpunish() -> Table:
    names = {"EXECUTIONS": "executions", "INCOME": "income", "PERPOVERTY": "poverty", "PERBLACK": "black"}
    names |= {"VC100k96": "violent_crime", "SOUTH": "south", "DEGREE": "degree"}
    return statsmodels_table("cpunish", names)


def karate() -> tuple[list[int], set[tuple[int, int]], dict[int, str]]:
    try:
        import networkx
    except ImportError as error:
        raise Unavailable("networkx") from error
    graph = networkx.karate_club_graph()
    edges = {(min(a, b), max(a, b)) for a, b in graph.edges()}
    return sorted(graph.nodes()), edges, {n: graph.nodes[n]["club"] for n in graph.nodes()}


@table("karate-club")
def make_karate_club() -> Table:
    """Every pair once, turned so that each member stands in both columns: the nearer one ahead on a circle is second."""
    nodes, edges, _ = karate()
    half = len(nodes) // 2
    rows = []
    for a in nodes:
        for step in range(1, half + 1):
            b = (a + step) % len(nodes)
            if step < half or a < b:
                rows.append([f"m{a + 1}", f"m{b + 1}", int((min(a, b), max(a, b)) in edges)])
    return ["member_a", "member_b", "tie"], rows


@table("karate-club-members")
def make_karate_members() -> Table:
    nodes, _, club = karate()
    return ["member", "club"], [[f"m{n + 1}", club[n]] for n in nodes]


# A corpus from the documentation of Python's standard library ---------------------------------------------------------

CORPUS_MODULES = (
    "argparse array ast asyncio base64 bisect bz2 calendar cmath cmd codecs collections colorsys concurrent.futures "
    "configparser contextlib copy csv ctypes curses datetime dbm decimal difflib dis email email.message fractions ftplib "
    "functools gettext glob gzip hashlib heapq hmac html.parser http.client http.cookies imaplib io ipaddress itertools json "
    "locale logging lzma mailbox math mmap multiprocessing optparse os pathlib pickle plistlib poplib pprint queue random re "
    "sched secrets selectors shelve shlex shutil signal smtplib socket socketserver sqlite3 ssl statistics string struct "
    "subprocess tarfile tempfile textwrap threading time timeit tokenize traceback typing unicodedata unittest urllib.parse "
    "urllib.request urllib.robotparser uuid weakref wsgiref.simple_server xml.dom.minidom xml.etree.ElementTree xml.sax "
    "xmlrpc.client zipfile zlib"
).split()
STOP_WORDS = set(
    "a about above after all already also although always an and and/or another any are argument arguments as at attribute "
    "attributes available be because been before being below between both but by call called calling calls can cannot class "
    "classes contains copy could create created creates current data default defined defaults different do does doesn doing "
    "done during each either else empty end equal etc even every example except exception exist exists false first following "
    "for from function functions get gets give given gives has have held here how if implementation in info information "
    "instance instances instead int into is isn it item items its itself just keep last like list long made make makes may "
    "means method methods might module more most must name named names need needed new next no non none not note nothing now "
    "object objects occurs of on once one only operation option optional options or other others otherwise out over own "
    "parameter parameters part passed possible provided provides python raise raised raises read return returned returns "
    "same second see self set should shouldn since single so some specified specifies start str string strings such support "
    "supported take takes than that the their them then there these they this those through to true tuple two type types "
    "under undefined unless until up use used user uses using usually valid value values version want was way we were what "
    "when where whether which while who will with within without would write yet you your been bool len obj func arg args "
    "kwargs dict optionally based works work itself without per via let ie eg".split()
)
WORDS_KEPT = 400


@table("corpus")
def make_corpus() -> Table:
    """Documents are modules; words those of their docstrings that stand in at least four modules."""
    import importlib
    import inspect

    documents: dict[str, Counter[str]] = {}
    for name in CORPUS_MODULES:
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        texts = [inspect.getdoc(module) or ""]
        for _, member in sorted(vars(module).items()):
            if getattr(member, "__module__", None) == name and (inspect.isclass(member) or inspect.isfunction(member)):
                texts.append(inspect.getdoc(member) or "")
                if inspect.isclass(member):
                    own = sorted(vars(member).items())
                    texts.extend(inspect.getdoc(m) or "" for _, m in own if inspect.isfunction(m))
            elif inspect.isbuiltin(member):
                texts.append(inspect.getdoc(member) or "")
        words = re.findall(r"[a-z]{3,}", " ".join(texts).lower())
        documents[name] = Counter(w for w in words if w not in STOP_WORDS)
    spread: Counter[str] = Counter(w for words in documents.values() for w in words)
    total: Counter[str] = Counter()
    for words in documents.values():
        total.update({w: min(c, 20) for w, c in words.items() if 4 <= spread[w] <= len(documents) // 2})
    kept = {w for w, _ in sorted(total.items(), key=lambda item: (-item[1], item[0]))[:WORDS_KEPT]}
    rows = [
        [name, word, min(count, 20)]
        for name, words in documents.items()
        for word, count in sorted(words.items())
        if word in kept
    ]
    return ["document", "word", "count"], rows


# Simulated tables -----------------------------------------------------------------------------------------------------


def choose(generator: random.Random, weights: Sequence[float]) -> int:
    return generator.choices(range(len(weights)), weights)[0]


def rounded(values: Iterable[float], digits: int = 4) -> list[str]:
    return [number(round(x, digits)) for x in values]


@table("ab-test")
def make_ab_test() -> Table:
    """Visitors of two pages; B converts 12 % against A's 10 %."""
    generator = random.Random(20)
    rows = []
    for _ in range(2000):
        page = "AB"[choose(generator, [1, 1])]
        rows.append([page, int(generator.random() < {"A": 0.10, "B": 0.12}[page])])
    return ["page", "converted"], rows


@table("casino")
def make_casino() -> Table:
    """Rolls of a fair die (state 0) that is now and then exchanged for one that shows six half the time (state 1)."""
    generator = random.Random(21)
    faces = [[1 / 6] * 6, [0.1] * 5 + [0.5]]
    state, rows = 0, []
    for _ in range(1000):
        rows.append([1 + choose(generator, faces[state]), state])
        state = choose(generator, [[0.95, 0.05], [0.1, 0.9]][state])
    return ["face", "true_state"], rows


@table("regimes")
def make_regimes() -> Table:
    """Daily returns in per cent of three regimes: calm, rising, turbulent."""
    generator = random.Random(22)
    transition = [[0.97, 0.02, 0.01], [0.03, 0.95, 0.02], [0.04, 0.02, 0.94]]
    state, rows = 0, []
    for day in range(1, 751):
        mean, sd = [(0.0, 0.4), (0.6, 0.7), (-0.4, 2.0)][state]
        rows.append([day, *rounded([generator.gauss(mean, sd)]), state])
        state = choose(generator, transition[state])
    return ["day", "change", "true_regime"], rows


@table("tracking")
def make_tracking() -> Table:
    """Noisy positions of a body that moves in the plane at nearly constant velocity; a fifth of the fixes are lost."""
    generator = random.Random(23)
    x, y, vx, vy = 0.0, 0.0, 0.6, 0.3
    rows = []
    for step in range(200):
        seen = [x + generator.gauss(0, 1), y + generator.gauss(0, 1)]
        fix = rounded(seen) if generator.random() < 0.8 else ["", ""]
        rows.append([step, *fix, *rounded([x, y])])
        x, y = x + vx, y + vy
        vx, vy = vx + generator.gauss(0, 0.15), vy + generator.gauss(0, 0.15)
    return ["step", "east", "north", "true_east", "true_north"], rows


@table("switching-dynamics")
def make_switching_dynamics() -> Table:
    """Noisy positions of a body that circles slowly one way (regime 0), and fast the other way with a decay (regime 1)."""
    generator = random.Random(29)
    turns = [(0.25, 0.995), (-0.9, 0.97)]
    regime, x, y = 0, 3.0, 0.0
    rows = []
    for step in range(400):
        rows.append([step, *rounded([x + generator.gauss(0, 0.3), y + generator.gauss(0, 0.3)]), regime])
        regime = choose(generator, [[0.97, 0.03], [0.06, 0.94]][regime])
        angle, length = turns[regime]
        x, y = (
            length * (math.cos(angle) * x - math.sin(angle) * y) + generator.gauss(0, 0.25),
            length * (math.sin(angle) * x + math.cos(angle) * y) + generator.gauss(0, 0.25),
        )
    return ["step", "east", "north", "true_regime"], rows


@table("item-response")
def make_item_response() -> Table:
    """Answers of 200 persons to 12 questions: P(right) = logistic(discrimination · ability − difficulty)."""
    generator = random.Random(24)
    difficulty = [-2.0 + 4.0 * i / 11 for i in range(12)]
    discrimination = [0.6 + 1.2 * generator.random() for _ in range(12)]
    rows = []
    for person in range(200):
        ability = generator.gauss(0, 1)
        for question in range(12):
            logit = discrimination[question] * ability - difficulty[question]
            rows.append([f"p{person + 1}", f"q{question + 1}", int(generator.random() < 1 / (1 + math.exp(-logit)))])
    return ["person", "question", "right"], rows


@table("ratings")
def make_ratings() -> Table:
    """A quarter of the ratings that 60 viewers would give 40 films, of rank two plus noise."""
    generator = random.Random(25)
    viewers = [[generator.gauss(0, 1) for _ in range(2)] for _ in range(60)]
    films = [[generator.gauss(0, 1) for _ in range(2)] for _ in range(40)]
    popularity = [generator.gauss(0, 0.5) for _ in range(40)]
    rows = []
    for v, taste in enumerate(viewers):
        for f, trait in enumerate(films):
            if generator.random() < 0.25:
                mean = 3.0 + popularity[f] + 0.7 * sum(a * b for a, b in zip(taste, trait))
                rows.append([f"v{v + 1}", f"f{f + 1}", *rounded([mean + generator.gauss(0, 0.3)], 2)])
    return ["viewer", "film", "rating"], rows


@table("two-lines")
def make_two_lines() -> Table:
    """Points about y = 1 + 2x and y = 4 − x."""
    generator = random.Random(26)
    rows = []
    for _ in range(200):
        x, line = generator.uniform(-3, 3), choose(generator, [0.6, 0.4])
        mean = [1 + 2 * x, 4 - x][line]
        rows.append([*rounded([x, mean + generator.gauss(0, 0.5)]), line])
    return ["x", "y", "true_line"], rows


@table("sensors")
def make_sensors() -> Table:
    """Ten sensors that respond to two hidden causes."""
    generator = random.Random(27)
    loading = [[generator.gauss(0, 1) for _ in range(2)] for _ in range(10)]
    noise = [0.2 + 0.6 * generator.random() for _ in range(10)]
    rows = []
    for _ in range(300):
        cause = [generator.gauss(0, 1) for _ in range(2)]
        means = [sum(a * b for a, b in zip(row, cause)) for row in loading]
        rows.append(rounded(m + generator.gauss(0, s) for m, s in zip(means, noise)))
    return [f"sensor_{i}" for i in range(10)], rows


@table("sparse-regression")
def make_sparse_regression() -> Table:
    """Twenty inputs, three of which matter: y = 3 + 2 x_0 − 1.5 x_3 + x_7 + N(0, 0.5²)."""
    generator = random.Random(28)
    rows = []
    for _ in range(150):
        x = [generator.gauss(0, 1) for _ in range(20)]
        y = 3 + 2 * x[0] - 1.5 * x[3] + x[7] + generator.gauss(0, 0.5)
        rows.append(rounded([*x, y]))
    return [f"x_{i}" for i in range(20)] + ["y"], rows


def write(path: Path, content: Table) -> None:
    header, rows = content
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().parent.parent / "models" / "data")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"tables to write (default: all of {', '.join(MAKERS)})")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.names if name not in MAKERS]
    if unknown:
        parser.error(f"no table is named {', '.join(unknown)}; there are {', '.join(MAKERS)}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    left = []
    for name in arguments.names or MAKERS:
        try:
            content = MAKERS[name]()
        except Unavailable as reason:
            left.append(f"{name} (needs {reason})")
            continue
        write(arguments.output / f"{name}.csv", content)
        print(f"{name}.csv: {len(content[1])} rows of {', '.join(content[0][:6])}{', …' if len(content[0]) > 6 else ''}")
    if left:
        print("left as they are: " + "; ".join(left), file=sys.stderr)
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
