//! Every kind of mistake is refused with its own diagnosis, its place, and the names involved.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;

use vi_model::diagnostic::ModelError;
use vi_model::load_str;

/// Data, plates and a well-formed child; `{}` is replaced by the variable under test.
const FRAME: &str = r#"
[data.values]
reading = [4.5, 1.5, 3.0, 2.5]
count = [1, 0, 2, 4]
group = ["a", "b", "a", "b"]
grid = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0], [7.0, 8.0]]
weight = { axes = ["state"], values = [0.2, 0.3, 0.5] }
scale = 2.0

[plates]
observation = "rows"
group = { levels = "group" }
state = 3
column = { columns = "grid" }

"#;

fn refusal(text: &str) -> ModelError {
    match load_str(text, "model.toml", Path::new("")) {
        Ok(_) => panic!("accepted:\n{text}"),
        Err(error) => error,
    }
}

/// Asserts that `body` after the frame is refused with `code`, that the message names `words`, and that the place is the
/// text `at`.
fn refused(body: &str, code: &str, at: &str, words: &[&str]) {
    let text = format!("{FRAME}{body}");
    let error = refusal(&text);
    let Some(found) = error.diagnostics.iter().find(|d| d.code == code) else {
        panic!("no `{code}` among {:#?}\n{body}", error.diagnostics);
    };
    let said = format!("{} {}", found.message, found.help.clone().unwrap_or_default());
    for word in words {
        assert!(said.contains(word), "`{word}` is not in: {said}");
    }
    let place = found.labels.first().map(|l| &text[l.span.clone()]);
    assert_eq!(place, Some(at), "place of {said}");
    assert!(!error.to_string().is_empty());
}

fn variable(keys: &str) -> String {
    format!("[variables.v]\n{keys}\n")
}

#[test]
fn toml_that_does_not_parse() {
    let error = refusal("[variables.x\nmean = 1");
    assert_eq!(error.diagnostics[0].code, "toml-syntax");
    assert!(error.to_string().contains("model.toml:1:"), "{error}");
}

#[test]
fn unknown_keys_name_the_nearest() {
    refused(
        &variable("distribution = \"normal\"\nmean = 0.0\nprecison = 1.0"),
        "unknown-key",
        "precison",
        &["precison", "`precision`", "`v`"],
    );
    refused("[inference]\nmax_iteration = 3\n", "unknown-key", "max_iteration", &["`max_iterations`"]);
    refused("[networks.n]\nlayer = [3]\n", "unknown-key", "layer", &["`layers`", "`n`"]);
    refused("[variable.x]\n", "unknown-key", "variable", &["`variables`"]);
    let error = refusal("[data.values]\nx = { axes = [\"a\"], value = [1.0] }\n[plates]\na = 1\n");
    assert!(error.diagnostics[0].message.contains("`values`"), "{error}");
    let error = refusal("[data]\nfiles = \"x.csv\"\n");
    assert!(error.diagnostics[0].message.contains("`file`"), "{error}");
    let error = refusal("[plates]\na = { level = \"x\" }\n");
    assert!(error.diagnostics[0].message.contains("`levels`"), "{error}");
}

#[test]
fn several_mistakes_are_told_at_once() {
    let text =
        format!("{FRAME}{}[inference]\nseeds = 1\n", variable("distribution = \"normal\"\nmena = 0.0\nsd = 1.0"));
    let error = refusal(&text);
    let codes: Vec<&str> = error.diagnostics.iter().map(|d| d.code).collect();
    assert_eq!(codes, ["unknown-key", "missing-parameter", "unknown-key"]);
}

