//! Sizes as people write them.

/// Units by their upper-case name, in bytes.
const UNITS: [(&str, u64); 10] = [
    ("", 1),
    ("B", 1),
    ("KB", 1_000),
    ("KIB", 1 << 10),
    ("MB", 1_000_000),
    ("MIB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GIB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TIB", 1 << 40),
];

/// Parses a size such as `4GiB`, `1.5 GB` or `4096`: KB, MB, GB and TB are powers of 1000, KiB, MiB, GiB and TiB of 1024.
///
/// # Errors
/// A message for the user, without the argument's name.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.trim().to_ascii_uppercase();
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    let refuse = || format!("{text:?} is no size: write a number and one of KB, KiB, MB, MiB, GB, GiB, such as 4GiB");
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let (Some(factor), Ok(whole), Ok(_)) = (factor, whole.parse::<u64>(), fraction.parse::<u64>()) else {
        return Err(refuse());
    };
    // The fraction as a float: its rounding is far below a byte of what people write.
    let fraction = format!("0.{fraction}").parse::<f64>().map_err(|_| refuse())? * factor as f64;
    let bytes = whole.checked_mul(factor).and_then(|bytes| bytes.checked_add(fraction.round() as u64));
    bytes.ok_or_else(|| format!("{text:?} is more than any machine has"))
}

/// As [`parse_size`], for memory: a few bytes are a unit that was forgotten.
///
/// # Errors
/// As [`parse_size`].
pub fn parse_memory(text: &str) -> Result<u64, String> {
    let bytes = parse_size(text)?;
    let text = text.trim();
    if (1..1 << 20).contains(&bytes) && text.ends_with(|last: char| last.is_ascii_digit()) {
        let unit = match bytes {
            ..=64 => "GiB",
            65..=65_536 => "MiB",
            _ => "KiB",
        };
        return Err(format!("{text} is {bytes} bytes, for a number alone is bytes: did you mean {text}{unit}?"));
    }
    Ok(bytes)
}

/// A size for people: `3.2 GiB`.
pub fn show_size(bytes: u64) -> String {
    let units = [("TiB", 1_u64 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.iter().find(|(_, size)| bytes >= *size) {
        Some((unit, size)) => format!("{:.1} {unit}", bytes as f64 / *size as f64),
        None => format!("{bytes} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("1KB", 1_000),
            ("1KiB", 1_024),
            ("256MiB", 256 << 20),
            ("5mb", 5_000_000),
            ("4GiB", 4 << 30),
            (" 1.5 GiB ", 3 << 29),
            ("0.25GB", 250_000_000),
            ("2.05KB", 2_050),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "GiB", "-1", "4 Gib b", "4GB4", "1.2.3MB", "1.MB", ".5GB", "1e3", "99999999999GiB", "١GB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_forgotten_unit_is_told() {
        for (text, unit) in [("5", "GiB"), ("1.5", "GiB"), ("512", "MiB"), ("4096", "MiB"), ("786936", "KiB")] {
            let message = parse_memory(text).expect_err(text);
            assert!(message.contains(&format!("did you mean {text}{unit}?")), "{message}");
        }
        assert_eq!(
            [parse_memory("0"), parse_memory("64KiB"), parse_memory("268435456")],
            [Ok(0), Ok(65_536), Ok(1 << 28)]
        );
        assert!(parse_memory("lots").is_err());
    }

    #[test]
    fn sizes_show() {
        assert_eq!([show_size(12), show_size(1 << 10), show_size(3 << 29)], ["12 bytes", "1.0 KiB", "1.5 GiB"]);
    }
}
