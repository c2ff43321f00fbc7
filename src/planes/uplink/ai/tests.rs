//! Tests of AI jobs' names and error texts; whole jobs are tested over sockets.
use bytes::Bytes;

use super::answer::named;
use super::text::upstream_text;
use crate::domain::outcome::Failure;
use crate::pool::ai::{AiFile, AiResult};
use crate::state::shelf::Shelf;

async fn result(names: &[&str], json: &str) -> AiResult {
    let mut files = Vec::new();
    for name in names {
        let mut spool = Shelf::new(1 << 20).spool(1 << 20, 1 << 20);
        spool.push(Bytes::from_static(b"x")).await.unwrap();
        let body = spool.finish().await.unwrap();
        files.push(AiFile { name: (*name).into(), content_type: "image/png".into(), body });
    }
    AiResult { json: Bytes::from(json.to_owned()), files, usage: None }
}

#[tokio::test]
async fn a_stock_workers_names_stay_and_others_become_like_them() {
    let json = r#"{"images":[{"url":"0123abcd.png","seed":1},{"url":"ffffffff.png","seed":2}]}"#;
    let stock = result(&["0123abcd.png", "ffffffff.png"], json).await;
    assert_eq!(named(&stock), (vec!["0123abcd.png".into(), "ffffffff.png".into()], stock.json.clone()));
    let json = r#"{"images":[{"url":"one.png","seed":1},{"url":"01234567.png","seed":2}]}"#;
    let odd = result(&["one.png", "01234567.png"], json).await;
    let (names, told) = named(&odd);
    for name in &names {
        assert!(name.len() == 12 && name.ends_with(".png") && u32::from_str_radix(&name[..8], 16).is_ok(), "{name}");
    }
    assert_ne!(names[0], names[1]);
    let wanted = format!(r#"{{"images":[{{"url":"{}","seed":1}},{{"url":"{}","seed":2}}]}}"#, names[0], names[1]);
    assert_eq!(told, wanted);
}

#[test]
fn errors_hold_no_address_and_no_percent_sign() {
    let text = |failure: Failure| upstream_text(&failure);
    let caller = "AI request validation failed for llm pipeline err=max_tokens: field required";
    assert_eq!(text(Failure::InputError(caller.into())), caller);
    let container = "text-to-image container returned 500: 100% of https://pool.example:8936/x/abc is used";
    assert_eq!(
        text(Failure::WorkerError(container.into())),
        "text-to-image container returned 500: 100 of (address) is used"
    );
    let own = text(Failure::WorkerError("dial tcp 10.1.2.3:8936: i/o timeout".into()));
    assert!(own.starts_with("OpenPoolAttemptsFailed") && !own.contains("10.1.2.3"), "{own}");
    for full in [Failure::Busy, Failure::NoWorker("3 here, 3 full".into())] {
        assert_eq!(text(full), "no workers can process job requested");
    }
}
