//! Money: integers of wei, a rational price, a split that sums to the whole.
use std::fmt;
use std::str::FromStr;

use ruint::aliases::U256;

/// An amount of wei, never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wei(pub U256);

/// A price as a rational: `wei` for every `units` pixels, or units of an AI job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price {
    pub wei: u128,
    /// At least 1.
    pub units: u64,
}

/// Basis points: hundredths of a percent, 0 to 10,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BasisPoints(u16);

/// How one fee is shared. `worker + commission + rounding == gross`, always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    pub gross: Wei,
    pub commission: Wei,
    pub worker: Wei,
    pub rounding: Wei,
}

/// A change of an account in wei, with its sign: what one entry adds. Never "minus zero".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signed {
    negative: bool,
    size: U256,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadMoney {
    #[error("the amount does not fit 256 bits")]
    Overflow,
    #[error("`{0}` is not a price: write wei for a pixel, such as `1200`, `7/10` or `0.7`")]
    Price(String),
    #[error("`{0}` is not an amount of wei: digits only, with `-` before them when it is less than zero")]
    Amount(String),
    #[error("{0} basis points are more than the whole; the most is 10000 (100 %)")]
    BasisPoints(u32),
}

// === impl Price ===

impl Price {
    /// The fee for so many pixels or units, rounded down to a wei.
    pub fn of(self, count: u64) -> Result<Wei, BadMoney> {
        let product = U256::from(self.wei).checked_mul(U256::from(count)).ok_or(BadMoney::Overflow)?;
        product.checked_div(U256::from(self.units)).map(Wei).ok_or(BadMoney::Overflow)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.units == 1 { write!(f, "{}", self.wei) } else { write!(f, "{}/{}", self.wei, self.units) }
    }
}

impl FromStr for Price {
    type Err = BadMoney;
    /// `1200`, `7/10` or `0.7`.
    fn from_str(text: &str) -> Result<Price, BadMoney> {
        let bad = || BadMoney::Price(text.to_owned());
        let text = text.trim();
        if let Some((wei, units)) = text.split_once('/') {
            let price =
                Price { wei: wei.trim().parse().map_err(|_| bad())?, units: units.trim().parse().map_err(|_| bad())? };
            return if price.units == 0 { Err(bad()) } else { Ok(price) };
        }
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        if part.len() > 18 || !part.bytes().all(|b| b.is_ascii_digit()) || whole.is_empty() {
            return Err(bad());
        }
        let units = 10u64.checked_pow(part.len() as u32).ok_or_else(bad)?;
        let wei = format!("{whole}{part}").parse().map_err(|_| bad())?;
        Ok(Price { wei, units })
    }
}

// === impl BasisPoints ===

impl BasisPoints {
    pub const WHOLE: u16 = 10_000;
    /// 25 %, the pool's usual commission.
    pub const QUARTER: BasisPoints = BasisPoints(2_500);

    pub fn new(value: u32) -> Result<BasisPoints, BadMoney> {
        match u16::try_from(value) {
            Ok(bp) if bp <= BasisPoints::WHOLE => Ok(BasisPoints(bp)),
            _ => Err(BadMoney::BasisPoints(value)),
        }
    }

    pub fn get(self) -> u16 {
        self.0
    }
}

// === impl Split ===

impl Split {
    /// Floors both shares; what is left of a wei goes to rounding.
    pub fn of(gross: Wei, commission: BasisPoints) -> Result<Split, BadMoney> {
        let part = |bp: u16| -> Result<U256, BadMoney> {
            let product = gross.0.checked_mul(U256::from(bp)).ok_or(BadMoney::Overflow)?;
            product.checked_div(U256::from(BasisPoints::WHOLE)).ok_or(BadMoney::Overflow)
        };
        let pool = part(commission.get())?;
        let worker = part(BasisPoints::WHOLE - commission.get())?;
        let shared = pool.checked_add(worker).ok_or(BadMoney::Overflow)?;
        let rounding = gross.0.checked_sub(shared).ok_or(BadMoney::Overflow)?;
        Ok(Split { gross, commission: Wei(pool), worker: Wei(worker), rounding: Wei(rounding) })
    }
}

impl Wei {
    pub const ZERO: Wei = Wei(U256::ZERO);

    pub fn plus(self, other: Wei) -> Result<Wei, BadMoney> {
        self.0.checked_add(other.0).map(Wei).ok_or(BadMoney::Overflow)
    }
}

impl fmt::Display for Wei {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl FromStr for Wei {
    type Err = BadMoney;
    fn from_str(text: &str) -> Result<Wei, BadMoney> {
        let bad = || BadMoney::Amount(text.to_owned());
        let leading_zero = text.len() > 1 && text.starts_with('0');
        if text.is_empty() || leading_zero || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad());
        }
        U256::from_str_radix(text, 10).map(Wei).map_err(|_| BadMoney::Overflow)
    }
}

// === impl Signed ===

impl Signed {
    pub const ZERO: Signed = Signed { negative: false, size: U256::ZERO };

    pub fn plus(amount: Wei) -> Signed {
        Signed { negative: false, size: amount.0 }
    }

    pub fn minus(amount: Wei) -> Signed {
        Signed { negative: amount.0 != U256::ZERO, size: amount.0 }
    }

    pub fn is_zero(self) -> bool {
        self.size == U256::ZERO
    }

    pub fn checked_add(self, other: Signed) -> Result<Signed, BadMoney> {
        if self.negative == other.negative {
            let size = self.size.checked_add(other.size).ok_or(BadMoney::Overflow)?;
            return Ok(Signed { negative: self.negative, size });
        }
        let (big, small) = if self.size >= other.size { (self, other) } else { (other, self) };
        let size = big.size.checked_sub(small.size).ok_or(BadMoney::Overflow)?;
        Ok(Signed { negative: big.negative && size != U256::ZERO, size })
    }
}

impl fmt::Display for Signed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.negative {
            f.write_str("-")?;
        }
        write!(f, "{}", self.size)
    }
}

impl FromStr for Signed {
    type Err = BadMoney;
    /// Exactly what `Display` writes: no plus, no leading zero, no `-0`.
    fn from_str(text: &str) -> Result<Signed, BadMoney> {
        let bad = || BadMoney::Amount(text.to_owned());
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let amount: Wei = digits.parse().map_err(|_| bad())?;
        if negative && amount.0 == U256::ZERO { Err(bad()) } else { Ok(Signed { negative, size: amount.0 }) }
    }
}
