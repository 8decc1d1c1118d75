//! Numbers and tables as CSV text.

use crate::record::Record;

/// Appends the shortest decimal that reads back as the same number; `NaN`, `inf` and `-inf` for what is not finite.
pub(super) fn push_number(text: &mut String, value: f64) {
    text.push_str(zmij::Buffer::new().format(value));
}

/// Appends a header cell, quoted where CSV demands it (RFC 4180).
pub(super) fn push_cell(text: &mut String, cell: &str) {
    if cell.contains([',', '"', '\n', '\r']) {
        text.push('"');
        text.push_str(&cell.replace('"', "\"\""));
        text.push('"');
    } else {
        text.push_str(cell);
    }
}

/// The text of `elbo.csv`: `restart,iteration,seconds,elbo`, then `standard_error` where the ELBOs are estimates, then
/// the record's extra columns. A missing standard error is an empty cell.
#[must_use]
pub fn elbo_csv(record: &Record) -> String {
    let with_errors = record.has_standard_errors();
    let mut text = String::from("restart,iteration,seconds,elbo");
    if with_errors {
        text.push_str(",standard_error");
    }
    for name in &record.trace_columns {
        text.push(',');
        push_cell(&mut text, name);
    }
    text.push('\n');
    for point in &record.trace {
        text.push_str(&format!("{},{},{:.6},", point.restart, point.iteration, point.seconds));
        push_number(&mut text, point.elbo);
        if with_errors {
            text.push(',');
            if let Some(error) = point.standard_error {
                push_number(&mut text, error);
            }
        }
        for &value in &point.extra {
            text.push(',');
            push_number(&mut text, value);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::TracePoint;

    fn point(iteration: usize, elbo: f64, standard_error: Option<f64>, extra: Vec<f64>) -> TracePoint {
        TracePoint { restart: 1, iteration, seconds: 0.25, elbo, standard_error, extra }
    }

    #[test]
    fn exact_and_estimated_curves() {
        let mut record = Record::new("cavi", "m.toml", "0.1.0", 0);
        record.trace = vec![point(1, -3.5, None, vec![]), point(2, -1e-300, None, vec![])];
        assert_eq!(elbo_csv(&record), "restart,iteration,seconds,elbo\n1,1,0.250000,-3.5\n1,2,0.250000,-1e-300\n");
        record.trace = vec![point(1, -3.5, None, vec![1.0]), point(2, -2.0, Some(0.125), vec![f64::NAN])];
        record.trace_columns = vec!["kl, nats".to_owned()];
        assert_eq!(
            elbo_csv(&record),
            "restart,iteration,seconds,elbo,standard_error,\"kl, nats\"\n1,1,0.250000,-3.5,,1.0\n1,2,0.250000,-2.0,0.125,NaN\n"
        );
    }
}
