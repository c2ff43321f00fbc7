//! Whether a result is true, and what it is worth: never by the worker's word alone.
use crate::domain::work::{Clip, Codec, Container, Counted, MediaFacts, Profile};

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;

/// One rendition of a result: what the worker says, what the bytes say.
#[derive(Clone, Debug)]
pub struct PartClaim {
    pub reported: u64,
    pub bytes: u64,
    pub facts: MediaFacts,
}

/// What the orchestrator said of the segment's length.
#[derive(Clone, Copy, Debug)]
pub struct Announced {
    pub duration_ms: u64,
    /// Then the renditions hold this part alone.
    pub clip: Option<Clip>,
}

/// A result that holds: pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credit {
    pub reported: u64,
    /// None when a rendition is of a kind that is not counted yet.
    pub computed: Option<u64>,
    pub credited: u64,
}

/// The orchestrator takes a rendition under this many bytes for an empty one.
const LEAST_BYTES: u64 = 25;
/// Frames a second that are believed where neither the profile nor the source tells.
const BELIEVED_RATE: f64 = 60.0;
/// Frames by which a count may differ, and the share.
const FRAMES_OFF: f64 = 2.0;
const SHARE_OFF: f64 = 0.1;
/// Characters of a refusal.
const MOST_WORDS: usize = 200;
/// The smallest and largest H.264 picture that a stock worker makes: width, height.
const SMALLEST: (u32, u32) = (146, 50);
const LARGEST: u32 = 4096;

/// Judges a result: parts against profiles (`MismatchedSegments`, `ZeroSegments`), container,
/// codec, width and height, frames against rate and duration, not the source, reported pixels
/// not above computed. The error is a plain sentence for the worker's console, at most 200
/// characters, without `%`.
pub fn check(
    profiles: &[Profile],
    source: Option<&MediaFacts>,
    announced: Announced,
    parts: &[PartClaim],
) -> Result<Credit, String> {
    let refuse = |text: String| text.replace('%', "").chars().take(MOST_WORDS).collect::<String>();
    judge(profiles, counted(source), announced, parts).map_err(refuse)
}

fn judge(
    profiles: &[Profile],
    source: Option<&Counted>,
    announced: Announced,
    parts: &[PartClaim],
) -> Result<Credit, String> {
    if parts.len() != profiles.len() {
        let (came, asked) = (parts.len(), profiles.len());
        return Err(format!("MismatchedSegments: {came} renditions came, {asked} were asked for; not paid"));
    }
    if parts.is_empty() {
        return Err("ZeroSegments: the result holds no rendition; not paid".into());
    }
    let span = Span { source, announced: announced.duration_ms as f64 / 1000.0, clip: announced.clip };
    let mut credit = Credit { reported: 0, computed: Some(0), credited: 0 };
    for (index, (profile, part)) in profiles.iter().zip(parts).enumerate() {
        let found = judge_part(profile, &span, part);
        let (computed, credited) = found.map_err(|why| {
            let (number, all, p) = (index + 1, parts.len(), profile);
            format!("rendition {number} of {all} ({}x{}): {why}; not paid", p.width, p.height)
        })?;
        credit.reported = credit.reported.saturating_add(part.reported);
        credit.credited = credit.credited.saturating_add(credited);
        credit.computed = credit.computed.zip(computed).map(|(sum, more)| sum.saturating_add(more));
    }
    same_twice(profiles, parts)?;
    Ok(credit)
}

/// Computed and credited pixels of one rendition, or what is wrong with it.
fn judge_part(profile: &Profile, span: &Span<'_>, part: &PartClaim) -> Result<(Option<u64>, u64), String> {
    if part.bytes < LEAST_BYTES {
        return Err(format!("ZeroSegments: it holds {} bytes", part.bytes));
    }
    let plain = profile.codec == Codec::H264 && profile.container == Container::MpegTs;
    match &part.facts {
        MediaFacts::Broken { why } => Err(format!("it cannot be read: {why}")),
        MediaFacts::Uncounted { what } if plain => Err(format!("H.264 in MPEG-TS was asked for, {what} came")),
        MediaFacts::Counted(_) if !plain => {
            let asked = format!("{:?} in {:?}", profile.codec, profile.container);
            Err(format!("{asked} was asked for, H.264 in MPEG-TS came"))
        }
        MediaFacts::Uncounted { .. } => {
            let most = pixels(profile.width, profile.height, span.most_frames(profile));
            Ok((None, part.reported.min(most)))
        }
        MediaFacts::Counted(found) => {
            right_size(profile, span.source, found)?;
            right_frames(profile, span, found)?;
            if span.source.is_some_and(|source| source.digest == found.digest) {
                return Err("it is the source, not a rendition of it".into());
            }
            let computed = pixels(found.width, found.height, found.frames);
            if part.reported > computed {
                return Err(format!("you reported {} pixels, we counted {computed}", part.reported));
            }
            let believed = span.believed(profile, found);
            Ok((Some(computed), part.reported.min(believed)))
        }
    }
}

/// The same video cannot be two renditions that differ in size.
fn same_twice(profiles: &[Profile], parts: &[PartClaim]) -> Result<(), String> {
    let digest = |part: &PartClaim| counted(Some(&part.facts)).map(|found| found.digest);
    for (i, one) in parts.iter().enumerate() {
        for (j, other) in parts.iter().enumerate().skip(i + 1) {
            let sizes_differ = (profiles[i].width, profiles[i].height) != (profiles[j].width, profiles[j].height);
            if sizes_differ && digest(one).is_some() && digest(one) == digest(other) {
                return Err(format!("renditions {} and {} are the same video; not paid", i + 1, j + 1));
            }
        }
    }
    Ok(())
}

