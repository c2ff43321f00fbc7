//! A print of bytes: tells contents apart, whatever the chunks they come in. Not cryptographic.

/// Taken eight bytes at a time, at several bytes a cycle.
#[derive(Clone, Copy, Debug)]
pub struct Print {
    state: u64,
    carry: [u8; 8],
    carried: usize,
}

const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const FACTOR: u64 = 0xff51_afd7_ed55_8ccd;

// === impl Print ===

impl Default for Print {
    fn default() -> Self {
        Print { state: SEED, carry: [0; 8], carried: 0 }
    }
}

impl Print {
    pub fn word(&mut self, word: u64) {
        self.state = (self.state ^ word).wrapping_mul(FACTOR).rotate_left(29);
    }

    pub fn feed(&mut self, mut bytes: &[u8]) {
        if self.carried > 0 {
            let take = bytes.len().min(8 - self.carried);
            self.carry[self.carried..self.carried + take].copy_from_slice(&bytes[..take]);
            self.carried += take;
            bytes = &bytes[take..];
            if self.carried < 8 {
                return;
            }
            self.word(u64::from_le_bytes(self.carry));
            self.carried = 0;
        }
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.word(u64::from_le_bytes(*word));
        }
        self.carry[..rest.len()].copy_from_slice(rest);
        self.carried = rest.len();
    }

    pub fn finish(mut self) -> u64 {
        self.carry[self.carried..].fill(0);
        self.word(u64::from_le_bytes(self.carry));
        self.word(self.carried as u64);
        self.state ^ (self.state >> 32)
    }
}

#[cfg(test)]
mod tests {
    use super::Print;

    #[test]
    fn chunks_do_not_matter_and_contents_do() {
        let bytes: Vec<u8> = (0..1000u32).map(|n| (n * 7) as u8).collect();
        let whole = |bytes: &[u8], step: usize| {
            let mut print = Print::default();
            bytes.chunks(step).for_each(|chunk| print.feed(chunk));
            print.finish()
        };
        let one = whole(&bytes, 1000);
        assert!((1..40).all(|step| whole(&bytes, step) == one));
        let mut other = bytes.clone();
        other[999] ^= 1;
        assert_ne!(whole(&other, 1000), one);
        assert_ne!(whole(&bytes[..999], 1000), one);
    }
}
