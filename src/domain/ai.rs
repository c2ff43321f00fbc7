//! AI work: pipelines, models, and what a job of them is measured in.
use std::fmt;
use std::sync::Arc;

use super::capability::Need;
use super::ids::{Epoch, JobId, OrchestratorName, SessionKey};
use super::job::Class;
use super::ledger::AiDoor;
use super::time::Moment;

/// What kind of AI work is asked for. The ten pipelines of go-livepeer, and two that name a
/// program instead of a model: a BYOC capability, a live runner's app.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pipeline {
    TextToImage,
    ImageToImage,
    ImageToVideo,
    Upscale,
    AudioToText,
    SegmentAnything2,
    Llm,
    ImageToText,
    LiveVideoToVideo,
    TextToSpeech,
    /// `model` is the capability's name.
    Byoc,
    /// `model` is the app's name.
    App,
}

/// A pipeline with a model: what jobs ask for, workers offer, and prices are set by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelKey {
    pub pipeline: Pipeline,
    pub model: Arc<str>,
}

/// What a worker offers of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelOffer {
    pub key: ModelKey,
    /// Jobs at once.
    pub capacity: u32,
    /// Loaded already.
    pub warm: bool,
    /// The runner's version; `0.0.0` or empty when unknown.
    pub version: String,
}

/// What charged units of a pipeline are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Pixels,
    /// Thousandths of a second of audio.
    AudioMs,
    /// Tokens asked for.
    Tokens,
    /// Code points x 1000.
    MilliCharacters,
    /// Seconds, started ones whole.
    Seconds,
}

/// All that the pool needs to know of an AI job.
#[derive(Clone, Debug)]
pub struct AiJob {
    pub id: JobId,
    pub key: ModelKey,
    pub class: Class,
    pub door: AiDoor,
    pub orchestrator: OrchestratorName,
    pub epoch: Epoch,
    pub upstream_task: i64,
    /// Requests of one session go to one worker.
    pub session: Option<SessionKey>,
    pub stream: bool,
    pub need: Need,
    pub received: Moment,
    pub received_unix_ms: u64,
    /// The answer must be on its way by then.
    pub answer_by: Moment,
}

// === impl Pipeline ===

impl Pipeline {
    /// The ten of go-livepeer.
    pub const STOCK: [Pipeline; 10] = [
        Pipeline::TextToImage,
        Pipeline::ImageToImage,
        Pipeline::ImageToVideo,
        Pipeline::Upscale,
        Pipeline::AudioToText,
        Pipeline::SegmentAnything2,
        Pipeline::Llm,
        Pipeline::ImageToText,
        Pipeline::LiveVideoToVideo,
        Pipeline::TextToSpeech,
    ];

    pub const ALL: [Pipeline; 12] = [
        Pipeline::TextToImage,
        Pipeline::ImageToImage,
        Pipeline::ImageToVideo,
        Pipeline::Upscale,
        Pipeline::AudioToText,
        Pipeline::SegmentAnything2,
        Pipeline::Llm,
        Pipeline::ImageToText,
        Pipeline::LiveVideoToVideo,
        Pipeline::TextToSpeech,
        Pipeline::Byoc,
        Pipeline::App,
    ];

