//! Errors: whose fault, in which words, with which status.
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::ai::Pipeline;

const LIST: &str = r#"{"detail":[{"loc":["body",0],"msg":"field required","type":"missing"}]}"#;

fn detail(msg: &str) -> Vec<u8> {
    json!({"detail": {"msg": msg}}).to_string().into()
}

fn stock(pipeline: Pipeline, status: u16) -> (Blame, String) {
    runner_error(pipeline, status, &detail("no"))
}

#[test]
fn a_runners_errors_in_stock_words() {
    use Blame::{Caller, Worker};
    let told = |blame, text: &str| (blame, text.to_owned());
    assert_eq!(stock(Pipeline::TextToImage, 400), told(Caller, "text-to-image container returned 400: no"));
    assert_eq!(stock(Pipeline::SegmentAnything2, 401), told(Worker, "segment anything 2 container returned 401: no"));
    assert_eq!(stock(Pipeline::Llm, 500), told(Worker, "LLM container returned 500: no"));
    let large = "container returned 413: file too large; max file size is 50MB";
    assert_eq!(stock(Pipeline::AudioToText, 413), told(Caller, &format!("audio-to-text {large}")));
    let image = "image-to-text container returned 413 file too large; max file size is 50MB";
    assert_eq!(stock(Pipeline::ImageToText, 413), told(Caller, image));
    assert_eq!(stock(Pipeline::Upscale, 413), told(Caller, "upscale container returned 400: no"));
    assert_eq!(stock(Pipeline::AudioToText, 415).1, "audio-to-text container returned 415: no");
    assert_eq!(stock(Pipeline::ImageToText, 415).1, "image-to-text container returned 400: no");
    for status in [404, 429, 502, 503, 200, 302] {
        let expected = format!("llm container returned 500: the runner answered {status}: no").replace("llm", "LLM");
        assert_eq!(stock(Pipeline::Llm, status), told(Worker, &expected));
    }
    assert_eq!(
        runner_error(Pipeline::Upscale, 422, LIST.as_bytes()),
        told(Caller, &format!("upscale container returned 422: {LIST}"))
    );
    assert_eq!(runner_error(Pipeline::Llm, 422, LIST.as_bytes()).1, "LLM container returned 400: no reason given");
    assert_eq!(stock(Pipeline::Upscale, 422).1, "upscale container returned 400: no");
    for body in
        [r#"{"detail":"no"}"#, r#"{"error":{"message":"no","type":"x"}}"#, r#"{"message":"no"}"#, r#"{"error":"no"}"#]
    {
        assert_eq!(runner_error(Pipeline::Llm, 500, body.as_bytes()).1, "LLM container returned 500: no", "{body}");
    }
    for body in ["", "<html>", "{}", "[]", r#"{"detail":{"msg":7}}"#, r#"{"detail":""}"#] {
        assert!(runner_error(Pipeline::Llm, 500, body.as_bytes()).1.ends_with("500: no reason given"), "{body}");
    }
}

#[test]
fn whose_fault_a_text_tells_of() {
    for text in [
        "AI request validation failed for upscale pipeline err=<nil>",
        "AI request validation failed for llm pipeline err=json: cannot unmarshal number 1.0 into Go struct field",
        "text-to-image container returned 400: x",
        "image-to-text  container returned 422: {}",
        "image-to-text container returned 413 file too large; max file size is 50MB",
        "audio-to-text container returned 415: x",
        "LLM container returned 401: x",
    ] {
        assert_eq!(classify(text), Blame::Caller, "{text}");
    }
    for text in [
        "",
        "no workers can process job requested",
        "LLM container returned 500: x",
        "LLM container returned 5",
        "unexpected status code: 503",
        "Post \"http://localhost:8000/llm\": dial tcp: connection refused",
        "AI request validation failed for upscale pipeline err=404 Not Found",
        "AI request validation failed for upscale pipeline err=Get \"https://o/x\": context deadline exceeded",
        "AI request validation failed for upscale pipeline err=unexpected EOF",
        "AI request validation failed for x pipeline err=AI request pipeline type not supported",
    ] {
        assert_eq!(classify(text), Blame::Worker, "{text}");
    }
}

#[test]
fn orchestrators_get_only_statuses_that_they_know() {
    let answer = |pipeline, text: &str| {
        let (status, body) = error_answer(pipeline, text);
        (status, serde_json::from_slice::<Value>(&body).unwrap())
    };
    let msg = |text: &str| json!({"detail": {"msg": text}});
    assert_eq!(answer(Pipeline::Upscale, "upscale container returned 400: 100% no"), (400, msg("100 no")));
    assert_eq!(answer(Pipeline::Upscale, "upscale container returned 401: no"), (401, msg("no")));
    assert_eq!(answer(Pipeline::Upscale, "upscale container returned 413: no"), (400, msg("no")));
    assert_eq!(answer(Pipeline::ImageToText, "image-to-text container returned 413 no"), (413, msg("no")));
    assert_eq!(answer(Pipeline::AudioToText, "audio-to-text container returned 415: no"), (415, msg("no")));
    assert_eq!(answer(Pipeline::ImageToText, "image-to-text container returned 415: no"), (400, msg("no")));
    assert_eq!(answer(Pipeline::Llm, "LLM container returned 503: no"), (500, msg("no")));
    assert_eq!(
        answer(Pipeline::Llm, "no workers can process job requested"),
        (500, msg("no workers can process job requested"))
    );
    let list: Value = serde_json::from_str(LIST).unwrap();
    assert_eq!(answer(Pipeline::Upscale, &format!("upscale container returned 422: {LIST}")), (422, list));
    assert_eq!(answer(Pipeline::Llm, &format!("LLM container returned 422: {LIST}")).0, 400);
    assert_eq!(answer(Pipeline::Upscale, "upscale container returned 422: no"), (400, msg("no")));
    assert_eq!(answer(Pipeline::Upscale, "AI request validation failed for upscale pipeline err=<nil>").0, 400);
    assert_eq!(serde_json::from_slice::<Value>(&error_body(422, "no")).unwrap()["detail"][0]["msg"], "no");
    // A refusal by one road is read as the caller's fault on the other.
    for broken in [&b"{}"[..], b"", b"{", b"[]", b"{\"prompt\":1}", b"{\"prompt\":\"p\",\"model_id\":\"\"}", b"\xff"] {
        let bad = check_request(Pipeline::Upscale, broken).unwrap_err();
        assert_eq!(classify(&bad.worker_text()), Blame::Caller, "{bad}");
        assert_eq!(status_for(Pipeline::Upscale, &bad.worker_text()), 400);
    }
}

#[test]
fn texts_for_strangers_are_clean() {
    assert_eq!(clean("Get \"https://10.0.0.7:8935/x?y=%2f\": EOF"), "Get \"(address)\": EOF");
    assert_eq!(clean("a %s\r\nb\0"), "a s  b ");
    assert_eq!(clean("http://a http://b,https://c)"), "(address) (address),(address))");
    assert_eq!(clean(&"é".repeat(9_000)).len(), MOST_TEXT);
}

proptest! {
    #[test]
    fn any_error_is_answered_well(
        pipeline in prop::sample::select(Pipeline::STOCK.to_vec()), status in any::<u16>(),
        body in prop_oneof![".{0,80}", ".{0,40}".prop_map(|msg| String::from_utf8(detail(&msg)).unwrap()), Just(LIST.to_owned())],
        text in ".{0,60}",
    ) {
        let (_, told) = runner_error(pipeline, status, body.as_bytes());
        for text in [told, text, format!("x container returned {status}: {body}")] {
            let (status, body) = error_answer(pipeline, &text);
            prop_assert_eq!(status, status_for(pipeline, &clean(&text)));
            prop_assert!([400, 401, 413, 415, 422, 500].contains(&status));
            let body: Value = serde_json::from_slice(&body).unwrap();
            prop_assert_eq!(body["detail"].is_array(), status == 422);
            prop_assert!(status == 422 || body["detail"]["msg"].is_string());
            prop_assert!(!body.to_string().contains('%'));
        }
    }

    #[test]
    fn blame_is_kept_by_the_text(
        pipeline in prop::sample::select(Pipeline::STOCK.to_vec()), status in prop::sample::select(vec![400u16, 413, 415, 422, 500, 503]),
    ) {
        let (blame, text) = stock(pipeline, status);
        prop_assert_eq!(classify(&text), blame);
    }
}