#[test]
fn kinds_of_values() {
    refused(&variable("distribution = 3"), "unknown-distribution", "3", &["`v`"]);
    refused(&variable("distribution = \"normal\"\nmean = 0.0\nsd = true"), "wrong-kind", "true", &["`sd`", "`v`"]);
    refused(
        &variable("distribution = \"normal\"\nmean = 0.0\nsd = 1.0\nplates = \"observation\""),
        "wrong-kind",
        "\"observation\"",
        &["plates", "array"],
    );
    refused("[inference]\ndraws = 0\n", "wrong-kind", "0", &["`draws`", "at least 1"]);
    refused("[inference]\ntolerance = -1e-3\n", "wrong-kind", "-1e-3", &["`tolerance`"]);
    refused("[inference]\nseed = -1\n", "wrong-kind", "-1", &["`seed`"]);
    refused("[inference]\nlearning_rate = nan\n", "wrong-kind", "nan", &["`learning_rate`"]);
    refused("[inference]\nfamily = \"meanfield\"\n", "unknown-option", "\"meanfield\"", &["`family`", "mean-field"]);
    refused("[inference]\nstep_forgetting = 0.3\n", "step-forgetting", "0.3", &["0.7"]);
    refused("[networks.n]\nlayers = [3]\nactivation = \"rely\"\n", "unknown-option", "\"rely\"", &["relu"]);
    refused("[expressions]\ne = [1.0]\n", "wrong-kind", "[1.0]", &["`e`"]);
}

#[test]
fn distributions_and_their_parameters() {
    refused(&variable("mean = 0.0"), "missing-key", "v", &["distribution"]);
    refused(&variable("distribution = \"gausian\""), "unknown-distribution", "\"gausian\"", &["normal"]);
    refused(&variable("distribution = \"normal\"\nsd = 1.0"), "missing-parameter", "v", &["`mean`"]);
    refused(&variable("distribution = \"normal\"\nmean = 0.0"), "missing-parameter", "v", &["precision", "sd", "`v`"]);
    refused(
        &variable("distribution = \"normal\"\nmean = 0.0\nsd = 1.0\nprecision = 1.0"),
        "surplus-parameter",
        "precision",
        &["`sd`"],
    );
    refused(
        &variable("distribution = \"normal\"\nparameters = \"g\"\nmean = 1.0"),
        "surplus-parameter",
        "parameters",
        &["`mean`"],
    );
    refused(&variable("distribution = \"dirichlet\"\nconcentration = 1.0"), "missing-key", "v", &["dimension"]);
    refused(
        &variable("distribution = \"gamma\"\nshape = 1.0\nrate = 1.0\ndimension = 2"),
        "dimension-not-allowed",
        "dimension",
        &["gamma"],
    );
    refused(&variable("distribution = \"poisson\"\nrate = 1.0\nlower = 0.1"), "not-truncatable", "lower", &["poisson"]);
    refused(
        &variable("distribution = \"poisson\"\nrate = 1.0\namortized = \"f(x)\""),
        "not-amortizable",
        "amortized",
        &["poisson"],
    );
    refused(
        &variable("distribution = \"normal\"\nmean = 0.0\nsd = 1.0\nlower = 2.0\nupper = 1.0"),
        "empty-interval",
        "2.0",
        &["upper"],
    );
    refused(
        &variable("distribution = \"normal\"\nmean = 0.0\nsd = 1.0\ndimension = 2\nlower = 0.0"),
        "not-truncatable",
        "lower",
        &["dimension"],
    );
    refused(
        &variable(
            "plates = [\"observation\"]\ndistribution = \"markov-chain\"\ninitial = \"weight\"\ntransition = 1.0",
        ),
        "not-a-matrix",
        "1.0",
        &["`transition`"],
    );
}

#[test]
fn constants_outside_their_domain() {
    refused(
        &variable("distribution = \"normal\"\nmean = 0.0\nsd = -1.0"),
        "outside-domain",
        "-1.0",
        &["`sd`", "`v`", "-1"],
    );
    refused(&variable("distribution = \"normal\"\nmean = inf\nsd = 1.0"), "not-finite", "inf", &["`mean`"]);
    refused(
        &variable("distribution = \"bernoulli\"\nprobability = 1.5"),
        "outside-domain",
        "1.5",
        &["between 0 and 1"],
    );
    refused(
        &variable("distribution = \"categorical\"\nprobabilities = [0.5, 0.6]"),
        "outside-domain",
        "[0.5, 0.6]",
        &["sums to 1.1"],
    );
    refused(
        &variable("distribution = \"normal\"\ndimension = 2\nmean = 0.0\nprecision = [[1.0, 2.0], [2.0, 1.0]]"),
        "outside-domain",
        "[[1.0, 2.0], [2.0, 1.0]]",
        &["positive definite"],
    );
    refused(
        &variable(
            "distribution = \"wishart\"\ndimension = 2\ndegrees_of_freedom = 1.0\nscale = [[1.0, 0.0], [0.0, 1.0]]",
        ),
        "outside-domain",
        "1.0",
        &["degrees_of_freedom", "dimension minus 1"],
    );
    refused(
        &variable("distribution = \"normal\"\nmean = [1.0, 2.0]\nsd = 1.0\nplates = [\"state\"]"),
        "array-size",
        "[1.0, 2.0]",
        &["`state` (3)"],
    );
    refused(
        &variable("distribution = \"normal\"\nmean = [1.0, \"a\"]\nsd = 1.0\nplates = [\"state\"]"),
        "array-form",
        "\"a\"",
        &["rectangular"],
    );
}

