//! Answers: checked, and carried from one road to the other and back.
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::ai::Pipeline;

/// A picture of one pixel.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06\0\0\0";
const GIF: &[u8] = b"GIF89a\x01\0\x01\0\0\0\0\0\0\0\0";

fn bytes(value: &Value) -> Bytes {
    value.to_string().into()
}

fn check(pipeline: Pipeline, value: Value, files: &[&str]) -> Result<AnswerFacts, String> {
    check_answer(pipeline, &bytes(&value), files)
}

fn names() -> impl FnMut() -> String {
    let mut n = 0;
    move || {
        n += 1;
        format!("{n:08x}")
    }
}

fn data_url(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", STANDARD.encode(bytes))
}

#[test]
fn answers_with_files_name_them() {
    let two =
        json!({"images": [{"url": "b.png", "seed": 42, "nsfw": false}, {"url": "a.png", "seed": -1, "nsfw": true}]});
    for pipeline in [Pipeline::TextToImage, Pipeline::ImageToImage, Pipeline::Upscale, Pipeline::ImageToVideo] {
        let facts = check(pipeline, two.clone(), &["a.png", "b.png", "c.png"]).unwrap();
        assert_eq!(facts, AnswerFacts { files: vec!["b.png".into(), "a.png".into()], usage: None });
        assert!(check(pipeline, two.clone(), &["b.png"]).unwrap_err().contains("a.png"));
    }
    let image = |url: &str| check(Pipeline::TextToImage, json!({"images": [{"url": url}]}), &[url]);
    assert!(image("0a1b2c3d.png").is_ok());
    for url in ["", "../x", "a/b", "a b", "a;b", "a\r\nb", "é.png", ".x", &"x".repeat(65)] {
        assert!(image(url).is_err(), "{url}");
    }
    let twice = json!({"images": [{"url": "a.png"}, {"url": "a.png"}]});
    assert!(check(Pipeline::TextToImage, twice, &["a.png"]).unwrap_err().contains("twice"));
    let many: Vec<_> = (0..64).map(|n| json!({"url": format!("{n}")})).collect();
    assert!(check(Pipeline::TextToImage, json!({"images": many}), &["0"]).unwrap_err().contains("64 images"));
    assert_eq!(check(Pipeline::TextToSpeech, json!({"audio": {"url": "a.wav"}}), &["a.wav"]).unwrap().files, ["a.wav"]);
    for broken in [
        json!({}),
        json!({"images": []}),
        json!({"images": null}),
        json!({"images": [{}]}),
        json!([]),
        json!({"images": [{"url": 1}]}),
        json!({"images": [{"url": "a", "seed": 1.0}]}),
        json!({"images": [{"url": "a", "nsfw": "no"}]}),
    ] {
        assert!(check(Pipeline::Upscale, broken.clone(), &["a", "1"]).is_err(), "{broken}");
    }
}

