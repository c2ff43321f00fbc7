//! The forms that a value may have: how each is read, shown, and what to say when it is wrong.
use std::marker::PhantomData;
use std::time::Duration;

use super::fault::{Wrong, quote};
use super::tree::{Kind, Node};
use super::units::{self, Bad};
use crate::domain::money::{BadMoney, BasisPoints, Price};

/// How one kind of value is written.
pub(super) trait Form: Send + Sync + 'static {
    type Value;
    /// The word in the unit column.
    fn unit(&self) -> &'static str;
    fn read(&self, name: &str, node: &Node) -> Result<Self::Value, Wrong>;
    /// None: not set.
    fn show(&self, value: &Self::Value) -> Option<String>;
}

/// A whole number within bounds.
pub(super) struct Count<T>(pub u64, pub u64, pub PhantomData<T>);
/// A time within bounds, milliseconds.
pub(super) struct Time(pub u64, pub u64);
/// A time that the estimator keeps as seconds.
pub(super) struct Seconds(pub u64, pub u64);
/// Bytes within bounds.
pub(super) struct Size<T>(pub u64, pub u64, pub PhantomData<T>);
/// Bytes a second within bounds.
pub(super) struct Rate(pub u64, pub u64);
/// A number within bounds.
pub(super) struct Real(pub f64, pub f64);
pub(super) struct Flag;
pub(super) struct Commission;
/// Wei for one of these.
pub(super) struct Money(pub &'static str);
/// A value that may be missing.
pub(super) struct Maybe<F>(pub F);

pub(super) const fn count<T>(least: u64, most: u64) -> Count<T> {
    Count(least, most, PhantomData)
}

pub(super) const fn size<T>(least: u64, most: u64) -> Size<T> {
    Size(least, most, PhantomData)
}

/// The one value of a scalar.
pub(super) fn scalar<'a>(name: &str, node: &'a Node, remedy: &str) -> Result<&'a str, Wrong> {
    match &node.kind {
        Kind::Scalar(text) => Ok(text.trim()),
        Kind::Null => {
            Err(Wrong::new("E203", format!("`{name}` has no value"), format!("{remedy}, or remove the line")))
        }
        Kind::List(_) => Err(Wrong::new("E202", format!("`{name}` is a list, one value belongs here"), remedy)),
        Kind::Map(_) => Err(Wrong::new("E202", format!("`{name}` is a mapping, one value belongs here"), remedy)),
    }
}

fn outside(name: &str, text: &str, side: &str, bound: &str) -> Wrong {
    Wrong::new(
        "E310",
        format!("`{name}` is {text}, the {side} is {bound}"),
        format!("write {bound} or {}", { if side == "least" { "more" } else { "less" } }),
    )
}

/// Within bounds, or what to say; `show` spells the bounds.
fn bounded(name: &str, text: &str, read: Result<u64, Bad>, (least, most): (u64, u64), say: Say) -> Result<u64, Wrong> {
    match read {
        Ok(value) if value < least => Err(outside(name, text, "least", &(say.spell)(least))),
        Ok(value) if value > most => Err(outside(name, text, "most", &(say.spell)(most))),
        Ok(value) => Ok(value),
        Err(Bad::TooLarge) => Err(outside(name, &quote(text), "most", &(say.spell)(most))),
        Err(Bad::Negative) => Err(outside(name, text, "least", &(say.spell)(least))),
        Err(Bad::NoUnit) => {
            Err(Wrong::new(say.code, format!("`{name}` is {}, its unit is missing", quote(text)), say.remedy))
        }
        Err(Bad::Form) => {
            Err(Wrong::new(say.code, format!("`{name}` is {}, not {}", quote(text), say.what), say.remedy))
        }
    }
}

/// What is said of a wrong quantity.
struct Say {
    code: &'static str,
    what: &'static str,
    remedy: &'static str,
    spell: fn(u64) -> String,
}

const WHOLE: Say =
    Say { code: "E301", what: "a whole number", remedy: "write a whole number such as `8`", spell: |n| n.to_string() };
