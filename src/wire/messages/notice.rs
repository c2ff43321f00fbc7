//! What an orchestrator asks for: one segment, or the end of a session.
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::patch::{TASK_TAG, task_of};
use super::{MOST_WORDS, pb};
use crate::domain::capability::{Bits, Need};
use crate::domain::work::{Clip, Codec, Container, Profile};

/// A stock notice is under 2 KiB.
const MOST_BYTES: usize = 256 << 10;
const MOST_PROFILES: usize = 64;
const MOST_SIDE: i32 = 16_384;
const MOST_RATE: u32 = 1_000;
const MOST_NAME: usize = 255;
const MOST_URL: usize = 8 << 10;
/// What duration 0 is read as, and the longest that go-livepeer takes.
const ASSUMED_MS: i32 = 2_000;
const MOST_MS: i32 = 300_000;

/// A segment that an orchestrator wants transcoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    pub session: Arc<str>,
    pub url: String,
    /// The orchestrator's number for it; 0 is as real as any.
    pub task: i64,
    pub duration_ms: i32,
    pub profiles: Vec<Profile>,
    pub need: Need,
    /// Each rendition is to be followed by a perceptual hash.
    pub wants_hash: bool,
    pub manifest: String,
    pub sequence: i64,
    /// Only this part of the source.
    pub clip: Option<Clip>,
    pub reinit: bool,
    /// Who the orchestrator says that it is.
    pub orchestrator: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum NoticeKind {
    Segment(Notice),
    EndSession { session: Arc<str> },
}

/// Why a notice cannot be done. The text is what a stock transcoder answers, where it has one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct BadNotice {
    /// The task to answer; `None` when even that cannot be read.
    pub task: Option<i64>,
    pub text: &'static str,
}

pub fn read_notice(raw: &Bytes) -> Result<NoticeKind, BadNotice> {
    read(raw).map_err(|text| BadNotice { task: task_of(raw, TASK_TAG), text })
}

fn read(raw: &Bytes) -> Result<NoticeKind, &'static str> {
    if raw.len() > MOST_BYTES {
        return Err("the notice is too long");
    }
    let message = pb::NotifySegment::decode(raw.clone()).map_err(|_| "unreadable seg data")?;
    let segment = message.seg_data.ok_or("empty seg data")?;
    let session = segment.auth_token.as_ref().map_or("", |token| &token.session_id);
    if session.is_empty() {
        return Err("no auth token");
    }
    if session.len() > MOST_NAME || session.contains(|c: char| c.is_control()) {
        return Err("invalid session id");
    }
    let session: Arc<str> = session.into();
    if message.url.is_empty() {
        return Ok(NoticeKind::EndSession { session });
    }
    if message.url.len() > MOST_URL {
        return Err("the address of the segment is too long");
    }
    let duration_ms = read_duration(segment.duration)?;
    let manifest = read_manifest(&segment.manifest_id)?;
    let profiles = read_profiles(&segment)?;
    let clip = segment.segment_parameters.map(|clip| Clip { from_ms: clip.from, to_ms: clip.to });
    Ok(NoticeKind::Segment(Notice {
        session,
        url: message.url,
        task: message.task_id,
        duration_ms,
        profiles,
        need: read_need(segment.capabilities)?,
        wants_hash: segment.calc_perceptual_hash,
        manifest,
        sequence: segment.seq,
        clip,
        reinit: segment.force_session_reinit,
        orchestrator: message.orch_id,
    }))
}

fn read_duration(ms: i32) -> Result<i32, &'static str> {
    match ms {
        0 => Ok(ASSUMED_MS),
        1..=MOST_MS => Ok(ms),
        _ => Err("invalid duration"),
    }
}

/// It becomes a file name at the worker.
fn read_manifest(bytes: &[u8]) -> Result<String, &'static str> {
    let unsafe_name = "invalid manifest id";
    let name = std::str::from_utf8(bytes).map_err(|_| unsafe_name)?;
    let bad = |c: char| c == '/' || c == '\\' || c.is_control();
    if name.is_empty() || name.len() > MOST_NAME || name == "." || name == ".." || name.contains(bad) {
        return Err(unsafe_name);
    }
    Ok(name.to_owned())
}

/// The last list that is not empty is the one that counts.
fn read_profiles(segment: &pb::SegData) -> Result<Vec<Profile>, &'static str> {
    let lists = [&segment.full_profiles3, &segment.full_profiles2, &segment.full_profiles];
    let list = lists.into_iter().find(|list| !list.is_empty()).ok_or("no profiles")?;
    if list.len() > MOST_PROFILES {
        return Err("Too many outputs");
    }
    list.iter().map(read_profile).collect()
}

fn read_profile(profile: &pb::VideoProfile) -> Result<Profile, &'static str> {
    use pb::video_profile::{Format, Profile as Encoding, VideoCodec};
    let container = match Format::try_from(profile.format) {
        Ok(Format::Mpegts) => Container::MpegTs,
        Ok(Format::Mp4) => Container::Mp4,
        Err(_) => return Err("unrecognized profile output format"),
    };
    if Encoding::try_from(profile.profile).is_err() {
        return Err("unrecognized encoder profile");
    }
    let codec = match VideoCodec::try_from(profile.encoder) {
        Ok(VideoCodec::H264) => Codec::H264,
        Ok(VideoCodec::H265) => Codec::Hevc,
        Ok(VideoCodec::Vp8) => Codec::Vp8,
        Ok(VideoCodec::Vp9) => Codec::Vp9,
        Err(_) => return Err("unrecognized video codec"),
    };
    let side = |length: i32| match length {
        1..=MOST_SIDE => Ok(length.unsigned_abs()),
        _ => Err("TranscoderInvalidResolution"),
    };
    if profile.fps / profile.fps_den.max(1) > MOST_RATE {
        return Err("invalid frame rate");
    }
    Ok(Profile {
        name: shortened(&profile.name).into(),
        width: side(profile.width)?,
        height: side(profile.height)?,
        fps: profile.fps,
        fps_den: profile.fps_den,
        codec,
        container,
    })
}

/// Names are only shown; a stock worker takes any.
fn shortened(name: &str) -> &str {
    let end = (0..=name.len().min(MOST_NAME)).rev().find(|end| name.is_char_boundary(*end));
    name.get(..end.unwrap_or(0)).unwrap_or_default()
}

/// Absent capabilities fit any worker; present ones count, empty or not.
fn read_need(capabilities: Option<pb::Capabilities>) -> Result<Need, &'static str> {
    let Some(capabilities) = capabilities else { return Ok(Need::default()) };
    if capabilities.bitstring.len() > MOST_WORDS {
        return Err("incompatible segment capabilities");
    }
    let min_version = capabilities.constraints.map(|c| c.min_version).unwrap_or_default();
    Ok(Need { bits: Some(Bits(capabilities.bitstring)), min_version })
}
