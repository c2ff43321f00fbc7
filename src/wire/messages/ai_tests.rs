//! AI messages: read, made, patched.
use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use super::pb::{self, capabilities::capability_constraints::ModelConstraint};
use super::*;
use crate::domain::ai::{ModelKey, ModelOffer, Pipeline};
use crate::domain::capability::DEFAULT_BITS;
use crate::domain::ids::Address;

fn offer(pipeline: Pipeline, model: &str, capacity: u32) -> ModelOffer {
    ModelOffer { key: ModelKey::new(pipeline, model), capacity, warm: true, version: "0.14.1".into() }
}

fn bytes(message: &impl Message) -> Bytes {
    message.encode_to_vec().into()
}

fn constraints(of: &[(u32, &str, u32)]) -> pb::RegisterAiWorkerRequest {
    let mut per_capability = std::collections::HashMap::<u32, pb::capabilities::CapabilityConstraints>::new();
    for (bit, model, capacity) in of {
        let entry =
            ModelConstraint { warm: true, capacity: *capacity, runner_version: "0.14.1".into(), ..Default::default() };
        per_capability.entry(*bit).or_default().models.insert(model.to_string(), entry);
    }
    let constraints = pb::capabilities::Constraints { min_version: "0.8.0".into(), per_capability };
    let capabilities =
        pb::Capabilities { version: "0.9.1".into(), constraints: Some(constraints), ..Default::default() };
    pb::RegisterAiWorkerRequest { secret: "x".into(), capabilities: Some(capabilities), ..Default::default() }
}

#[test]
fn registrations_are_read() {
    let mut sent = constraints(&[
        (33, "b", 2),
        (33, "a", 1),
        (27, "c", 3),
        (35, "live", 1),
        (37, "byoc", 1),
        (0, "h264", 1),
        (63, "?", 1),
    ]);
    let gpu = pb::GpuComputeInfo { id: "GPU-1".into(), memory_total: 85_000_000_000, ..Default::default() };
    let entry = pb::HardwareInformation { gpu_info: [("0".to_owned(), gpu)].into(), ..Default::default() };
    sent.hardware = vec![entry.clone(), pb::HardwareInformation::default()];
    sent.ethereum_address = vec![0x11; 20].into();
    let read = read_ai_register(&bytes(&sent)).unwrap();
    let expected = [offer(Pipeline::TextToImage, "c", 3), offer(Pipeline::Llm, "a", 1), offer(Pipeline::Llm, "b", 2)];
    assert_eq!(read.models, expected);
    assert_eq!((read.secret.as_str(), read.version.as_str(), read.min_version.as_str()), ("x", "0.9.1", "0.8.0"));
    assert_eq!(read.hardware, [bytes(&entry), Bytes::new()]);
    assert_eq!(read.ethereum_address, Some(Address([0x11; 20])));
    assert!(!format!("{read:?}").contains("\"x\""));
    let bare = read_ai_register(&Bytes::new()).unwrap();
    assert!(bare.models.is_empty() && bare.ethereum_address.is_none() && bare.version.is_empty());
}

#[test]
fn registrations_have_limits() {
    let name = "m".repeat(257);
    assert!(read_ai_register(&bytes(&constraints(&[(33, &name, 1)]))).unwrap_err().is_limit());
    for name in ["", "a\nb"] {
        assert!(read_ai_register(&bytes(&constraints(&[(33, name, 1)]))).is_err());
    }
    let names: Vec<String> = (0..1025).map(|n| n.to_string()).collect();
    let many: Vec<_> = names.iter().map(|name| (33, name.as_str(), 1)).collect();
    assert!(read_ai_register(&bytes(&constraints(&many))).unwrap_err().is_limit());
    let hardware = pb::RegisterAiWorkerRequest { hardware: vec![Default::default(); 257], ..Default::default() };
    assert!(read_ai_register(&bytes(&hardware)).unwrap_err().is_limit());
    let secret = pb::RegisterAiWorkerRequest { secret: "x".repeat(5000), ..Default::default() };
    assert!(read_ai_register(&bytes(&secret)).unwrap_err().is_limit());
    assert!(matches!(read_ai_register(&vec![0; (512 << 10) + 1].into()), Err(BadWire::TooBig { .. })));
}

