//! A mean vector and one precision as one factor: regressions with unknown noise have their evidence, as computed in NumPy and SciPy.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

mod common;

use cavi::LogDensity;
use common::{close, fit, mean, parameter, predicted, sd};

const DATA: &str = r#"
[data.values]
x = [[0.346, 0.822, 0.33], [-1.303, 0.905, 0.446], [-0.537, 0.581, 0.365], [0.294, 0.028, 0.547], [-0.736, -0.163, -0.482],
[0.599, 0.04, -0.292], [-0.782, -0.257, 0.008], [-0.276, 1.294, 1.007], [-2.711, -1.889, -0.175], [-0.422, 0.214, 0.217],
[2.118, -1.112, -0.378], [2.043, 0.647, 0.663]]
y = [-0.339, -2.549, -0.45, 1.555, -0.142, 1.1, 0.707, -1.738, 1.94, 0.297, 5.167, 1.878]
z = [0, 1, 1, 0, 1, 0, 0, 1, 0, 1, 1, 0]
share = { axes = ["group"], values = [0.4, 0.6] }
[plates]
row = "rows"
group = 2
"#;

fn pair(keys: &str) -> String {
    format!(
        "[variables.w]\ndistribution = \"normal-gamma\"\ndimension = \"x\"\nmean = [0.3, -0.4, 0.2]\nshape = 1.7\nrate = 0.9\n{keys}\n"
    )
}

fn seen(parameters: &str) -> String {
    format!(
        "[variables.seen]\nplates = [\"row\"]\ndistribution = \"normal\"\nparameters = \"{parameters}\"\nobserved = \"y\"\n"
    )
}

const MATRIX: &str = "mean_precision = [[2.0, 0.5, 0.1], [0.5, 1.0, 0.0], [0.1, 0.0, 1.5]]";

#[test]
fn a_regression_with_unknown_noise_has_its_evidence() {
    for (keys, evidence) in [
        (MATRIX, -13.000_074_628_871_305),
        ("mean_precision = [2.0, 1.0, 0.5]", -14.646_711_891_358_864),
        ("mean_precision = 0.7", -13.408_693_143_127_289),
    ] {
        let (elbo, ascent) = fit(&format!("{DATA}{}{}", pair(keys), seen("dot(w, x) + 1")));
        close("elbo", &[elbo], &[evidence], 1e-12);
        close("shape", &parameter(&ascent, "w", "shape"), &[7.7], 1e-12);
    }
    let (_, ascent) = fit(&format!("{DATA}{}{}", pair(MATRIX), seen("1 + dot(x, w)")));
    close("mean", &mean(&ascent, "w"), &[0.994_928_72, -1.869_988_09, 0.151_591_33], 1e-8);
    close("rate", &parameter(&ascent, "w", "rate"), &[2.510_830_988_022_666_2], 1e-12);
    let precision =
        [21.967_905, 3.286_566, 0.430_267, 3.286_566, 9.870_978, 3.496_469, 0.430_267, 3.496_469, 4.232_118];
    close("mean precision", &parameter(&ascent, "w", "mean_precision"), &precision, 1e-12);
}

#[test]
fn a_scalar_location_may_stand_in_an_expression_too() {
    let slope =
        "[variables.g]\ndistribution = \"normal-gamma\"\nmean = 0.3\nmean_precision = 1.5\nshape = 1.7\nrate = 0.9\n";
    let data = DATA.replace(
        "[plates]",
        "u = [0.346, -1.303, -0.537, 0.294, -0.736, 0.599, -0.782, -0.276, -2.711, -0.422, 2.118, 2.043]\n[plates]",
    );
    let (elbo, ascent) = fit(&format!("{data}{slope}{}", seen("g * u + 2")));
    close("elbo", &[elbo], &[-29.971_100_868_398_27], 1e-12);
    close("mean", &mean(&ascent, "g"), &[0.799_932_97], 1e-8);
}

#[test]
fn a_vector_of_values_with_missing_cells() {
    let model = r#"
[data.values]
v = [[0.594, 0.891, 0.321], [-0.818, 0.732, nan], [0.879, nan, 0.914], [-0.02, -1.249, -0.314]]
[plates]
row = "rows"
coordinate = { columns = "v" }
[variables.w]
distribution = "normal-gamma"
dimension = "coordinate"
mean = [0.3, -0.4, 0.2]
mean_precision = [[2.0, 0.5, 0.1], [0.5, 1.0, 0.0], [0.1, 0.0, 1.5]]
shape = 1.7
rate = 0.9
[variables.seen]
plates = ["row"]
distribution = "normal"
dimension = "coordinate"
parameters = "w"
observed = "v"
"#;
    let (elbo, ascent) = fit(model);
    close("elbo", &[elbo], &[-13.768_450_211_022_701], 1e-12);
    close("mean", &mean(&ascent, "w"), &[0.170_455_38, 0.009_693_08, 0.274_212_1], 1e-8);
}