#[test]
fn names() {
    refused(
        &variable("distribution = \"normal\"\nmean = \"readings\"\nsd = 1.0"),
        "unknown-name",
        "readings",
        &["`reading`", "`mean` of variable `v`"],
    );
    refused(
        &variable("distribution = \"normal\"\nmean = \"sin(scale)\"\nsd = 1.0"),
        "unknown-function",
        "sin(scale)",
        &["softplus"],
    );
    refused(
        &variable("distribution = \"normal\"\nmean = \"exp(scale, scale)\"\nsd = 1.0"),
        "argument-count",
        "exp(scale, scale)",
        &["1 argument"],
    );
    refused("[variables.\"\"]\ndistribution = \"flat\"\n", "empty-name", "\"\"", &["variable", "backquotes"]);
    refused("[expressions]\n\" \" = \"scale\"\n", "empty-name", "\" \"", &["named expression"]);
    refused("[plates.\"\"]\nlevels = \"group\"\n", "empty-name", "\"\"", &["plate"]);
    refused(
        "[variables.my-mean]\ndistribution = \"flat\"\n[expressions]\ndouble = \"2 * my-mean\"\n",
        "unknown-name",
        "my",
        &["`my-mean`", "backquotes"],
    );
    refused("[expressions]\ne = \"scale ** 2\"\n", "expression-syntax", "*", &["square(a)"]);
    refused("[expressions]\ne = \"my scale\"\n", "expression-syntax", "scale", &["an operator", "backquotes"]);
    refused("[variables.reading]\ndistribution = \"flat\"\n", "name-clash", "reading", &["data column", "variable"]);
    refused("[variables.grid]\ndistribution = \"flat\"\n", "name-clash", "grid", &["data block"]);
    refused("[expressions]\nscale = \"1 + 1\"\n", "name-clash", "scale", &["constant"]);
    refused(
        &variable("distribution = \"normal\"\nmean = 0.0\nsd = 1.0\nplates = [\"observations\"]"),
        "unknown-plate",
        "\"observations\"",
        &["`observation`"],
    );
    refused(
        &variable("distribution = \"dirichlet\"\ndimension = \"stat\"\nconcentration = 1.0"),
        "unknown-plate",
        "\"stat\"",
        &["`state`"],
    );
    refused(
        &variable("distribution = \"dirichlet\"\ndimension = \"observation\"\nconcentration = 1.0"),
        "rows-dimension",
        "\"observation\"",
        &["plates"],
    );
    refused(
        "[inference]\nblocks = [[\"w\"]]\n[variables.v]\ndistribution = \"flat\"\n",
        "unknown-variable",
        "\"w\"",
        &["`w`"],
    );
    refused("[data.blocks]\nb = [\"redding\"]\n", "unknown-column", "\"redding\"", &["`reading`"]);
    refused("[data]\ncounts = \"counts\"\n", "unknown-column", "\"counts\"", &["`count`"]);
    refused("[data]\nstandardize = [\"group\"]\n", "not-a-number", "\"group\"", &["`group`", "`a`"]);
}

