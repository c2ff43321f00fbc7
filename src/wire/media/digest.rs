//! A quick fingerprint of a stream, the same for any split of its bytes.

/// FNV-1a taken eight bytes at a time, with a shift so that high bits reach the low ones.
#[derive(Debug)]
pub(super) struct Digest {
    sum: u64,
    /// Bytes that do not fill a word yet, little end first.
    word: u64,
    held: u32,
    length: u64,
}

const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x9e37_79b9_7f4a_7c15;

// === impl Digest ===

impl Default for Digest {
    fn default() -> Digest {
        Digest { sum: BASIS, word: 0, held: 0, length: 0 }
    }
}

impl Digest {
    /// `bytes` may be of any length; words are counted from the beginning of the stream.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        let shift = 8 * self.held;
        let (words, rest) = bytes.as_chunks::<8>();
        if shift == 0 {
            for word in words {
                self.sum = mix(self.sum, u64::from_le_bytes(*word));
            }
        } else {
            for word in words {
                let word = u64::from_le_bytes(*word);
                self.sum = mix(self.sum, self.word | (word << shift));
                self.word = word >> (64 - shift);
            }
        }
        for byte in rest {
            self.word |= u64::from(*byte) << (8 * self.held);
            self.held += 1;
            if self.held == 8 {
                self.sum = mix(self.sum, self.word);
                (self.word, self.held) = (0, 0);
            }
        }
    }

    pub(super) fn value(&self) -> u64 {
        mix(mix(self.sum, self.word), self.length)
    }
}

fn mix(sum: u64, word: u64) -> u64 {
    let product = (sum ^ word).wrapping_mul(PRIME);
    product ^ (product >> 32)
}