const TIME: Say = Say {
    code: "E302",
    what: "a time",
    remedy: "write a time with its unit, such as `350 ms`, `10 s`, `5 min`",
    spell: |n| units::show_time(Duration::from_millis(n)),
};
const BYTES: Say = Say {
    code: "E303",
    what: "a size",
    remedy: "write a size with its unit, such as `64 KiB`, `8 MiB`, `300 MB`",
    spell: units::show_size,
};

// === impl Form for quantities ===

impl<T: TryFrom<u64> + TryInto<u64> + Copy + Send + Sync + 'static> Form for Count<T> {
    type Value = T;
    fn unit(&self) -> &'static str {
        "count"
    }
    fn read(&self, name: &str, node: &Node) -> Result<T, Wrong> {
        let text = scalar(name, node, WHOLE.remedy)?;
        let value = bounded(name, text, units::whole(text), (self.0, self.1), WHOLE)?;
        T::try_from(value).map_err(|_| outside(name, text, "most", &self.1.to_string()))
    }
    fn show(&self, value: &T) -> Option<String> {
        (*value).try_into().ok().map(|n: u64| n.to_string())
    }
}

impl Form for Time {
    type Value = Duration;
    fn unit(&self) -> &'static str {
        "time"
    }
    fn read(&self, name: &str, node: &Node) -> Result<Duration, Wrong> {
        let text = scalar(name, node, TIME.remedy)?;
        let read = units::time(text).map(|t| u64::try_from(t.as_millis()).unwrap_or(u64::MAX));
        bounded(name, text, read, (self.0, self.1), TIME).map(Duration::from_millis)
    }
    fn show(&self, value: &Duration) -> Option<String> {
        Some(units::show_time(*value))
    }
}

impl Form for Seconds {
    type Value = f64;
    fn unit(&self) -> &'static str {
        "time"
    }
    fn read(&self, name: &str, node: &Node) -> Result<f64, Wrong> {
        Time(self.0, self.1).read(name, node).map(|t| t.as_secs_f64())
    }
    fn show(&self, value: &f64) -> Option<String> {
        Duration::try_from_secs_f64(*value).ok().map(units::show_time)
    }
}

impl<T: TryFrom<u64> + TryInto<u64> + Copy + Send + Sync + 'static> Form for Size<T> {
    type Value = T;
    fn unit(&self) -> &'static str {
        "size"
    }
    fn read(&self, name: &str, node: &Node) -> Result<T, Wrong> {
        let text = scalar(name, node, BYTES.remedy)?;
        let value = bounded(name, text, units::size(text), (self.0, self.1), BYTES)?;
        T::try_from(value).map_err(|_| outside(name, text, "most", &units::show_size(self.1)))
    }
    fn show(&self, value: &T) -> Option<String> {
        (*value).try_into().ok().map(units::show_size)
    }
}

impl Form for Rate {
    type Value = u64;
    fn unit(&self) -> &'static str {
        "size/s"
    }
    fn read(&self, name: &str, node: &Node) -> Result<u64, Wrong> {
        let say = Say { remedy: "write a rate such as `32 KiB/s`", what: "a rate", ..BYTES };
        let text = scalar(name, node, say.remedy)?;
        let read = units::size(text.strip_suffix("/s").unwrap_or(text));
        bounded(name, text, read, (self.0, self.1), say)
    }
    fn show(&self, value: &u64) -> Option<String> {
        Some(format!("{}/s", units::show_size(*value)))
    }
}

impl Form for Real {
    type Value = f64;
    fn unit(&self) -> &'static str {
        "number"
    }
    fn read(&self, name: &str, node: &Node) -> Result<f64, Wrong> {
        let remedy = "write a number such as `0.75`";
        let text = scalar(name, node, remedy)?;
        let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-');
        let value = text.parse::<f64>().ok().filter(|n| plain && n.is_finite());
        match value {
            None => Err(Wrong::new("E304", format!("`{name}` is {}, not a number", quote(text)), remedy)),
            Some(n) if n < self.0 => Err(outside(name, text, "least", &self.0.to_string())),
            Some(n) if n > self.1 => Err(outside(name, text, "most", &self.1.to_string())),
            Some(n) => Ok(n),
        }
    }
    fn show(&self, value: &f64) -> Option<String> {
        Some(value.to_string())
    }
}