    /// As go-livepeer writes it, in addresses and in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Pipeline::TextToImage => "text-to-image",
            Pipeline::ImageToImage => "image-to-image",
            Pipeline::ImageToVideo => "image-to-video",
            Pipeline::Upscale => "upscale",
            Pipeline::AudioToText => "audio-to-text",
            Pipeline::SegmentAnything2 => "segment-anything-2",
            Pipeline::Llm => "llm",
            Pipeline::ImageToText => "image-to-text",
            Pipeline::LiveVideoToVideo => "live-video-to-video",
            Pipeline::TextToSpeech => "text-to-speech",
            Pipeline::Byoc => "byoc",
            Pipeline::App => "app",
        }
    }

    pub fn from_name(name: &str) -> Option<Pipeline> {
        Pipeline::ALL.into_iter().find(|pipeline| pipeline.name() == name)
    }

    /// Its bit in go-livepeer's list of capabilities; an app has none.
    pub fn capability(self) -> Option<u32> {
        match self {
            Pipeline::TextToImage => Some(27),
            Pipeline::ImageToImage => Some(28),
            Pipeline::ImageToVideo => Some(29),
            Pipeline::Upscale => Some(30),
            Pipeline::AudioToText => Some(31),
            Pipeline::SegmentAnything2 => Some(32),
            Pipeline::Llm => Some(33),
            Pipeline::ImageToText => Some(34),
            Pipeline::LiveVideoToVideo => Some(35),
            Pipeline::TextToSpeech => Some(36),
            Pipeline::Byoc => Some(37),
            Pipeline::App => None,
        }
    }

    pub fn from_capability(bit: u32) -> Option<Pipeline> {
        Pipeline::ALL.into_iter().find(|pipeline| pipeline.capability() == Some(bit))
    }

    /// What the pool is paid by; the table of units that an orchestrator charges for.
    pub fn unit(self) -> Unit {
        match self {
            Pipeline::AudioToText => Unit::AudioMs,
            Pipeline::Llm => Unit::Tokens,
            Pipeline::TextToSpeech => Unit::MilliCharacters,
            Pipeline::Byoc | Pipeline::App => Unit::Seconds,
            _ => Unit::Pixels,
        }
    }

    /// How much work so many units are, in what makes two jobs of one model comparable: about 1
    /// for a usual job.
    pub fn effort(self, units: u64) -> f64 {
        let usual = match (self, self.unit()) {
            // Its film is of one length whatever is asked.
            (Pipeline::ImageToVideo, _) => return 1.0,
            (_, Unit::Pixels) => 1_048_576.0,
            (_, Unit::AudioMs) => 60_000.0,
            // Most answers are far shorter than what was allowed.
            (_, Unit::Tokens) => return 1.0,
            (_, Unit::MilliCharacters) => 200_000.0,
            (_, Unit::Seconds) => return 1.0,
        };
        (units as f64 / usual).max(0.01)
    }

    /// Whether a stock AI worker takes it by gRPC; the others need an HTTP runner.
    pub fn by_worker(self) -> bool {
        !matches!(self, Pipeline::LiveVideoToVideo | Pipeline::Byoc | Pipeline::App)
    }

    /// Its answer brings files, which an orchestrator takes for a shorter time than texts.
    pub fn file_result(self) -> bool {
        matches!(
            self,
            Pipeline::TextToImage
                | Pipeline::ImageToImage
                | Pipeline::ImageToVideo
                | Pipeline::Upscale
                | Pipeline::TextToSpeech
        )
    }

    /// The file that a request brings along, by the name of its form field.
    pub fn file_field(self) -> Option<&'static str> {
        match self {
            Pipeline::ImageToImage | Pipeline::ImageToVideo | Pipeline::Upscale => Some("image"),
            Pipeline::SegmentAnything2 | Pipeline::ImageToText => Some("image"),
            Pipeline::AudioToText => Some("audio"),
            _ => None,
        }
    }
}

impl fmt::Display for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

// === impl ModelKey ===

impl ModelKey {
    pub fn new(pipeline: Pipeline, model: &str) -> ModelKey {
        ModelKey { pipeline, model: model.into() }
    }
}

/// `text-to-image org/model`.
impl fmt::Display for ModelKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pipeline, self.model)
    }
}

// === impl Unit ===

impl Unit {
    /// The ledger holds it: never change one.
    pub fn name(self) -> &'static str {
        match self {
            Unit::Pixels => "pixels",
            Unit::AudioMs => "ms of audio",
            Unit::Tokens => "tokens",
            Unit::MilliCharacters => "1/1000 characters",
            Unit::Seconds => "seconds",
        }
    }
}