#[test]
fn our_registration_looks_like_a_stock_one() {
    let hardware = bytes(&pb::HardwareInformation { pipeline: "llm".into(), ..Default::default() });
    let unknown = Bytes::from_static(&[0x7A, 1, 7]);
    let offers = [
        offer(Pipeline::Llm, "a", 2),
        offer(Pipeline::Llm, "a", 3),
        offer(Pipeline::TextToImage, "b", 1),
        offer(Pipeline::LiveVideoToVideo, "never", 1),
        offer(Pipeline::Byoc, "never", 1),
        offer(Pipeline::App, "never", 1),
    ];
    let raw = write_ai_register("secret", &offers, "0.9.1", &[hardware.clone(), unknown.clone()]);
    let sent = pb::RegisterAiWorkerRequest::decode(raw.clone()).unwrap();
    let capabilities = sent.capabilities.unwrap();
    assert_eq!(capabilities.bitstring, [DEFAULT_BITS | 1 << 27 | 1 << 33]);
    assert!(capabilities.mandatories.is_empty());
    let mut listed: Vec<_> = capabilities.capacities.into_iter().collect();
    listed.sort_unstable();
    let expected: Vec<_> = (0..=12).chain([14, 26, 27, 33]).map(|bit| (bit, 1)).collect();
    assert_eq!(listed, expected);
    let constraints = capabilities.constraints.unwrap();
    assert_eq!((constraints.min_version.as_str(), constraints.per_capability.len()), ("", 2));
    let model = &constraints.per_capability[&33].models["a"];
    assert_eq!(
        (model.warm, model.capacity, model.runner_version.as_str(), model.capacity_in_use),
        (true, 5, "0.14.1", 0)
    );
    let read = read_ai_register(&raw).unwrap();
    assert_eq!(read.models, [offer(Pipeline::TextToImage, "b", 1), offer(Pipeline::Llm, "a", 5)]);
    assert_eq!(read.hardware, [hardware, unknown]);
}

#[test]
fn notices_are_read_and_made() {
    let data = Bytes::from_static(b"{\"input_url\":\"\",\"request\":{}}");
    for task in [0, 41, i64::MAX, -1] {
        let raw = write_ai_notice(task, Pipeline::Llm, &data);
        let notice = read_ai_notice(&raw).unwrap();
        assert_eq!(notice, AiNotice { task, pipeline: "llm".into(), request_data: data.clone() });
    }
    let answer = |raw: &[u8]| read_ai_notice(&Bytes::copy_from_slice(raw)).unwrap_err();
    assert_eq!(answer(&[]), BadNotice { task: Some(0), text: "empty AI job data" });
    assert_eq!(answer(&[0x10, 9]), BadNotice { task: Some(9), text: "empty AI job data" });
    assert_eq!(answer(&[0x10, 9, 0x0A, 1, 0xFF]), BadNotice { task: Some(9), text: "unreadable AI job data" });
    assert_eq!(answer(&[0x0A, 200]), BadNotice { task: None, text: "unreadable AI job data" });
    let long = write_ai_notice(5, Pipeline::Llm, &vec![b'x'; 5 << 20].into());
    assert_eq!(read_ai_notice(&long), Err(BadNotice { task: Some(5), text: "the notice is too long" }));
}

proptest! {
    #[test]
    fn a_patch_keeps_every_other_field(task in any::<i64>(), data in prop::collection::vec(any::<u8>(), 0..200), outside in any::<u32>(), inside in any::<u32>()) {
        // Field 9 of the job and field 9 of the message, which nobody knows.
        let mut job = pb::AiJobData { pipeline: "llm".into(), request_data: Bytes::from_static(b"{}") }.encode_to_vec();
        job.push(0x4D);
        job.extend(inside.to_le_bytes());
        let mut raw = vec![0x10, 7, 0x0A, job.len() as u8];
        raw.extend(&job);
        raw.push(0x4D);
        raw.extend(outside.to_le_bytes());
        let raw = Bytes::from(raw);
        let patched = patch_ai_notice(&raw, task, &data).unwrap();
        prop_assert_eq!(read_ai_notice(&patched).unwrap(), AiNotice { task, pipeline: "llm".into(), request_data: data.clone().into() });
        let has = |field: u32| patched.windows(5).any(|bytes| bytes[0] == 0x4D && bytes[1..] == field.to_le_bytes());
        prop_assert!(has(outside) && has(inside));
        prop_assert_eq!(patch_ai_notice(&patched, task, &data).unwrap(), patched);
    }

    #[test]
    fn garbage_never_panics(raw in prop::collection::vec(any::<u8>(), 0..300)) {
        let raw = Bytes::from(raw);
        let _ = (read_ai_register(&raw), patch_ai_notice(&raw, 1, b"x"));
        if let Ok(notice) = read_ai_notice(&raw) {
            prop_assert!(patch_ai_notice(&raw, notice.task, &notice.request_data).is_ok());
        }
    }

    #[test]
    fn what_is_registered_is_read(offers in prop::collection::btree_map(
        (prop::sample::select(Pipeline::ALL.to_vec()), "[a-z/]{1,9}"), (any::<u32>(), any::<bool>(), "[0-9.]{0,8}"), 0..12,
    )) {
        let offers: Vec<_> = offers.into_iter().map(|((pipeline, model), (capacity, warm, version))| ModelOffer {
            key: ModelKey::new(pipeline, &model), capacity, warm, version,
        }).collect();
        let read = read_ai_register(&write_ai_register("s", &offers, "0.9.1", &[])).unwrap();
        let expected: Vec<_> = offers.into_iter().filter(|offer| offer.key.pipeline.by_worker()).collect();
        prop_assert_eq!(read.models, expected);
    }
}
