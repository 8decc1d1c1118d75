//! Models without a conjugate update are refused with the culprit, the child, the key and the way to the other engine.

mod common;

use common::refused;

const DATA: &str = "[data.values]\ny = [1.0, 2.0]\nc = [0, 1]\n[plates]\no = \"rows\"\nk = 2\n";
const GAMMA: &str = "[variables.g]\ndistribution = \"gamma\"\nshape = 1\nrate = 1\n";
const NORMAL: &str = "[variables.m]\ndistribution = \"normal\"\nmean = 0\nsd = 1\n";

/// An observed `x` of a distribution with parameters, after other variables.
fn child(variables: &str, distribution: &str, parameters: &str) -> String {
    let observed = if distribution == "categorical" || distribution == "bernoulli" { "c" } else { "y" };
    format!(
        "{DATA}{variables}[variables.x]\nplates = [\"o\"]\ndistribution = \"{distribution}\"\n{parameters}\nobserved = \"{observed}\"\n"
    )
}

#[test]
fn a_gamma_is_no_mean_spread_or_scale() {
    refused(&child(GAMMA, "normal", "mean = \"g\"\nsd = 1"), &["`g`", "mean", "`x`", "sgvi"]);
    refused(&child(GAMMA, "normal", "mean = 0\nsd = \"g\""), &["`g`", "sd", "`x`", "sgvi"]);
    refused(
        &child(GAMMA, "normal", "mean = 0\nvariance = \"g\""),
        &["`g`", "variance", "`x`", "inverse-gamma", "sgvi"],
    );
    refused(&child(GAMMA, "gamma", "shape = 1\nscale = \"g\""), &["`g`", "scale", "`x`", "sgvi"]);
    refused(&child(GAMMA, "gamma", "shape = \"g\"\nrate = 1"), &["`g`", "shape", "`x`", "sgvi"]);
}

#[test]
fn precisions_are_products_of_different_gammas() {
    let two = format!("{GAMMA}{}", GAMMA.replace(".g]", ".h]"));
    refused(&child(&two, "normal", "mean = 0\nprecision = \"g + h\""), &["`x`", "sum", "sgvi"]);
    refused(&child(GAMMA, "normal", "mean = 0\nprecision = \"g * g\""), &["`g`", "twice", "`x`", "sgvi"]);
}

#[test]
fn one_element_of_a_rate_may_not_stand_twice() {
    let model = |pairs: &str| {
        format!(
            "[data.values]\ns = [\"a\", \"b\"]\nr = {pairs}\ny = [1, 2]\n[plates]\no = \"rows\"\np = {{ levels = \"s\" }}\n\
             [variables.g]\nplates = [\"p\"]\ndistribution = \"gamma\"\nshape = 1\nrate = 1\n\
             [variables.x]\nplates = [\"o\"]\ndistribution = \"poisson\"\nrate = \"g[s] * g[r]\"\nobserved = \"y\"\n"
        )
    };
    refused(&model("[\"b\", \"b\"]"), &["`g`", "twice", "`x`"]);
    // Elements that never meet are conjugate one at a time.
    common::fit(&model("[\"b\", \"a\"]"));
}

#[test]
fn means_are_multilinear_in_normals() {
    refused(&child(NORMAL, "normal", "mean = \"m * m\"\nsd = 1"), &["`m`", "twice", "`x`", "sgvi"]);
    refused(&child(NORMAL, "normal", "mean = \"exp(m)\"\nsd = 1"), &["exp(m)", "sgvi"]);
    refused(&child(NORMAL, "normal", "mean = \"1 / m\"\nsd = 1"), &["divides", "sgvi"]);
}

#[test]
fn distributions_of_the_other_engine() {
    let half = "[variables.g]\ndistribution = \"half-normal\"\nsd = 1\n";
    refused(&child(half, "normal", "mean = 0\nprecision = \"g\""), &["`g`", "half-normal", "sgvi"]);
    refused(&child(NORMAL, "logistic", "location = \"m\"\nscale = 1"), &["`x`", "logistic", "sgvi"]);
    refused(&child(NORMAL, "poisson", "log_rate = \"m\""), &["log rate", "`x`", "sgvi"]);
    let truncated = NORMAL.replace("sd = 1", "sd = 1\nlower = 0.0");
    refused(&child(&truncated, "normal", "mean = \"m\"\nsd = 1"), &["lower", "`m`", "sgvi"]);
}

#[test]
fn parameters_that_must_be_known() {
    let beta = "[variables.p]\ndistribution = \"beta\"\nalpha = \"g\"\nbeta = 1\n";
    refused(&child(&format!("{GAMMA}{beta}"), "bernoulli", "probability = \"p\""), &["`g`", "alpha", "`p`", "sgvi"]);
    let dirichlet = "[variables.p]\ndistribution = \"dirichlet\"\ndimension = \"k\"\nconcentration = \"g\"\n";
    let both = format!("{GAMMA}{dirichlet}");
    refused(&child(&both, "categorical", "probabilities = \"p\""), &["`g`", "concentration", "`p`", "sgvi"]);
    let student = "degrees_of_freedom = \"g\"\nmean = 0\nsd = 1";
    refused(&child(GAMMA, "student-t", student), &["degrees", "`x`", "sgvi"]);
    let halved = "[variables.p]\ndistribution = \"beta\"\nalpha = 1\nbeta = 1\n";
    refused(&child(halved, "bernoulli", "probability = \"p * 0.5\""), &["`x`", "arithmetic", "sgvi"]);
}