#[test]
fn plates() {
    for (plate, code) in [
        ("other = \"rows\"", "two-row-plates"),
        ("other = 0", "empty-plate"),
        ("other = 1000000000000", "large-plate"),
        ("other = \"group\"", "plate-form"),
        ("other = 1.5", "plate-form"),
        ("other = { levels = \"groups\" }", "unknown-column"),
        ("other = { columns = \"grids\" }", "unknown-block"),
        ("other = { columns = \"grid\" }", "two-column-plates"),
        ("other = { columns = \"grid\", levels = \"group\" }", "plate-form"),
    ] {
        let error = refusal(&format!("{FRAME}{plate}\n"));
        assert_eq!(error.diagnostics[0].code, code, "{plate}: {error}");
        assert!(error.to_string().contains("`other`"), "{error}");
    }
    let error = refusal("[plates]\nobservation = \"rows\"\n");
    assert_eq!(error.diagnostics[0].code, "no-rows");
}

#[test]
fn axes_of_expressions() {
    refused(
        &variable("distribution = \"normal\"\nmean = \"reading\"\nsd = 1.0"),
        "surplus-axis",
        "\"reading\"",
        &["`v`", "`observation`"],
    );
    refused(
        &variable("distribution = \"normal\"\nplates = [\"observation\"]\nmean = \"grid\"\nsd = 1.0"),
        "surplus-axis",
        "\"grid\"",
        &["`column`"],
    );
    refused(
        &variable("distribution = \"normal\"\nplates = [\"observation\"]\nmean = \"dot(reading, weight)\"\nsd = 1.0"),
        "no-shared-dimension",
        "dot(reading, weight)",
        &["`state`"],
    );
    refused(
        &variable("distribution = \"normal\"\nplates = [\"observation\"]\nmean = \"reading[group]\"\nsd = 1.0"),
        "index-mismatch",
        "group",
        &["`group`"],
    );
    refused(
        &variable("distribution = \"normal\"\nplates = [\"observation\"]\nmean = \"weight[weight + 1]\"\nsd = 1.0"),
        "not-an-index",
        "weight + 1",
        &["look-up", "single quotes"],
    );
    let other = "[variables.w]\ndistribution = \"dirichlet\"\ndimension = \"group\"\nconcentration = 1.0\n";
    let body = format!(
        "{}{other}",
        variable("distribution = \"normal\"\nplates = [\"observation\"]\nmean = \"w[group]\"\nsd = 1.0")
    );
    refused(&body, "index-mismatch", "group", &["dimension", "plates = [\"group\"]"]);
    let other = "[variables.w]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0\n";
    let body = format!(
        "{}{other}",
        variable("distribution = \"normal\"\nplates = [\"observation\"]\nmean = \"weight[w]\"\nsd = 1.0")
    );
    refused(&body, "not-an-index", "w", &["`w`", "normal"]);
    let other = "[variables.z]\ndistribution = \"categorical\"\nprobabilities = \"weight\"\n";
    let body = format!("{}{other}", variable("distribution = \"normal\"\nmean = \"z + 1\"\nsd = 1.0"));
    refused(&body, "index-as-number", "z", &["a[z]"]);
    refused(
        &variable("distribution = \"categorical\"\nplates = [\"state\"]\nprobabilities = \"scale\""),
        "no-range",
        "\"scale\"",
        &["dimension"],
    );
}

#[test]
fn circles_and_order() {
    let circle = "[variables.a]\ndistribution = \"normal\"\nmean = \"b\"\nsd = 1.0\n[variables.b]\ndistribution = \"normal\"\nmean = \"a\"\nsd = 1.0\n";
    refused(circle, "cyclic-parents", "a", &["`a` → `b` → `a`"]);
    refused("[expressions]\ne = \"f + 1\"\nf = \"scale\"\n", "expression-order", "f", &["`e`", "move `f` above"]);
    refused("[expressions]\ne = \"e + 1\"\n", "expression-order", "e", &["`e`"]);
}