fn right_size(profile: &Profile, source: Option<&Counted>, found: &Counted) -> Result<(), String> {
    let asked = (profile.width, profile.height);
    let size = (found.width, found.height);
    if size == asked {
        return Ok(());
    }
    let Some(source) = source.filter(|s| s.width > 0 && s.height > 0) else {
        // Without the source's shape: one side as asked, the other within the longer one.
        let long = asked.0.max(asked.1);
        let side = [asked.0, asked.1, even(long)];
        let fits = (side.contains(&size.0) || side.contains(&size.1)) && size.0.max(size.1) <= long;
        return if fits { Ok(()) } else { Err(wrong_size(size)) };
    };
    let shape = (source.width, source.height);
    if size == old_scale(asked, shape) || size == new_scale(asked, shape) {
        return Ok(());
    }
    Err(wrong_size(size))
}

fn wrong_size((width, height): (u32, u32)) -> String {
    format!("its picture is {width}x{height}")
}

/// LPMS up to 2024: a wide source keeps the profile's width, a tall one its height, the other
/// side follows the source's shape.
fn old_scale((width, height): (u32, u32), (from_w, from_h): (u32, u32)) -> (u32, u32) {
    if from_w >= from_h { (width, follow(width, from_h, from_w)) } else { (follow(height, from_w, from_h), height) }
}

/// LPMS since August 2024: the longer side of the profile is the longer side of the picture,
/// unless the shorter one would fall under the encoder's least.
fn new_scale((width, height): (u32, u32), (from_w, from_h): (u32, u32)) -> (u32, u32) {
    let long = width.clamp(SMALLEST.0, LARGEST).max(height.clamp(SMALLEST.1, LARGEST));
    let (wide, tall) = (u64::from(from_w), u64::from(from_h));
    let scaled = u64::from(long);
    if from_w >= from_h {
        if scaled * tall < u64::from(SMALLEST.1) * wide {
            return (follow(SMALLEST.1, from_w, from_h), SMALLEST.1);
        }
        (even(long), follow(even(long), from_h, from_w))
    } else {
        if scaled * wide < u64::from(SMALLEST.0) * tall {
            return (SMALLEST.0, follow(SMALLEST.0, from_h, from_w));
        }
        (follow(even(long), from_w, from_h), even(long))
    }
}

/// ffmpeg's `-2`: `side` x `times` / `over`, to the nearest even number.
fn follow(side: u32, times: u32, over: u32) -> u32 {
    let over = u64::from(over.max(1));
    let half = (u64::from(side) * u64::from(times) + over) / (2 * over);
    u32::try_from(half * 2).unwrap_or(u32::MAX)
}

fn even(side: u32) -> u32 {
    side / 2 * 2
}

fn right_frames(profile: &Profile, span: &Span<'_>, found: &Counted) -> Result<(), String> {
    if found.frames == 0 {
        return Err("ZeroSegments: it holds no frame".into());
    }
    let Some((least, most)) = span.frames(profile) else { return Ok(()) };
    let frames = found.frames as f64;
    let fits = |expected: f64, sign: f64| expected + sign * FRAMES_OFF.max(SHARE_OFF * expected);
    // A count is a whole number, the expected one is not: half a frame for its rounding.
    if frames < fits(least, -1.0) - 0.5 || frames > fits(most, 1.0) + 0.5 {
        let expected = if frames < least { least } else { most };
        return Err(format!("it has {} frames, about {} were expected", found.frames, expected.round()));
    }
    Ok(())
}

/// How long the segment is, by its own account and by the announcement.
struct Span<'a> {
    source: Option<&'a Counted>,
    announced: f64,
    clip: Option<Clip>,
}

// === impl Span ===

impl Span<'_> {
    /// Frames to expect, least and most: the two accounts of a segment's length may differ.
    /// None where the profile follows a source that was not counted.
    fn frames(&self, profile: &Profile) -> Option<(f64, f64)> {
        let counted = self.source.filter(|s| s.duration_ms > 0).map(|s| s.duration_ms as f64 / 1000.0);
        let own = counted.unwrap_or(self.announced);
        if profile.fps == 0 {
            let share = if self.clip.is_some() && own > 0.0 { self.wanted(own) / own } else { 1.0 };
            return self.source.map(|source| (source.frames as f64 * share, source.frames as f64 * share));
        }
        let rate = profile.rate(0.0);
        Some((rate * self.wanted(own.min(self.announced)), rate * self.wanted(own.max(self.announced))))
    }

    /// What the gateway wants of a segment of so many seconds.
    fn wanted(&self, seconds: f64) -> f64 {
        self.clip.map_or(seconds, |clip| clip.of(seconds))
    }

    /// The most frames that are paid where nothing is counted.
    fn most_frames(&self, profile: &Profile) -> u64 {
        let most = self.frames(profile).map_or(BELIEVED_RATE * self.wanted(self.announced), |(_, most)| most);
        (most + FRAMES_OFF).ceil() as u64
    }

    /// What is paid of a counted rendition: all of it, but no more than a believable rate where
    /// nothing says how many frames to expect.
    fn believed(&self, profile: &Profile, found: &Counted) -> u64 {
        if self.frames(profile).is_some() {
            return pixels(found.width, found.height, found.frames);
        }
        pixels(found.width, found.height, found.frames.min(self.most_frames(profile)))
    }
}

/// Of numbers that a stranger chose: never an overflow.
fn pixels(width: u32, height: u32, frames: u64) -> u64 {
    (u64::from(width) * u64::from(height)).saturating_mul(frames)
}

fn counted(facts: Option<&MediaFacts>) -> Option<&Counted> {
    match facts {
        Some(MediaFacts::Counted(counted)) => Some(counted),
        _ => None,
    }
}