#[test]
fn answers_of_text_keep_their_shape() {
    let none: &[&str] = &[];
    let good = |pipeline, value| check(pipeline, value, none).unwrap();
    let bad = |pipeline, value: Value| assert!(check(pipeline, value.clone(), none).is_err(), "{pipeline} {value}");
    good(Pipeline::AudioToText, json!({"text": "", "chunks": [{"timestamp": [0.0, null], "text": "x"}], "more": 1}));
    good(Pipeline::AudioToText, json!({"text": "a", "chunks": null}));
    good(Pipeline::ImageToText, json!({"text": "a"}));
    good(Pipeline::SegmentAnything2, json!({"masks": "[]", "scores": "[]", "logits": "[]"}));
    good(Pipeline::LiveVideoToVideo, json!({}));
    bad(Pipeline::AudioToText, json!({"chunks": []}));
    bad(Pipeline::AudioToText, json!({"text": null}));
    bad(Pipeline::AudioToText, json!({"text": "a", "chunks": [{"timestamp": 1}]}));
    bad(Pipeline::ImageToText, json!(null));
    bad(Pipeline::SegmentAnything2, json!({"masks": [], "scores": "[]", "logits": "[]"}));
    bad(Pipeline::LiveVideoToVideo, json!({"publish_url": 1}));
    bad(Pipeline::LiveVideoToVideo, json!([]));
    bad(Pipeline::Byoc, json!({}));
    let llm = json!({"id": "1", "model": "m", "created": 1735689600, "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "details": null}});
    assert_eq!(good(Pipeline::Llm, llm.clone()).usage, Some(Usage { prompt: 1, completion: 2, total: 3 }));
    for (key, value) in [
        ("choices", json!([])),
        ("choices", json!(null)),
        ("created", json!(1.5)),
        ("id", json!(7)),
        ("usage", json!({"total_tokens": "3"})),
        ("choices", json!([{"index": 0}])),
    ] {
        let mut broken = llm.clone();
        broken[key] = value;
        bad(Pipeline::Llm, broken);
    }
    assert!(check_answer(Pipeline::ImageToText, b"{\"text\":\"\xff\"}", none).is_err());
    assert!(
        check_answer(Pipeline::AudioToText, format!("{{\"text\":\"\",\"x\":{}", "[".repeat(1 << 20)).as_bytes(), none)
            .is_err()
    );
}

#[test]
fn files_become_data_urls() {
    let answer = bytes(&json!({"images": [{"url": "a.png", "seed": 7, "nsfw": true}, {"url": "b.png"}]}));
    let file = |name: &str| match name {
        "a.png" => Some(Bytes::from_static(PNG)),
        "b.png" => Some(Bytes::from_static(GIF)),
        _ => None,
    };
    let out = answer_to_runner(Pipeline::TextToImage, &answer, file).unwrap();
    let expected = json!({"images": [
        {"url": data_url("image/png", PNG), "seed": 7, "nsfw": true},
        {"url": data_url("image/png", GIF), "seed": 0, "nsfw": false},
    ]});
    assert_eq!(serde_json::from_slice::<Value>(&out).unwrap(), expected);
    let plan =
        plan_runner_answer(Pipeline::TextToImage, &answer, |name| file(name).map(|bytes| bytes.len() as u64)).unwrap();
    assert_eq!(plan.length, out.len() as u64);
    assert!(answer_to_runner(Pipeline::TextToImage, &answer, |_| None).is_err());
    assert!(answer_to_runner(Pipeline::ImageToVideo, &answer, file).is_err());

    let speech = bytes(&json!({"audio": {"url": "a.wav"}}));
    let out = answer_to_runner(Pipeline::TextToSpeech, &speech, |_| Some(Bytes::from_static(b"RIFF"))).unwrap();
    assert_eq!(out, "{\"audio\":{\"url\":\"data:audio/wav;base64,UklGRg==\"}}");
    let text = Bytes::from_static(b" {\"text\": \"a\", \"more\": 1.0}");
    assert_eq!(answer_to_runner(Pipeline::ImageToText, &text, file).unwrap(), text);
    assert!(answer_to_runner(Pipeline::Llm, &text, file).is_err());
}

#[test]
fn data_urls_become_files() {
    let answer = bytes(&json!({"images": [{"url": data_url("image/png", PNG), "seed": 7, "nsfw": true},
        {"url": data_url("image/gif", GIF), "seed": 8, "nsfw": false}]}));
    let (json, files) = runner_to_answer(Pipeline::ImageToImage, &answer, names()).unwrap();
    assert_eq!(
        json,
        "{\"images\":[{\"url\":\"00000001.png\",\"seed\":7,\"nsfw\":true},\
        {\"url\":\"00000002.png\",\"seed\":8,\"nsfw\":false}]}"
    );
    let expected = [("00000001.png", PNG), ("00000002.png", GIF)].map(|(name, bytes)| DecodedFile {
        name: name.into(),
        content_type: "image/png",
        bytes: Bytes::from_static(bytes),
    });
    assert_eq!(files, expected);
    let names_of: Vec<_> = files.iter().map(|file| &file.name).collect();
    assert_eq!(check_answer(Pipeline::ImageToImage, &json, &names_of).unwrap().files.len(), 2);

    let speech = bytes(&json!({"audio": {"url": data_url("audio/mpeg;rate=1", b"any")}}));
    let (json, files) = runner_to_answer(Pipeline::TextToSpeech, &speech, names()).unwrap();
    assert_eq!(
        (json, files[0].content_type, &files[0].bytes[..]),
        ("{\"audio\":{\"url\":\"00000001.wav\"}}".into(), "audio/wav", &b"any"[..])
    );

    let image = |url: String| runner_to_answer(Pipeline::Upscale, &bytes(&json!({"images": [{"url": url}]})), names());
    let html = data_url("image/png", b"<html> nothing to see here");
    for url in [
        "http://x/a.png".into(),
        "data:image/png,abc".into(),
        "data:image/png;base64,!".into(),
        "a.png".into(),
        "".into(),
        data_url("image/webp", PNG),
        data_url("text/plain", PNG),
        data_url("image/png", b""),
        data_url("image/png", &PNG[..9]),
        html,
        data_url("image/png", b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    ] {
        assert!(image(url.clone()).is_err(), "{url}");
    }
    let frames = bytes(&json!({"frames": [[{"url": data_url("image/png", PNG), "seed": 1, "nsfw": false}]]}));
    assert!(runner_to_answer(Pipeline::ImageToVideo, &frames, names()).is_err());
    let bad_name = runner_to_answer(Pipeline::TextToSpeech, &speech, || "../x".into());
    assert!(bad_name.is_err());
}

fn pipelines() -> impl Strategy<Value = Pipeline> {
    prop::sample::select(Pipeline::ALL.to_vec())
}

proptest! {
    #[test]
    fn garbage_never_panics(pipeline in pipelines(), raw in prop::collection::vec(any::<u8>(), 0..200)) {
        let raw = Bytes::from(raw);
        let _ = (check_answer(pipeline, &raw, &["a"]), runner_to_answer(pipeline, &raw, names()));
        let _ = answer_to_runner(pipeline, &raw, |_| Some(Bytes::new()));
    }

    #[test]
    fn damage_never_panics(pipeline in pipelines(), at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut raw = bytes(&json!({"images": [{"url": data_url("image/png", PNG), "seed": 7, "nsfw": true}], "text": "a",
            "audio": {"url": data_url("audio/wav", b"x")}, "choices": [{"message": {"role": "", "content": ""}}]})).to_vec();
        let at = at.index(raw.len());
        raw[at] = value;
        if let Ok((json, files)) = runner_to_answer(pipeline, &raw, names()) {
            let names: Vec<_> = files.iter().map(|file| &file.name).collect();
            prop_assert!(check_answer(pipeline, &json, &names).is_ok());
        }
    }

    #[test]
    fn base64_is_the_same_in_any_chunks(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..9), 0..12)) {
        let mut feed = Base64Feed::default();
        let mut out: Vec<u8> = chunks.iter().flat_map(|chunk| feed.feed(chunk)).collect();
        out.extend(feed.end());
        prop_assert_eq!(String::from_utf8(out).unwrap(), STANDARD.encode(chunks.concat()));
    }
}