#[test]
fn joint_variables() {
    let pair =
        "[variables.g]\ndistribution = \"normal-gamma\"\nmean = 0.0\nmean_precision = 1.0\nshape = 1.0\nrate = 1.0\n";
    let child = |keys: &str| {
        format!("{pair}{}", variable(&format!("distribution = \"normal\"\nplates = [\"observation\"]\n{keys}")))
    };
    refused(&child("mean = \"g\"\nsd = 1.0"), "joint-variable", "g", &["parameters"]);
    refused(&child("parameters = \"g\"\ndimension = \"column\""), "not-a-joint-variable", "\"g\"", &["normal-wishart"]);
    for (parameters, word) in [
        ("square(g)", "not linear"),
        ("g * g", "not linear"),
        ("1 / g", "not linear"),
        ("reading + 1", "no pair"),
        ("g + other", "two pairs"),
        ("both + reading", "stand by itself"),
    ] {
        let more = pair.replace("[variables.g]", "[variables.other]");
        let both = "[variables.both]\ndistribution = \"normal-wishart\"\ndimension = \"column\"\nmean = 0.0\n\
                    mean_precision = 1.0\ndegrees_of_freedom = 3.0\nscale = 1.0\n";
        let text = format!("{more}{both}{}", child(&format!("parameters = \"{parameters}\"")));
        refused(&text, "not-a-joint-variable", &format!("\"{parameters}\""), &[word]);
    }
    let two = |parameters: &str| {
        format!(
            "[data.values]\na = [0, 1]\nb = [1, 0]\ny = [1.0, 2.0]\n[plates]\nrow = \"rows\"\none = {{ levels = \"a\" }}\n\
             [variables.g]\nplates = [\"one\"]\ndistribution = \"normal-gamma\"\nmean = 0.0\nmean_precision = 1.0\nshape = 1.0\n\
             rate = 1.0\n[variables.v]\nplates = [\"row\"]\ndistribution = \"normal\"\nparameters = \"{parameters}\"\nobserved = \"y\"\n"
        )
    };
    let error = refusal(&two("2 * g[a] + g[b]"));
    assert!(error.to_string().contains("two elements of `g`"), "{error}");
    assert!(vi_model::load_str(&two("2 * g[a] - g[a] + y"), "model.toml", ".".as_ref()).is_ok());
    let exposed = format!("[expressions]\neta = \"g + 1\"\n{}", child("mean = \"eta\"\nsd = 1.0"));
    refused(&exposed, "joint-variable", "eta", &["pair"]);
    refused(&child("parameters = \"scale\""), "not-a-joint-variable", "\"scale\"", &["normal-gamma"]);
    let observed = format!("{pair}observed = \"reading\"\n");
    refused(&observed, "observed-pair", "\"reading\"", &["`g`"]);
}

#[test]
fn observed_values() {
    let normal = |keys: &str| variable(&format!("distribution = \"normal\"\nmean = 0.0\nsd = 1.0\n{keys}"));
    refused(&normal("observed = \"reading\""), "observed-axes", "\"reading\"", &["`observation`", "no axes"]);
    refused(&normal("plates = [\"observation\"]\nobserved = \"grid\""), "observed-axes", "\"grid\"", &["2 columns"]);
    refused(
        &normal("plates = [\"observation\", \"state\"]\nobserved = \"grid\""),
        "observed-width",
        "\"grid\"",
        &["2 columns", "3 elements"],
    );
    refused(
        &normal("plates = [\"observation\"]\ndimension = 3\nobserved = \"grid\""),
        "observed-width",
        "\"grid\"",
        &["2 columns"],
    );
    refused(
        &normal("plates = [\"observation\"]\nobserved = \"group\""),
        "not-a-number",
        "group",
        &["`group`", "`a`", "row 1"],
    );
    let other = "[variables.w]\ndistribution = \"flat\"\n";
    refused(
        &format!("{other}{}", normal("plates = [\"observation\"]\nobserved = \"reading + w\"")),
        "observed-latent",
        "\"reading + w\"",
        &["`w`"],
    );
    refused(
        &normal("plates = [\"observation\"]\nobserved = \"reading\"\npoint = true"),
        "point-observed",
        "true",
        &["`v`"],
    );
    let index = |keys: &str| {
        variable(&format!(
            "distribution = \"categorical\"\nplates = [\"observation\"]\nprobabilities = \"weight\"\n{keys}"
        ))
    };
    refused(&index("observed = \"count\""), "unknown-level", "\"count\"", &["`count`", "4", "`state`"]);
    refused(&index("observed = \"reading + 1\""), "observed-index", "\"reading + 1\"", &["column"]);
}

