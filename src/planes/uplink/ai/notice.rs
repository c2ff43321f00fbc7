//! What an orchestrator sends down an AI registration: one job a message.
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::job;
use super::text::upstream_text;
use crate::domain::ai::{ModelKey, Pipeline};
use crate::domain::ids::Epoch;
use crate::domain::ledger::AiDoor;
use crate::planes::uplink::Uplink;
use crate::planes::uplink::forward::{Budget, Reply, To};
use crate::planes::uplink::notice::{answer_error, current};
use crate::planes::uplink::registration::Kind;
use crate::planes::uplink::status::Side;
use crate::pool::ai::{NewAiJob, Roads};
use crate::telemetry;
use crate::wire::ai::{JobData, read_job};
use crate::wire::messages::{AiNotice, BadNotice, read_ai_notice};

/// How long a job waits for a free worker. An orchestrator gives a streaming job's slot back when
/// the stream starts, so it may send more than we have room for: those wait for a stream to end,
/// since a refusal would be an error for a caller who has paid, and streams are short. Longer
/// than this no caller waits.
const WAIT: Duration = Duration::from_secs(30);
/// What a stock worker says to a pipeline that it does not have.
const NOT_SUPPORTED: &str = "AI request pipeline type not supported";

/// Takes one notice; waits only when thousands of error results wait already.
pub(in crate::planes::uplink) async fn take(uplink: &Arc<Uplink>, raw: Bytes, epoch: &Epoch) {
    let side = uplink.status.of(Kind::Ai);
    match read_ai_notice(&raw) {
        Ok(notice) => {
            Side::count(&side.tasks_received);
            let epoch = current(uplink, Kind::Ai, notice.task, epoch);
            let reply = reply(uplink, &notice.pipeline, notice.task, epoch);
            if let Err((reply, text)) = admit(uplink, notice, reply) {
                answer_error(uplink, reply, text).await;
            }
        }
        Err(BadNotice { task: Some(task), text }) => {
            Side::count(&side.tasks_received);
            telemetry::bad_notice(uplink.name(), text);
            let epoch = current(uplink, Kind::Ai, task, epoch);
            answer_error(uplink, reply(uplink, "", task, epoch), text.to_owned()).await;
        }
        Err(BadNotice { task: None, text }) => telemetry::bad_notice(uplink.name(), text),
    }
}

/// Starts the job, or tells to whom which error goes.
fn admit(uplink: &Arc<Uplink>, notice: AiNotice, reply: Reply) -> Result<(), (Reply, String)> {
    let bad = |text: &str| telemetry::bad_notice(uplink.name(), text);
    let Some(pipeline) = Pipeline::from_name(&notice.pipeline).filter(|pipeline| pipeline.by_worker()) else {
        bad(NOT_SUPPORTED);
        return Err((reply, NOT_SUPPORTED.into()));
    };
    let data = match read_job(pipeline, &notice.request_data) {
        Ok(data) => data,
        Err(why) => {
            bad(&why.worker_text());
            return Err((reply, why.worker_text()));
        }
    };
    let new = new_job(uplink, pipeline, &data, &reply);
    match uplink.pool.submit_ai(new) {
        Ok(ticket) => {
            uplink.tasks.spawn("AI job", job::run(uplink.clone(), ticket, data, reply));
            Ok(())
        }
        Err(failure) => {
            telemetry::ai_not_admitted(uplink.name(), &failure);
            Err((reply, upstream_text(&failure)))
        }
    }
}

fn new_job(uplink: &Uplink, pipeline: Pipeline, data: &JobData, reply: &Reply) -> NewAiJob {
    // A worker makes a film of it, a runner frames.
    let runner = pipeline != Pipeline::ImageToVideo;
    NewAiJob {
        key: ModelKey::new(pipeline, &data.model),
        door: AiDoor::Grpc,
        orchestrator: uplink.name().clone(),
        epoch: reply.epoch.clone(),
        upstream_task: reply.task,
        session: None,
        roads: Roads { worker: true, runner },
        stream: data.stream,
        files: brings_files(pipeline),
        min_version: String::new(),
        wait: WAIT,
        endless: false,
    }
}

/// The answer names files that come with it.
fn brings_files(pipeline: Pipeline) -> bool {
    use Pipeline::{ImageToImage, ImageToVideo, TextToImage, TextToSpeech, Upscale};
    matches!(pipeline, TextToImage | ImageToImage | ImageToVideo | Upscale | TextToSpeech)
}

/// Of an answer that brings files, nothing is taken after the orchestrator closed their storage.
fn reply(uplink: &Uplink, pipeline: &str, task: i64, epoch: Epoch) -> Reply {
    let rules = uplink.pool.rules();
    // A name that we do not know may not even fit into a header.
    let known = Pipeline::from_name(pipeline);
    let files = known.is_some_and(brings_files);
    let limit = if files { rules.ai.file_limit } else { rules.ai.text_limit };
    let budget = Budget::new(uplink.pool.clock().now(), limit);
    Reply { to: To::Ai { pipeline: known.map_or("", Pipeline::name) }, task, epoch, budget }
}
