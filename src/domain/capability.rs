//! What a worker can do and what a segment needs: go-livepeer's bitstring and version.
use semver::Version;

/// Bits that belong to transcoding; the others speak of AI and never go upstream from a
/// transcoder, whose bitstring says nothing about AI.
pub const TRANSCODING_BITS: u64 = (1 << 27) - 1;

/// What a worker that sends no `capabilities` has: 0..=12, 14 and 26.
pub const DEFAULT_BITS: u64 = 0x1FFF | (1 << 14) | (1 << 26);

/// A bitstring, little words first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bits(pub Vec<u64>);

/// What a worker says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    pub bits: Bits,
    /// As sent: `0.8.8-3f1a2b4c`, `undefined`, or empty.
    pub version: String,
}

/// What a segment asks of a worker. No bits: any worker.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need {
    pub bits: Option<Bits>,
    /// `constraints.minVersion`; empty or unreadable means any.
    pub min_version: String,
}

/// Why a worker cannot do a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    Capability,
    Version,
}

// === impl Bits ===

impl Bits {
    pub fn has(&self, bit: u32) -> bool {
        let word = self.0.get((bit / 64) as usize).copied().unwrap_or(0);
        word & (1 << (bit % 64)) != 0
    }

    /// go-livepeer's rule: a need with more words than we have never fits, zero words included.
    pub fn covers(&self, need: &Bits) -> bool {
        need.0.len() <= self.0.len() && need.0.iter().zip(&self.0).all(|(n, h)| n & h == *n)
    }

    pub fn union(&mut self, other: &Bits) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine |= theirs;
        }
    }

    /// Numbers of the bits that are set, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.0.len() as u32 * 64).filter(|bit| self.has(*bit))
    }
}

// === impl Capabilities ===

impl Capabilities {
    /// A stock worker that sends no capabilities: the default list, any version taken as ours.
    pub fn assumed(version: &str) -> Capabilities {
        Capabilities { bits: Bits(vec![DEFAULT_BITS]), version: version.to_owned() }
    }

    pub fn fits(&self, need: &Need) -> Result<(), Unfit> {
        if let Some(bits) = &need.bits
            && !self.bits.covers(bits)
        {
            return Err(Unfit::Capability);
        }
        let Some(least) = core_version(&need.min_version) else { return Ok(()) };
        match core_version(&self.version) {
            Some(mine) if mine >= least => Ok(()),
            _ => Err(Unfit::Version),
        }
    }
}

/// The version without its prerelease suffix, as go-livepeer compares it. `None` when empty,
/// `undefined` or not a version.
pub fn core_version(text: &str) -> Option<Version> {
    let mut version = Version::parse(text.trim().trim_start_matches('v')).ok()?;
    version.pre = semver::Prerelease::EMPTY;
    version.build = semver::BuildMetadata::EMPTY;
    Some(version)
}
