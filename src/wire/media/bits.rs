//! Bits of a NAL unit, without the bytes that keep start codes out of it.

/// Every read is `None` past the end.
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Bits of the byte at `at` that were read.
    bit: u32,
    zeros: u32,
}

// === impl Bits ===

impl<'a> Bits<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Bits<'a> {
        Bits { bytes, at: 0, bit: 0, zeros: 0 }
    }

    pub(super) fn flag(&mut self) -> Option<bool> {
        Some(self.one()? == 1)
    }

    /// `count` bits, at most 32.
    pub(super) fn take(&mut self, count: u32) -> Option<u32> {
        let mut value = 0;
        for _ in 0..count.min(32) {
            value = (value << 1) | self.one()?;
        }
        Some(value)
    }

    /// ue(v)
    pub(super) fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.one()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1u32 << zeros) - 1 + self.take(zeros)?)
    }

    /// se(v)
    pub(super) fn signed(&mut self) -> Option<i64> {
        let code = i64::from(self.unsigned()?);
        Some(if code % 2 == 1 { (code + 1) / 2 } else { -(code / 2) })
    }

    fn one(&mut self) -> Option<u32> {
        if self.bit == 0 && self.zeros >= 2 && *self.bytes.get(self.at)? == 3 {
            self.at += 1;
            self.zeros = 0;
        }
        let byte = *self.bytes.get(self.at)?;
        let value = (byte >> (7 - self.bit)) & 1;
        self.bit += 1;
        if self.bit == 8 {
            self.zeros = if byte == 0 { self.zeros + 1 } else { 0 };
            self.bit = 0;
            self.at += 1;
        }
        Some(u32::from(value))
    }
}
