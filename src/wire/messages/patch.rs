//! Notices of ours: those of an orchestrator with two fields changed, and the end of a session.
use bytes::{Buf, Bytes};
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, decode_varint, encode_varint, skip_field};

use super::{BadWire, pb};

const URL_TAG: u32 = 1;
pub(super) const TASK_TAG: u32 = 16;
const URL_KEY: u8 = (URL_TAG << 3 | 2) as u8;
/// Key and longest value of each of the two fields that we append, the address left out.
const APPENDED: usize = 1 + 10 + 2 + 10;

/// The message with its address and task number replaced. Every other field is copied as it
/// came, known or not.
pub fn patch_notice(raw: &Bytes, url: &str, task: i64) -> Result<Bytes, BadWire> {
    let mut out = Vec::with_capacity(raw.len() + url.len() + APPENDED);
    let mut rest: &[u8] = raw;
    let mut copied = 0;
    while rest.has_remaining() {
        let start = raw.len() - rest.remaining();
        let (tag, kind) = decode_key(&mut rest)?;
        skip_field(kind, tag, &mut rest, DecodeContext::default())?;
        if tag == URL_TAG || tag == TASK_TAG {
            out.extend_from_slice(&raw[copied..start]);
            copied = raw.len() - rest.remaining();
        }
    }
    out.extend_from_slice(&raw[copied..]);
    out.push(URL_KEY);
    encode_varint(url.len() as u64, &mut out);
    out.extend_from_slice(url.as_bytes());
    encode_varint(u64::from(TASK_TAG << 3), &mut out);
    encode_varint(task as u64, &mut out);
    Ok(out.into())
}

/// The message that ends a session: no address, nothing but the session's id.
pub fn end_session(session: &str) -> Bytes {
    let token = pb::AuthToken { session_id: session.to_owned(), ..Default::default() };
    let segment = pb::SegData { auth_token: Some(token), ..Default::default() };
    pb::NotifySegment { seg_data: Some(segment), ..Default::default() }.encode_to_vec().into()
}

/// The task, by its field's number, of a message whose other fields may be garbage. `None` when the bytes end
/// in garbage before it; a message without the field is task 0.
pub(super) fn task_of(raw: &[u8], number: u32) -> Option<i64> {
    let mut rest = raw;
    let mut task = None;
    while rest.has_remaining() {
        let Ok((tag, kind)) = decode_key(&mut rest) else { return task };
        if tag == number && kind == prost::encoding::WireType::Varint {
            let Ok(value) = decode_varint(&mut rest) else { return task };
            task = Some(value as i64);
        } else if skip_field(kind, tag, &mut rest, DecodeContext::default()).is_err() {
            return task;
        }
    }
    Some(task.unwrap_or(0))
}