impl Form for Flag {
    type Value = bool;
    fn unit(&self) -> &'static str {
        "true/false"
    }
    fn read(&self, name: &str, node: &Node) -> Result<bool, Wrong> {
        let remedy = "write `true` or `false`";
        match scalar(name, node, remedy)?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" => Ok(true),
            "false" | "no" | "off" => Ok(false),
            other => Err(Wrong::new("E305", format!("`{name}` is {}, not true or false", quote(other)), remedy)),
        }
    }
    fn show(&self, value: &bool) -> Option<String> {
        Some(value.to_string())
    }
}

// === impl Form for money ===

impl Form for Commission {
    type Value = BasisPoints;
    fn unit(&self) -> &'static str {
        "share"
    }
    fn read(&self, name: &str, node: &Node) -> Result<BasisPoints, Wrong> {
        let remedy = "write a percentage such as `25 %`, or basis points such as `2500 bp`";
        let text = scalar(name, node, remedy)?;
        let read = match (text.strip_suffix('%'), text.strip_suffix("bp")) {
            (Some(percent), _) => units::decimal(percent.trim_end(), 100),
            (None, Some(points)) => units::whole(points.trim_end()),
            (None, None) => Err(if units::decimal(text, 100).is_ok() { Bad::NoUnit } else { Bad::Form }),
        };
        let wrong = |why: &str| Wrong::new("E311", format!("commission is {why}"), remedy);
        match read {
            Ok(points) => u32::try_from(points)
                .ok()
                .and_then(|bp| BasisPoints::new(bp).ok())
                .ok_or_else(|| wrong(&format!("{}, the most is 100 %", short(text)))),
            Err(Bad::Negative) => Err(wrong(&format!("{}, the least is 0 %", short(text)))),
            Err(Bad::TooLarge) => Err(wrong(&format!("{}, the most is 100 %", short(text)))),
            Err(Bad::NoUnit) => Err(wrong(&format!("{}, its unit is missing", short(text)))),
            Err(Bad::Form) => Err(wrong(&format!("{}, not a share (two decimals of a percent at most)", quote(text)))),
        }
    }
    fn show(&self, value: &BasisPoints) -> Option<String> {
        let points = value.get();
        let part = points % 100;
        Some(match part {
            0 => format!("{} %", points / 100),
            _ => format!("{}.{part:02} %", points / 100),
        })
    }
}

fn short(text: &str) -> String {
    quote(text).trim_matches('`').to_owned()
}

impl Form for Money {
    type Value = Price;
    fn unit(&self) -> &'static str {
        self.0
    }
    fn read(&self, name: &str, node: &Node) -> Result<Price, Wrong> {
        price(name, scalar(name, node, PRICE)?)
    }
    fn show(&self, value: &Price) -> Option<String> {
        Some(value.to_string())
    }
}

pub(super) const PRICE: &str = "write wei for a unit, such as `1200`, `7/10` or `0.7`";

/// A price as it is written.
pub(super) fn price(name: &str, text: &str) -> Result<Price, Wrong> {
    let price: Result<Price, BadMoney> = text.parse();
    let good = price.ok().filter(|_| !text.starts_with(['+', '-']));
    good.ok_or_else(|| Wrong::new("E308", format!("`{name}` is {}, not a price", quote(text)), PRICE))
}

// === impl Maybe ===

impl<F: Form> Form for Maybe<F> {
    type Value = Option<F::Value>;
    fn unit(&self) -> &'static str {
        self.0.unit()
    }
    fn read(&self, name: &str, node: &Node) -> Result<Option<F::Value>, Wrong> {
        match node.kind {
            Kind::Null => Ok(None),
            _ => self.0.read(name, node).map(Some),
        }
    }
    fn show(&self, value: &Option<F::Value>) -> Option<String> {
        value.as_ref().and_then(|v| self.0.show(v))
    }
}
