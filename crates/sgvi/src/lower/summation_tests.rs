//! Discrete variables summed out of the log joint, against sums over all their values by brute force.

use std::path::Path;

use super::Model;
use super::tests::{check_gradient, evaluate, model};

/// Σ over all values of some elements of a product of factors, by brute force.
fn enumerated(elements: usize, log_joint: impl Fn(&[usize]) -> f64) -> f64 {
    let all: Vec<f64> =
        (0..1usize << elements).map(|c| log_joint(&(0..elements).map(|e| c >> e & 1).collect::<Vec<_>>())).collect();
    vi_families::special::log_sum_exp(&all)
}

const EDGES: [(usize, usize, f64); 7] =
    [(0, 1, 1.2), (1, 2, -0.3), (2, 0, 0.4), (3, 1, 2.0), (0, 3, 0.1), (2, 2, 0.8), (0, 1, -0.5)];

pub(super) fn normal(x: f64, m: f64) -> f64 {
    -0.5 * (x - m).powi(2) - 0.918_938_533_204_672_8
}

/// Elements that stand together in factors: a block model (with a self-loop and a repeated pair), two kinds of elements, a
/// table whose rows and columns have classes, and a class above the classes.
#[test]
fn elements_tied_by_factors_are_summed_out_together() {
    let list = |f: &dyn Fn(&(usize, usize, f64)) -> f64| -> String {
        EDGES.iter().map(|e| f(e).to_string()).collect::<Vec<_>>().join(", ")
    };
    let data = format!(
        "[data.values]\nfrom = [{}]\nto = [{}]\ny = [{}]\nshare = {{ axes = [\"block\"], values = [0.3, 0.7] }}\n
other = {{ axes = [\"block\", \"kind\"], values = [[0.2, 0.8], [0.6, 0.4]] }}
[plates]\nrow = \"rows\"\nnode = 4\nblock = 2\nkind = 2\n",
        list(&|e| e.0 as f64),
        list(&|e| e.1 as f64),
        list(&|e| e.2)
    );
    let rate = "[variables.rate]\nplates = [\"block\", \"kind\"]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0\n";
    let square = rate.replace("[\"block\", \"kind\"]", "[\"block\", \"block\"]");
    let emission = |mean: &str| {
        format!(
            "[variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"{mean}\"\nsd = 1.0\nobserved = \"y\"\n"
        )
    };
    let categorical = |name: &str, plates: &str, probabilities: &str| {
        format!(
            "[variables.{name}]\nplates = [{plates}]\ndistribution = \"categorical\"\nprobabilities = \"{probabilities}\"\n"
        )
    };
    let r = [0.3, -0.8, 0.5, 1.4];
    let prior: f64 = r.iter().map(|x| normal(*x, 0.0)).sum();
    let (share, other) = ([0.3_f64, 0.7], [[0.2_f64, 0.8], [0.6, 0.4]]);
    let block = format!("{data}{square}{}{}", emission("rate[z[from], z[to]]"), categorical("z", "\"node\"", "share"));
    let exact = enumerated(4, |z| {
        z.iter().map(|k| share[*k].ln()).sum::<f64>()
            + EDGES.iter().map(|(a, b, y)| normal(*y, r[2 * z[*a] + z[*b]])).sum::<f64>()
    });
    let found = evaluate(&model(&block), &r, 1).values[0];
    assert!((found - exact - prior).abs() < 1e-12, "{found} {exact}");
    check_gradient(&block);
    let two = format!(
        "{data}{rate}{}{}{}",
        emission("rate[z[from], w[to]]"),
        categorical("z", "\"node\"", "share"),
        categorical("w", "\"node\"", "other[c]") + &categorical("c", "", "share")
    );
    // Elements 0–3 are z, 4–7 are w, 8 is c.
    let exact = enumerated(9, |v| {
        v[..4].iter().map(|k| share[*k].ln()).sum::<f64>()
            + v[4..8].iter().map(|k| other[v[8]][*k].ln()).sum::<f64>()
            + share[v[8]].ln()
            + EDGES.iter().map(|(a, b, y)| normal(*y, r[2 * v[*a] + v[4 + *b]])).sum::<f64>()
    });
    let found = evaluate(&model(&two), &r, 1).values[0];
    assert!((found - exact - prior).abs() < 1e-12, "{found} {exact}");
    check_gradient(&two);
    let table = format!(
        "[data.values]\nt = [[0.3, 1.0], [-0.4, 0.2], [2.0, 0.9]]\nshare = {{ axes = [\"block\"], values = [0.3, 0.7] }}
side = {{ axes = [\"kind\"], values = [0.4, 0.6] }}\n[plates]\nrow = \"rows\"\nblock = 2\nkind = 2\ncolumn = {{ columns = \"t\" }}
{rate}{}{}[variables.x]\nplates = [\"row\", \"column\"]\ndistribution = \"normal\"\nmean = \"rate[z, w]\"\nsd = 1.0\nobserved = \"t\"\n",
        categorical("z", "\"row\"", "share"),
        categorical("w", "\"column\"", "side")
    );
    let t = [[0.3, 1.0], [-0.4, 0.2], [2.0, 0.9]];
    // Elements 0–2 are rows, 3–4 columns.
    let exact = enumerated(5, |v| {
        let mut total: f64 = v[..3].iter().map(|k| share[*k].ln()).sum();
        total += v[3..].iter().map(|k| [0.4_f64, 0.6][*k].ln()).sum::<f64>();
        for i in 0..3 {
            for j in 0..2 {
                total += normal(t[i][j], r[2 * v[i] + v[3 + j]]);
            }
        }
        total
    });
    let found = evaluate(&model(&table), &r, 1).values[0];
    assert!((found - exact - prior).abs() < 1e-12, "{found} {exact}");
    check_gradient(&table);
    // Too many configurations keep factors of their own, unless that is refused.
    let many = block.replace("node = 4", "node = 40");
    let graph = vi_model::load_str(&many, "test.toml", Path::new(".")).unwrap();
    assert_eq!(Model::new(&graph).unwrap().categories.len(), 40);
    let exactly = many.replace("distribution = \"categorical\"", "distribution = \"categorical\"\nmarginalized = true");
    let graph = vi_model::load_str(&exactly, "test.toml", Path::new(".")).unwrap();
    let error = Model::new(&graph).unwrap_err().to_string();
    assert!(error.contains("40 of its elements") && error.contains("marginalized"), "{error}");
}

/// Elements that a `dot` sums, with and without rows, and a number looked up by a column.
#[test]
fn indicators_in_sums_and_look_ups() {
    let data = "[data.values]\ny = [0.3, -0.4, 1.1, 0.9]\nu = [1.0, 2.0, -1.0, 0.5]\nv = [0.2, 0.4, 0.3, -0.7]\ng = [\"a\", \"b\", \"a\", \"b\"]
[data.blocks]\nuv = [\"u\", \"v\"]\n[plates]\nrow = \"rows\"\ngroup = { levels = \"g\" }
[variables.b]\ndistribution = \"normal\"\ndimension = \"uv\"\nmean = 0.0\nsd = 1.0\n";
    let outcome = |mean: &str| {
        format!(
            "[variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"{mean}\"\nsd = 1.0\nobserved = \"y\"\n"
        )
    };
    let indicator = |plates: &str| {
        format!("[variables.on]\nplates = [{plates}]\ndistribution = \"bernoulli\"\nprobability = 0.4\n")
    };
    let (y, x) = ([0.3, -0.4, 1.1, 0.9], [[1.0, 0.2], [2.0, 0.4], [-1.0, 0.3], [0.5, -0.7]]);
    let b = [0.6, -1.3];
    let prior: f64 = b.iter().map(|b| normal(*b, 0.0)).sum();
    let log = |on: usize| [0.6_f64, 0.4][on].ln();
    let mean = |r: usize, on: &[usize]| (0..2).map(|j| on[j] as f64 * b[j] * x[r][j]).sum::<f64>();
    // One indicator for each coefficient.
    let text = format!("{data}{}{}", indicator("\"uv\""), outcome("dot(on * b, uv)"));
    let exact = enumerated(2, |on| {
        on.iter().map(|k| log(*k)).sum::<f64>() + (0..4).map(|r| normal(y[r], mean(r, on))).sum::<f64>()
    });
    let found = evaluate(&model(&text), &b, 1).values[0];
    assert!((found - exact - prior).abs() < 1e-12, "{found} {exact}");
    check_gradient(&text);
    let graph = vi_model::load_str(&text, "test.toml", Path::new(".")).unwrap();
    let fitted = crate::fit::run::fit(&graph, crate::fitted::FitOptions::default()).unwrap();
    assert_eq!(fitted.record.posterior["on"].mean.as_ref().unwrap().values().len(), 2);
    // The same in every row.
    let text = format!("{data}{}{}", indicator("\"row\", \"uv\""), outcome("dot(on * b, uv)"));
    let exact: f64 =
        (0..4).map(|r| enumerated(2, |on| on.iter().map(|k| log(*k)).sum::<f64>() + normal(y[r], mean(r, on)))).sum();
    let found = evaluate(&model(&text), &b, 1).values[0];
    assert!((found - exact - prior).abs() < 1e-12, "{found} {exact}");
    // A group's indicator as a number in the rows.
    for mean in ["on[g] * dot(b, uv)", "e[g] * dot(b, uv)"] {
        let text = format!("{data}[expressions]\ne = \"2 * on - on\"\n{}{}", indicator("\"group\""), outcome(mean));
        let exact = enumerated(2, |on| {
            let rows = (0..4).map(|r| {
                let mean: f64 = (0..2).map(|j| on[r % 2] as f64 * b[j] * x[r][j]).sum();
                normal(y[r], mean)
            });
            on.iter().map(|k| log(*k)).sum::<f64>() + rows.sum::<f64>()
        });
        let found = evaluate(&model(&text), &b, 1).values[0];
        assert!((found - exact - prior).abs() < 1e-12, "{mean}: {found} {exact}");
    }
}

/// A group's class looked up by rows that have classes of their own, declared in either order.
#[test]
fn rows_are_summed_out_before_groups() {
    let emission = "[variables.x]\nplates = [\"row\"]\ndistribution = \"normal\"\nmean = \"rate[z[g], w]\"\nsd = 1.0\nobserved = \"y\"\n";
    let group = "[variables.z]\nplates = [\"group\"]\ndistribution = \"categorical\"\nprobabilities = \"share\"\n";
    let own = "[variables.w]\nplates = [\"row\"]\ndistribution = \"categorical\"\nprobabilities = \"side\"\n";
    let data = "[data.values]\ny = [0.3, -0.4, 1.1, 0.9]\ng = [\"a\", \"b\", \"a\", \"b\"]\nshare = { axes = [\"block\"], values = [0.3, 0.7] }
side = { axes = [\"kind\"], values = [0.4, 0.6] }\n[plates]\nrow = \"rows\"\nblock = 2\nkind = 2\ngroup = { levels = \"g\" }
[variables.rate]\nplates = [\"block\", \"kind\"]\ndistribution = \"normal\"\nmean = 0.0\nsd = 1.0\n";
    let r = [0.3, -0.8, 0.5, 1.4];
    let y = [0.3, -0.4, 1.1, 0.9];
    let exact = enumerated(6, |v| {
        let mut total: f64 = v[..2].iter().map(|k| [0.3_f64, 0.7][*k].ln()).sum();
        for i in 0..4 {
            total += [0.4_f64, 0.6][v[2 + i]].ln() + normal(y[i], r[2 * v[i % 2] + v[2 + i]]);
        }
        total
    }) + r.iter().map(|x| normal(*x, 0.0)).sum::<f64>();
    for order in [[group, own], [own, group]] {
        let found = evaluate(&model(&format!("{data}{}{}{emission}", order[0], order[1])), &r, 1).values[0];
        assert!((found - exact).abs() < 1e-12, "{found} {exact}");
    }
}