#[test]
fn values_outside_the_support() {
    let bernoulli =
        variable("distribution = \"bernoulli\"\nplates = [\"observation\"]\nprobability = 0.5\nobserved = \"count\"");
    let error = refusal(&format!("{FRAME}{bernoulli}"));
    assert!(error.to_string().contains("`count`") && error.to_string().contains("row 3"), "{error}");
}

#[test]
fn networks() {
    let latent =
        "[variables.v]\nplates = [\"observation\"]\ndistribution = \"normal\"\ndimension = 2\nmean = 0.0\nsd = 1.0\n";
    let net = "[networks.f]\nlayers = [4]\n";
    let child = |mean: &str| {
        format!(
            "{net}{latent}[variables.x]\nplates = [\"observation\", \"column\"]\ndistribution = \"normal\"\nmean = \"{mean}\"\nsd = 1.0\nobserved = \"grid\"\n"
        )
    };
    assert!(load_str(&format!("{FRAME}{}", child("f(v)")), "m", Path::new("")).is_ok());
    refused(&child("f(v) + f(reading)"), "network-width", "f(reading)", &["`f`", "2 and 1"]);
    refused(&child("f"), "network-without-input", "f", &["f(…)"]);
    refused(&child("f(f(v))"), "network-width", "f(v)", &["`f`"]);
    refused("[networks.f]\nlayers = [3]\nlinear = true\n", "linear-network", "f", &["`f`"]);
    refused("[networks.f]\nactivation = \"tanh\"\n", "network-without-layers", "f", &["linear = true"]);
    refused(&format!("{net}{latent}amortized = \"grid\"\n"), "amortized", "\"grid\"", &["network"]);
    refused(
        &format!("{net}{latent}amortized = \"f(grid)\"\nobserved = \"grid\"\n"),
        "amortized",
        "\"f(grid)\"",
        &["observed"],
    );
}

