//! A quick fingerprint of a stream, the same for any split of its bytes.

/// FNV-1a taken eight bytes at a time, with a shift so that high bits reach the low ones, in four
/// sums that take turns: the processor works on them side by side.
#[derive(Debug)]
pub(super) struct Digest {
    /// The first one is next.
    sums: [u64; 4],
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
        Digest { sums: [BASIS, !BASIS, BASIS ^ PRIME, PRIME], word: 0, held: 0, length: 0 }
    }
}

impl Digest {
    /// `bytes` may be of any length; words are counted from the beginning of the stream.
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        let (words, rest) = bytes.as_chunks::<8>();
        let (groups, few) = words.as_chunks::<4>();
        for group in groups {
            let group = group.map(|word| self.whole(word));
            for (sum, word) in self.sums.iter_mut().zip(group) {
                *sum = mix(*sum, word);
            }
        }
        for word in few {
            let word = self.whole(*word);
            self.add(word);
        }
        for byte in rest {
            self.word |= u64::from(*byte) << (8 * self.held);
            self.held += 1;
            if self.held == 8 {
                self.add(self.word);
                (self.word, self.held) = (0, 0);
            }
        }
    }

    /// The held bytes and the first of these; the others are held.
    fn whole(&mut self, word: [u8; 8]) -> u64 {
        let word = u64::from_le_bytes(word);
        let shift = 8 * self.held;
        let whole = self.word | (word << shift);
        self.word = word.checked_shr(64 - shift).unwrap_or(0);
        whole
    }

    fn add(&mut self, word: u64) {
        self.sums[0] = mix(self.sums[0], word);
        self.sums.rotate_left(1);
    }

    pub(super) fn value(&self) -> u64 {
        self.sums.iter().fold(mix(self.word, self.length), |all, sum| mix(all, *sum))
    }
}

fn mix(sum: u64, word: u64) -> u64 {
    let product = (sum ^ word).wrapping_mul(PRIME);
    product ^ (product >> 32)
}
