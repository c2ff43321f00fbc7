//! Times, sizes and numbers as people write them: `350 ms`, `8 MiB`, `12_000`.
use std::time::Duration;

/// Why a text is no quantity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bad {
    Form,
    NoUnit,
    Negative,
    TooLarge,
}

const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1_000), ("ms", 1)];
const SIZES: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("TB", 1_000_000_000_000),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// `10 s`, `350ms`, `1.5 h`; never finer than a millisecond.
pub(super) fn time(text: &str) -> Result<Duration, Bad> {
    quantity(text, |unit| match unit {
        "sec" | "second" | "seconds" => Some(1_000),
        "m" | "minute" | "minutes" => Some(60_000),
        "hour" | "hours" => Some(3_600_000),
        "day" | "days" => Some(86_400_000),
        _ => TIMES.iter().find(|(name, _)| *name == unit).map(|(_, n)| *n),
    })
    .map(Duration::from_millis)
}

/// `8 MiB`, `300 MB`, `65536 B`.
pub(super) fn size(text: &str) -> Result<u64, Bad> {
    quantity(text, |unit| SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, n)| *n))
}

/// A whole number; `_` may group its digits.
pub(super) fn whole(text: &str) -> Result<u64, Bad> {
    if let Some(rest) = text.strip_prefix('-') {
        return if digits(rest).is_some() { Err(Bad::Negative) } else { Err(Bad::Form) };
    }
    digits(text).ok_or(Bad::Form)?.parse().map_err(|_| Bad::TooLarge)
}

/// A decimal as `scale`ths, exact: `decimal("12.5", 100)` is 1250.
pub(super) fn decimal(text: &str, scale: u64) -> Result<u64, Bad> {
    if let Some(rest) = text.strip_prefix('-') {
        return if decimal(rest, scale).is_ok() { Err(Bad::Negative) } else { Err(Bad::Form) };
    }
    let (front, back) = text.split_once('.').unwrap_or((text, "0"));
    if back.len() > 9 {
        return Err(Bad::Form);
    }
    let whole: u128 = digits(front).ok_or(Bad::Form)?.parse().map_err(|_| Bad::TooLarge)?;
    let part: u128 = digits(back).ok_or(Bad::Form)?.parse().map_err(|_| Bad::TooLarge)?;
    let tens = 10u128.pow(u32::try_from(back.len()).map_err(|_| Bad::Form)?);
    if !(part * u128::from(scale)).is_multiple_of(tens) {
        return Err(Bad::Form);
    }
    let whole = whole.checked_mul(u128::from(scale)).ok_or(Bad::TooLarge)?;
    u64::try_from(whole.saturating_add(part * u128::from(scale) / tens)).map_err(|_| Bad::TooLarge)
}

/// The shortest exact spelling.
pub(super) fn show_time(time: Duration) -> String {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    if ms == 0 {
        return "0 s".into();
    }
    let unit = TIMES.iter().find(|(_, n)| ms.is_multiple_of(*n)).unwrap_or(&("ms", 1));
    format!("{} {}", ms / unit.1, unit.0)
}

/// The shortest exact spelling.
pub(super) fn show_size(bytes: u64) -> String {
    let fits = SIZES.iter().filter(|(_, n)| bytes > 0 && bytes.is_multiple_of(*n));
    let unit = fits.max_by_key(|(_, n)| *n).unwrap_or(&("B", 1));
    format!("{} {}", bytes / unit.1, unit.0)
}

fn quantity(text: &str, unit_of: impl Fn(&str) -> Option<u64>) -> Result<u64, Bad> {
    let text = text.trim();
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = (text[..split].trim_end(), text[split..].trim());
    if unit.is_empty() {
        return Err(if decimal(number, 1_000_000_000) == Err(Bad::Form) { Bad::Form } else { Bad::NoUnit });
    }
    decimal(number, unit_of(unit).ok_or(Bad::Form)?)
}

/// The digits without their grouping.
fn digits(text: &str) -> Option<String> {
    let plain: String = text.chars().filter(|c| *c != '_').collect();
    let good = !plain.is_empty() && plain.len() <= 30 && plain.bytes().all(|b| b.is_ascii_digit());
    (good && !text.starts_with('_') && !text.ends_with('_')).then_some(plain)
}