#[test]
fn inline_values() {
    for (values, code, words) in [
        ("x = [1.0, 2.0]\ny = [1.0]", "unequal-length", "`y`"),
        ("x = [1.0, \"a\"]", "inline-value", "`x`"),
        ("x = [[1.0, 2.0], [3.0]]", "inline-value", "an array of 1"),
        ("x = nan", "inline-value", "finite"),
        ("x = [1.0, inf]", "inline-value", "inf"),
        ("x = { axes = [\"p\"], values = [1.0, 2.0] }\n[plates]\np = 3", "constant-size", "3 elements"),
        ("x = { axes = [\"q\"], values = [1.0, 2.0] }\n[plates]\np = 2", "unknown-plate", "`q`"),
        ("x = { axes = [\"p\"], values = [[1.0], [2.0]] }\n[plates]\np = 2", "inline-value", "nested 2 deep"),
        ("x = { axes = [\"p\"], values = [1.0, nan] }\n[plates]\np = 2", "inline-value", "NaN"),
        ("x = 1979-05-27", "inline-value", "a date"),
    ] {
        let error = refusal(&format!("[data.values]\n{values}\n"));
        assert_eq!(error.diagnostics[0].code, code, "{values}: {error}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn chains() {
    let chain = |keys: &str| variable(&format!("distribution = \"markov-chain\"\ninitial = \"weight\"\n{keys}"));
    let square = "transition = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]";
    refused(&chain(square), "chain-without-rows", "v", &["\"observation\""]);
    refused(
        &chain("plates = [\"observation\"]\ntransition = [0.5, 0.5]"),
        "array-size",
        "[0.5, 0.5]",
        &["`state` (3), `state` (3)"],
    );
    refused(
        &chain(&format!("plates = [\"observation\"]\n{square}\nsequence = \"groups\"")),
        "unknown-column",
        "\"groups\"",
        &["`group`"],
    );
}

#[test]
fn coefficients_of_a_gaussian_chain() {
    let refused_as = |values: &str, transition: &str, code: &str, words: &[&str]| {
        let text = format!(
            "[data.values]\ny = [[1.0, 2.0], [2.0, 1.0]]\n{values}\n[plates]\nt = \"rows\"\nto = 2\nfrom = 2\nthird = 3\n\
             [variables.x]\nplates = [\"t\"]\ndistribution = \"gaussian-markov-chain\"\ndimension = \"to\"\n\
             initial_mean = 0.0\ninitial_precision = 1.0\ntransition = \"{transition}\"\ninnovation_precision = 1.0\n\
             [variables.v]\nplates = [\"t\"]\ndistribution = \"normal\"\ndimension = \"to\"\nmean = \"x\"\nsd = 1.0\n\
             observed = \"y\"\n"
        );
        let error = refusal(&text);
        assert_eq!(error.diagnostics[0].code, code, "{error}");
        words.iter().for_each(|word| assert!(error.to_string().contains(word), "{error}"));
    };
    let wide = "A = { axes = [\"to\", \"third\"], values = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]] }";
    refused_as(wide, "A", "surplus-axis", &["`third`"]);
    let row = "A = { axes = [\"from\"], values = [1.0, 0.0] }";
    refused_as(row, "A", "surplus-axis", &["`from`"]);
    let diagonal = "A = { axes = [\"to\"], values = [1.0, 0.0] }";
    refused_as(diagonal, "A", "not-a-matrix", &["`to`"]);
    let turned = "A = { axes = [\"to\", \"from\"], values = [[1.0, 0.0], [0.5, 1.0]] }\n\
                  s = { axes = [\"from\"], values = [1.0, 2.0] }";
    refused_as(turned, "s * A", "turned-coefficients", &["`from`, `to`", "one order"]);
}

#[test]
fn missing_covariates() {
    let text = "[data.values]\nx = [1.0, nan]\ny = [1.0, 2.0]\n[plates]\nrow = \"rows\"\n[variables.b]\ndistribution = \"flat\"\n\
                [variables.v]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"b * x\"\nsd = 1.0\nobserved = \"y\"\n";
    let error = refusal(text);
    assert!(error.to_string().contains("`x`") && error.to_string().contains("row 2"), "{error}");
    let text = "[data.values]\ng = [\"a\", \"\"]\ny = [1.0, 2.0]\n[plates]\nrow = \"rows\"\ng = { levels = \"g\" }\n[variables.b]\n\
                distribution = \"flat\"\nplates = [\"g\"]\n[variables.v]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"b[g]\"\n\
                sd = 1.0\nobserved = \"y\"\n";
    let error = refusal(text);
    assert!(error.to_string().contains("`g`") && error.to_string().contains("row 2"), "{error}");
    // A missing observed value is a latent one.
    assert!(
        load_str(&text.replace("mean = \"b[g]\"", "mean = 0.0").replace("2.0]", "nan]"), "m", Path::new("")).is_ok()
    );
}

#[test]
fn parents_of_the_wrong_support() {
    let parent = |keys: &str| format!("[variables.w]\ndistribution = {keys}\n");
    let child = |key: &str| {
        variable(&format!(
            "distribution = \"normal\"\nplates = [\"observation\"]\nmean = 0.0\n{key} = \"w\"\nobserved = \"reading\""
        ))
    };
    let real = parent("\"normal\"\nmean = 0.0\nsd = 1.0");
    refused(&format!("{real}{}", child("sd")), "parent-support", "w", &["`sd` of variable `v`", "`w`", "exp(w)"]);
    let flip = variable("distribution = \"bernoulli\"\nplates = [\"observation\"]\nprobability = \"w\"");
    refused(&format!("{real}{flip}"), "parent-support", "w", &["logit = \"w\""]);
    let gamma = parent("\"gamma\"\nshape = 1.0\nrate = 1.0\nplates = [\"state\"]");
    let index = variable("distribution = \"categorical\"\nplates = [\"observation\"]\nprobabilities = \"w\"");
    refused(&format!("{gamma}{index}"), "parent-support", "w", &["dirichlet"]);
    for fitting in [
        "\"normal\"\nmean = 0.0\nsd = 1.0\nlower = 0.0",
        "\"beta\"\nalpha = 1.0\nbeta = 1.0",
        "\"uniform\"\nlower = 0.5\nupper = 2.0",
    ] {
        let text = format!("{FRAME}{}{}", parent(fitting), child("precision"));
        assert!(load_str(&text, "m", Path::new("")).is_ok(), "{fitting}");
    }
}
