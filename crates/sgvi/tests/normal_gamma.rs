//! A mean vector and one precision as one variable: the same density as the two variables that it joins.
#![allow(clippy::expect_used, clippy::unwrap_used, clippy::panic)]

use std::path::Path;

use sgvi::Fit;
use vi_model::graph::Graph;
use vi_model::inference::VariationalFamily;

const DATA: &str = r#"
[data.values]
x = [[0.346, 0.822, 0.33], [-1.303, 0.905, 0.446], [-0.537, 0.581, 0.365], [0.294, 0.028, 0.547], [-0.736, -0.163, -0.482],
[0.599, 0.04, -0.292], [-0.782, -0.257, 0.008], [-0.276, 1.294, 1.007], [-2.711, -1.889, -0.175], [-0.422, 0.214, 0.217],
[2.118, -1.112, -0.378], [2.043, 0.647, 0.663]]
y = [-0.339, -2.549, -0.45, 1.555, -0.142, 1.1, 0.707, -1.738, 1.94, 0.297, 5.167, 1.878]
g = [0, 1, 0, 0, 1, 1, 0, 1, 0, 0, 1, 1]
L = LAMBDA
[plates]
row = "rows"
group = { levels = "g" }
"#;

fn fitted(text: &str) -> Fit {
    let mut graph: Graph =
        vi_model::load_str(text, "test.toml", Path::new(".")).unwrap_or_else(|e| panic!("{e}\n{text}"));
    graph.inference.family = Some(VariationalFamily::FullRank);
    graph.inference.tolerance = Some(1e-10);
    sgvi::fit(&graph).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn one_variable_is_the_two_that_it_joins() {
    let matrix = "{ axes = [\"x\", \"x\"], values = [[2.0, 0.5, 0.1], [0.5, 1.0, 0.0], [0.1, 0.0, 1.5]] }";
    for (lambda, plates, element, evidence) in [
        (matrix, "", "", Some(-13.000_074_628_871_305)),
        ("{ axes = [\"x\"], values = [2.0, 1.0, 0.5] }", "", "", Some(-14.646_711_891_358_864)),
        ("0.7", "", "", Some(-13.408_693_143_127_289)),
        (matrix, "plates = [\"group\"]", "[g]", None),
    ] {
        let data = DATA.replace("LAMBDA", lambda);
        let mean = "mean = [0.3, -0.4, 0.2]";
        let joint = fitted(&format!(
            "{data}[variables.w]\n{plates}\ndistribution = \"normal-gamma\"\ndimension = \"x\"\n{mean}\nmean_precision = \"L\"\n\
             shape = 1.7\nrate = 0.9\n[variables.t]\nplates = [\"row\"]\ndistribution = \"normal\"\n\
             parameters = \"dot(w{element}, x) + 1\"\nobserved = \"y\"\n"
        ));
        let apart = fitted(&format!(
            "{data}[variables.w]\n{plates}\ndistribution = \"normal\"\ndimension = \"x\"\n{mean}\nprecision = \"tau * L\"\n\
             [variables.tau]\n{plates}\ndistribution = \"gamma\"\nshape = 1.7\nrate = 0.9\n[variables.t]\nplates = [\"row\"]\n\
             distribution = \"normal\"\nmean = \"dot(w{element}, x) + 1\"\nprecision = \"tau{element}\"\nobserved = \"y\"\n"
        ));
        let (elbo, same) = (joint.record().elbo, apart.record().elbo);
        assert!((elbo - same).abs() < 1e-3, "{elbo} instead of {same}");
        if let Some(evidence) = evidence {
            assert!(elbo < evidence && elbo > evidence - 0.2, "{elbo} instead of just below {evidence}");
        }
        let of = |run: &Fit| run.record().posterior["w"].mean.as_ref().unwrap().values().to_vec();
        for (a, b) in of(&joint).iter().zip(of(&apart)) {
            assert!((a - b).abs() < 1e-2, "{a} instead of {b}");
        }
        let precision = joint.record().posterior["w"].expected_precision.as_ref().unwrap().values().to_vec();
        let other = apart.record().posterior["tau"].mean.as_ref().unwrap().values().to_vec();
        assert_eq!(precision.len(), other.len());
        for (a, b) in precision.iter().zip(other) {
            assert!((a / b - 1.0).abs() < 0.02, "{a} instead of {b}");
        }
    }
}
