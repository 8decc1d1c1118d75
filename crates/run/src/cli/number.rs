//! Numbers as people read them.

/// A number with about `digits` significant digits: plain where that is short, with an exponent otherwise.
#[must_use]
pub fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    if !value.is_finite() {
        return if value.is_nan() {
            "NaN".to_owned()
        } else if value > 0.0 {
            "∞".to_owned()
        } else {
            "−∞".to_owned()
        };
    }
    let digits = digits.max(1);
    let scientific = format!("{value:.*e}", digits - 1);
    let exponent: i32 = scientific.rsplit('e').next().and_then(|text| text.parse().ok()).unwrap_or(0);
    if (-4..digits as i32 + 3).contains(&exponent) {
        let decimals = usize::try_from(digits as i32 - 1 - exponent).unwrap_or(0);
        format!("{value:.decimals$}")
    } else {
        scientific
    }
}

/// A count with thin groups: `1 234 567`.
#[must_use]
pub fn grouped(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && digits.len() > 4 {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// A span of time: `340 µs`, `12.3 ms`, `4.21 s`, `3 min 05 s`, `2 h 05 min`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    if seconds < 9.995e-4 {
        format!("{:.0} µs", seconds * 1e6)
    } else if seconds < 0.9995 {
        format!("{} ms", significant(seconds * 1e3, 3))
    } else if seconds < 59.95 {
        format!("{} s", significant(seconds, 3))
    } else if seconds < 3599.5 {
        let whole = seconds.round() as u64;
        format!("{} min {:02} s", whole / 60, whole % 60)
    } else {
        let minutes = (seconds / 60.0).round() as u64;
        format!("{} h {:02} min", minutes / 60, minutes % 60)
    }
}

/// A rate per second: `735/s`, `1.20k/s`.
#[must_use]
pub fn rate(per_second: f64) -> String {
    if per_second >= 1e6 {
        format!("{}M/s", significant(per_second / 1e6, 3))
    } else if per_second >= 1e4 {
        format!("{}k/s", significant(per_second / 1e3, 3))
    } else {
        format!("{}/s", significant(per_second, 3))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readable_numbers() {
        assert_eq!(significant(-443.297_873, 9), "-443.297873");
        assert_eq!(significant(0.001_234_5, 3), "0.00123");
        assert_eq!(significant(1.234e-9, 3), "1.23e-9");
        assert_eq!(significant(123_456.0, 3), "123456");
        assert_eq!(significant(1e12, 3), "1.00e12");
        assert_eq!(significant(9.999, 3), "10.0");
        assert_eq!(significant(f64::NAN, 3), "NaN");
        assert_eq!(grouped(1_234_567), "1 234 567");
        assert_eq!(grouped(1234), "1234");
        assert_eq!(rate(12_345.0), "12.3k/s");
    }

    #[test]
    fn readable_times() {
        let texts: Vec<String> = [3.4e-5, 0.0123, 4.213, 185.0, 7500.0].into_iter().map(duration).collect();
        assert_eq!(texts, ["34 µs", "12.3 ms", "4.21 s", "3 min 05 s", "2 h 05 min"]);
    }
}