#[test]
fn blocks_hold_normals() {
    let both = format!("{GAMMA}{NORMAL}");
    let model = format!(
        "{}[inference]\nblocks = [[\"g\", \"m\"]]\n",
        child(&both, "normal", "mean = \"m\"\nprecision = \"g\"")
    );
    refused(&model, &["`g`", "not normal"]);
}

#[test]
fn a_chain_is_no_point() {
    let chain = "[variables.z]\nplates = [\"o\"]\ndistribution = \"markov-chain\"\ninitial = [0.5, 0.5]\n\
                 transition = [[0.8, 0.2], [0.2, 0.8]]\npoint = true\n";
    let mean = "[variables.m]\nplates = [\"k\"]\ndistribution = \"normal\"\nmean = 0\nsd = 1\n";
    refused(&child(&format!("{chain}{mean}"), "normal", "mean = \"m[z]\"\nsd = 1"), &["`z`", "point"]);
}

#[test]
fn discrete_variables_in_a_block_are_what_the_other_engine_sums_out() {
    let model = format!(
        "{DATA}[variables.z]\nplates = [\"o\"]\ndistribution = \"categorical\"\nprobabilities = [0.5, 0.5]\ndimension = \"k\"\n\
         {NORMAL}[variables.x]\nplates = [\"o\"]\ndistribution = \"normal\"\nmean = \"m\"\nsd = 1\nobserved = \"y\"\n\
         [inference]\nblocks = [[\"z\", \"m\"]]\n"
    );
    refused(&model, &["`z` is discrete", "sgvi"]);
}

#[test]
fn ordered_elements_are_for_the_other_engine() {
    let model = format!(
        "{DATA}[variables.m]\nplates = [\"k\"]\ndistribution = \"normal\"\nmean = 0\nsd = 1\nordered = true\n\
         [variables.x]\nplates = [\"o\"]\ndistribution = \"normal\"\nmean = \"m[c]\"\nsd = 1\nobserved = \"y\"\n"
    );
    refused(&model, &["`m`", "ordered", "sgvi"]);
}

#[test]
fn known_numbers_that_a_gate_reads_lie_where_their_parameter_does() {
    let gate = "[data.values.table]\naxes = [\"k\"]\nvalues = [0.5, 3.0]\n\
                [variables.z]\nplates = [\"o\"]\ndistribution = \"categorical\"\nprobabilities = [0.5, 0.5]\n";
    refused(&child(gate, "gamma", "shape = \"table[z] - 1.0\"\nrate = 1"), &["shape", "`x`", "greater than 0", "-0.5"]);
    refused(&child(gate, "gamma", "shape = 1\nrate = \"table[z] - 1.0\""), &["rate", "`x`", "-0.5"]);
    refused(&child(gate, "normal", "mean = 0\nsd = \"0.0 * table[z]\""), &["sd", "`x`"]);
}

#[test]
fn shapes_are_points_or_known() {
    let shape = child(GAMMA, "gamma", "shape = \"g\"\nrate = 1");
    refused(&shape, &["`g`", "shape", "`x`", "point = true"]);
    common::fit(&shape.replacen("rate = 1\n", "rate = 1\npoint = true\n", 1));
    let flat = "[variables.m]\ndistribution = \"flat\"\n";
    refused(&child(flat, "normal", "mean = \"m\"\nsd = 1"), &["`m`", "no prior", "point = true"]);
}

#[test]
fn a_point_without_a_mode_is_named_with_its_remedy() {
    let model = |shape: f64, rate: f64| {
        format!(
            "[data.values]\nn = [0, 0]\n[plates]\no = \"rows\"\n\
             [variables.g]\ndistribution = \"gamma\"\nshape = {shape:?}\nrate = {rate:?}\npoint = true\n\
             [variables.x]\nplates = [\"o\"]\ndistribution = \"poisson\"\nrate = \"g\"\nobserved = \"n\"\n"
        )
    };
    refused(&model(0.5, 1.0), &["`g`", "towards 0", "shape of at least 1", "leave `point` out"]);
    // At a shape of 1 the mode is 0 itself.
    let (elbo, ascent) = common::fit(&model(1.0, 2.0));
    common::close("elbo", &[elbo], &[2.0_f64.ln()], 1e-12);
    common::close("g", &common::mean(&ascent, "g"), &[0.0], 1e-12);
}

#[test]
fn counts_of_counts_are_summed_out_by_the_other_engine() {
    let success = "[variables.p]\ndistribution = \"beta\"\nalpha = 1\nbeta = 1\n";
    for count in ["distribution = \"poisson\"\nrate = 6", "distribution = \"binomial\"\ntrials = 9\nprobability = 0.5"]
    {
        let counts = format!("{success}[variables.n]\nplates = [\"o\"]\n{count}\n");
        let model = child(&counts, "binomial", "trials = \"n\"\nprobability = \"p\"");
        refused(&model, &["`n`", "sgvi", "`marginalized = true` in `n`"]);
    }
}