#[test]
fn one_pair_for_each_row() {
    let model = r#"
[data.values]
v = [[1.0, 2.1, 2.9, 4.2], [0.3, 0.1, -0.4, -0.2], [2.0, 2.0, 2.5, 1.0]]
design = { axes = ["time", "term"], values = [[1.0, 0.0], [1.0, 1.0], [1.0, 2.0], [1.0, 3.0]] }
[plates]
row = "rows"
time = { columns = "v" }
term = 2
[variables.w]
plates = ["row"]
distribution = "normal-gamma"
dimension = "term"
mean = [0.0, 0.5]
mean_precision = [0.5, 1.0]
shape = 2.0
rate = 1.0
[variables.seen]
plates = ["row", "time"]
distribution = "normal"
parameters = "dot(w, design)"
observed = "v"
"#;
    let (elbo, ascent) = fit(model);
    close("elbo", &[elbo], &[-17.695_183_678_621_557], 1e-12);
    let rows = ascent.rows("w", 0..3).expect("the rows of w").expect("one for each row");
    let means = [0.857_142_86, 1.057_142_86, 0.057_142_86, -0.076_190_48, 1.571_428_57, 0.071_428_57];
    close("means", &rows.means, &means, 1e-7);
    // b/(a − 1) Λ⁻¹ with Λ = ((4.5, 6), (6, 15)).
    let rates = [1.383_571_428_571_427_1, 1.250_238_095_238_095_1, 2.482_142_857_142_857_7];
    let sds: Vec<f64> = rates.iter().flat_map(|b| [15.0, 4.5].map(|c| (b / 3.0 * c / 31.5_f64).sqrt())).collect();
    close("sds", &rows.sds, &sds, 1e-10);
}

#[test]
fn points_are_the_joint_mode() {
    let (_, ascent) = fit(&format!("{DATA}{}{}", pair(&format!("{MATRIX}\npoint = true")), seen("dot(w, x) + 1")));
    close("mean", &mean(&ascent, "w"), &[0.994_928_72, -1.869_988_09, 0.151_591_33], 1e-8);
    let entry = common::entry(&ascent, "w");
    let precision = entry.expected_precision.expect("a precision");
    close("precision", precision.values(), &[3.265_851_042_589_56], 1e-9);
}

#[test]
fn gates_that_are_seen_are_look_ups() {
    let plates = format!("plates = [\"group\"]\n{MATRIX}");
    let gate = "[variables.c]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = \"share\"\nobserved = \"z\"\n";
    let (elbo, ascent) = fit(&format!("{DATA}{}{gate}{}", pair(&plates), seen("dot(w[c], x) + 1")));
    let look_up = DATA.replace("group = 2", "group = { levels = \"z\" }");
    let (same, other) = fit(&format!("{look_up}{}{}", pair(&plates), seen("dot(w[z], x) + 1")));
    close("elbo", &[elbo], &[same + 6.0 * (0.4_f64.ln() + 0.6_f64.ln())], 1e-12);
    close("mean", &mean(&ascent, "w"), &mean(&other, "w"), 1e-12);
    close("sd", &sd(&ascent, "w"), &sd(&other, "w"), 1e-12);
}

#[test]
fn a_new_value_has_students_t() {
    let (_, prediction) = predicted(
        &format!("{DATA}{}{}", pair(MATRIX), seen("dot(w, x) + 1")),
        &[("x.0", &[0.5, 3.0]), ("x.1", &[-1.0, 3.0]), ("x.2", &[2.0, 3.0]), ("y", &[2.0, -4.0])],
    );
    assert_eq!(prediction.log_density_is, LogDensity::Exact);
    let densities = prediction.log_density.expect("densities");
    close("density", &densities, &[-2.305_422_278_121_676_4, -4.102_144_290_967_72], 1e-10);
    let seen = prediction.expressions.iter().find(|e| e.name == "seen").expect("the predicted value");
    close("mean", &seen.means, &[3.670_635_098_277_706_7, -1.170_404_131_785_980_8], 1e-10);
    close("sd", &seen.sds, &[1.068_893_846_480_916, 1.138_998_911_009_943_2], 1e-10);
}
