//! A whole answer on its way up: its files, then the JSON that names them.
use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::domain::ai::AiJob;
use crate::planes::uplink::Uplink;
use crate::planes::uplink::forward::Reply;
use crate::planes::uplink::multipart::{self, Content};
use crate::planes::uplink::post::Post;
use crate::pool::ai::{AiFile, AiResult};
use crate::pool::{Recorded, Upstream};
use crate::wire::multipart::{FileOut, Writer};

// === impl Uplink ===

impl Uplink {
    pub(super) async fn send_answer(
        &self,
        reply: &Reply,
        job: &AiJob,
        result: Arc<AiResult>,
        recorded: Recorded,
    ) -> Upstream {
        let (names, json) = named(&result);
        let one = |(file, name): (&AiFile, &String)| (file.content_type.clone(), name.clone(), file.body.len());
        let files: Vec<_> = result.files.iter().zip(&names).map(one).collect();
        let files: Vec<FileOut<'_>> =
            files.iter().map(|(content_type, name, length)| FileOut { name, content_type, length: *length }).collect();
        let writer = Writer::for_answer(rand::random(), &files, json.len() as u64);
        let content = Content::Ai(result, json);
        let post = || {
            let body = multipart::body(content.clone(), writer.clone(), recorded.clone());
            Post::answer(self, reply, &writer, body)
        };
        self.send(reply, job.answer_by, &self.ai_posts, reply.budget.cut(), post).await
    }
}

/// Names as a stock worker gives them, eight hex digits and an ending, each once; the JSON names
/// them. What came with such names stays as it is.
pub(super) fn named(result: &AiResult) -> (Vec<String>, Bytes) {
    let mut taken = BTreeSet::new();
    let stock = result.files.iter().all(|file| is_stock(&file.name) && taken.insert(file.name.as_str()));
    if stock {
        return (result.files.iter().map(|file| file.name.clone()).collect(), result.json.clone());
    }
    let start: u32 = rand::random();
    let mut names = Vec::new();
    let mut json = String::from_utf8_lossy(&result.json).into_owned();
    for (n, file) in (0_u32..).zip(&result.files) {
        let ending = match file.content_type.as_str() {
            "video/mp4" => "mp4",
            "audio/wav" => "wav",
            _ => "png",
        };
        let name = format!("{:08x}.{ending}", start.wrapping_add(n));
        // The pool checked that the address is this name and that no other is.
        json = json.replace(&format!("\"{}\"", file.name), &format!("\"{name}\""));
        names.push(name);
    }
    (names, json.into())
}

fn is_stock(name: &str) -> bool {
    let Some((digits, ending)) = name.split_once('.') else { return false };
    digits.len() == 8
        && digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        && ["png", "mp4", "wav"].contains(&ending)
}
