//! Requests: checked, charged, and carried from one road to the other and back.
use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::domain::ai::Pipeline;

fn bytes(value: &Value) -> Bytes {
    value.to_string().into()
}

fn facts(pipeline: Pipeline, value: Value) -> Result<RequestFacts, BadRequest> {
    check_request(pipeline, &bytes(&value))
}

/// A request with every key, as a stock orchestrator encodes it for a worker.
fn whole(pipeline: Pipeline) -> Value {
    match pipeline {
        Pipeline::TextToImage => json!({"prompt": "p", "model_id": "o/m", "height": 1024, "width": 768,
            "num_images_per_prompt": 2, "num_inference_steps": 8, "guidance_scale": 7.5, "negative_prompt": "n",
            "safety_check": true, "seed": -4, "loras": "{\"a\":1.0}"}),
        Pipeline::ImageToImage => json!({"image": null, "prompt": "a \"b\"\n", "model_id": "o/m", "loras": "{}",
            "strength": 0.8, "guidance_scale": 7.0, "image_guidance_scale": 1.5, "negative_prompt": "",
            "safety_check": false, "seed": 7, "num_images_per_prompt": 3, "num_inference_steps": 20}),
        Pipeline::ImageToVideo => json!({"image": null, "model_id": "o/m", "height": 64, "width": 32, "fps": 6,
            "motion_bucket_id": 127, "noise_aug_strength": 0.02, "seed": 1, "safety_check": true,
            "num_inference_steps": 25}),
        Pipeline::Upscale => json!({"image": null, "prompt": "p", "model_id": "o/m", "safety_check": true,
            "seed": 1, "num_inference_steps": 75}),
        Pipeline::AudioToText => {
            json!({"audio": null, "model_id": "o/m", "return_timestamps": "word", "metadata": "{}"})
        }
        Pipeline::SegmentAnything2 => json!({"image": null, "model_id": "o/m", "point_coords": "[[1,2]]",
            "point_labels": "[1]", "box": "[1,2,3,4]", "mask_input": "[]", "multimask_output": true,
            "return_logits": false, "normalize_coords": true}),
        Pipeline::Llm => json!({"messages": [{"role": "user", "content": "hi"}], "model": "o/m", "max_tokens": 256,
            "temperature": 0.7, "top_p": 1, "top_k": -1, "stream": true}),
        Pipeline::ImageToText => json!({"image": null, "prompt": "p", "model_id": "o/m"}),
        Pipeline::LiveVideoToVideo => json!({"subscribe_url": "u", "publish_url": "u", "control_url": "u",
            "events_url": "u", "model_id": "o/m", "params": {"a": [1]}, "gateway_request_id": "", "manifest_id": "m",
            "stream_id": ""}),
        Pipeline::TextToSpeech => json!({"model_id": "o/m", "text": "héllo", "description": "d"}),
        Pipeline::Byoc | Pipeline::App => json!({}),
    }
}

#[test]
fn whole_requests_are_read() {
    for pipeline in Pipeline::STOCK {
        let facts = facts(pipeline, whole(pipeline)).unwrap();
        assert_eq!((facts.model.as_str(), facts.stream), ("o/m", pipeline == Pipeline::Llm), "{pipeline}");
    }
    for pipeline in [Pipeline::Byoc, Pipeline::App] {
        assert!(facts(pipeline, whole(pipeline)).is_err());
    }
}

#[test]
fn a_wrong_type_or_a_missing_key_fails_and_is_named() {
    for pipeline in Pipeline::STOCK {
        let all = whole(pipeline);
        for key in all.as_object().unwrap().keys().filter(|key| !["image", "audio"].contains(&key.as_str())) {
            let mut broken = all.clone();
            broken[key] = json!([[]]);
            let bad = facts(pipeline, broken.clone()).unwrap_err();
            assert_eq!(bad.key, *key, "{pipeline}");
            assert_eq!(bad.status, if pipeline == Pipeline::Llm { 400 } else { 422 });
            assert_eq!(bad.fault, "wrong type");
            let body: Value = serde_json::from_slice(&bad.body()).unwrap();
            match bad.status {
                422 => assert_eq!(body["detail"][0]["loc"], json!(["body", key])),
                _ => assert_eq!(body["detail"]["msg"], json!(format!("{key}: wrong type"))),
            }
            // Null is as good as absent.
            broken[key] = Value::Null;
            let null = facts(pipeline, broken.clone());
            broken.as_object_mut().unwrap().remove(key);
            assert_eq!(null, facts(pipeline, broken));
            let needed =
                ["prompt", "model_id", "model", "messages", "max_tokens", "text", "subscribe_url", "publish_url"];
            let needed = needed.contains(&key.as_str()) && (key != "prompt" || pipeline != Pipeline::ImageToText);
            assert_eq!(null.is_err(), needed, "{pipeline} {key}");
        }
    }
    let fraction = json!({"prompt": "p", "model_id": "m", "seed": 1.0});
    assert_eq!(facts(Pipeline::TextToImage, fraction).unwrap_err().key, "seed");
    let huge = json!({"prompt": "p", "model_id": "m", "guidance_scale": 1e39});
    assert_eq!(facts(Pipeline::TextToImage, huge).unwrap_err().key, "guidance_scale");
    let parts = json!({"messages": [{"role": "user", "content": [{"type": "text"}]}], "model": "m", "max_tokens": 1});
    assert_eq!(facts(Pipeline::Llm, parts).unwrap_err().key, "messages");
    for text in ["", "[]", "{", "null", "{\"a\":1}x", "\u{feff}{}"] {
        assert_eq!(check_request(Pipeline::Upscale, text.as_bytes()).unwrap_err().key, "body", "{text}");
    }
    assert!(check_request(Pipeline::TextToSpeech, b"{\"model_id\":\"m\",\"text\":\"\xff\"}").is_err());
    let deep = format!("{{\"model_id\":\"m\",\"text\":\"t\",\"x\":{}", "[".repeat(100_000));
    assert!(check_request(Pipeline::TextToSpeech, deep.as_bytes()).is_err());
}

#[test]
fn the_last_of_two_keys_counts() {
    let twice = b"{\"model_id\":\"a\",\"text\":\"t\",\"model_id\":\"b\"}";
    assert_eq!(check_request(Pipeline::TextToSpeech, twice).unwrap().model, "b");
}

#[test]
fn the_table_of_units() {
    let image = Some(FileMeasure::Image { width: 640, height: 480 });
    let units = |pipeline, file| charge(pipeline, &bytes(&whole(pipeline)), file).unwrap();
    assert_eq!(units(Pipeline::TextToImage, None), 768 * 1024 * 2);
    assert_eq!(units(Pipeline::ImageToImage, image), 640 * 480 * 3);
    assert_eq!(units(Pipeline::ImageToVideo, None), 32 * 64 * 25);
    assert_eq!(units(Pipeline::Upscale, image), 640 * 480);
    assert_eq!(units(Pipeline::SegmentAnything2, image), 640 * 480);
    assert_eq!(units(Pipeline::ImageToText, image), 640 * 480);
    assert_eq!(units(Pipeline::AudioToText, Some(FileMeasure::Audio { ms: 61_999 })), 61_000);
    assert_eq!(units(Pipeline::Llm, None), 256);
    assert_eq!(units(Pipeline::TextToSpeech, None), 5_000);

    let bare = |value: Value, pipeline| charge(pipeline, &bytes(&value), image);
    assert_eq!(bare(json!({"prompt": "", "model_id": "m"}), Pipeline::TextToImage), Ok(512 * 512));
    assert_eq!(bare(json!({"model_id": "m"}), Pipeline::ImageToVideo), Ok(1024 * 576 * 25));
    assert_eq!(bare(json!({"prompt": "", "model_id": "m"}), Pipeline::ImageToImage), Ok(640 * 480));
    for count in [0, -1, i64::MIN, i64::MAX, 1 << 21] {
        let value = json!({"prompt": "", "model_id": "m", "num_images_per_prompt": count});
        assert_eq!(bare(value.clone(), Pipeline::TextToImage).unwrap_err().key, "num_images_per_prompt");
        assert_eq!(bare(value, Pipeline::ImageToImage).unwrap_err().status, 400);
    }
    let most =
        json!({"prompt": "", "model_id": "m", "width": 1 << 20, "height": 1 << 20, "num_images_per_prompt": 1 << 20});
    assert_eq!(bare(most, Pipeline::TextToImage), Ok(1 << 60));
    let huge = Some(FileMeasure::Image { width: u32::MAX, height: u32::MAX });
    assert!(charge(Pipeline::ImageToImage, &bytes(&whole(Pipeline::ImageToImage)), huge).is_err());

    let refused = |pipeline: Pipeline, file| charge(pipeline, &bytes(&whole(pipeline)), file).unwrap_err();
    assert_eq!(refused(Pipeline::AudioToText, Some(FileMeasure::Audio { ms: 999 })).key, "audio");
    assert_eq!(refused(Pipeline::AudioToText, None).key, "audio");
    assert_eq!(refused(Pipeline::Upscale, None).key, "image");
    assert_eq!(refused(Pipeline::LiveVideoToVideo, None).key, "body");
}

#[test]
fn forms_are_written_as_a_stock_program_writes_them() {
    let fields = request_to_form(Pipeline::ImageToImage, &bytes(&whole(Pipeline::ImageToImage))).unwrap();
    let shown: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let expected = [
        "prompt=a \"b\"\n",
        "model_id=o/m",
        "loras={}",
        "strength=0.800000",
        "guidance_scale=7.000000",
        "image_guidance_scale=1.500000",
        "negative_prompt=",
        "safety_check=false",
        "seed=7",
        "num_images_per_prompt=3",
        "num_inference_steps=20",
    ];
    assert_eq!(shown, expected);
    assert_eq!(request_to_form(Pipeline::Llm, b"{}").unwrap_err().status, 400);
}

#[test]
fn forms_and_requests_translate_both_ways() {
    for pipeline in Pipeline::STOCK.into_iter().filter(|pipeline| pipeline.file_field().is_some()) {
        let request = bytes(&whole(pipeline));
        let fields = request_to_form(pipeline, &request).unwrap();
        let owned: Vec<_> = fields.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        let back = form_to_request(pipeline, &owned).unwrap();
        assert_eq!(request_to_form(pipeline, &back).unwrap(), fields);
        let (before, after): (Value, Value) =
            (serde_json::from_slice(&request).unwrap(), serde_json::from_slice(&back).unwrap());
        for (key, value) in before.as_object().unwrap() {
            match value.as_f64() {
                Some(number) => assert_eq!(after[key].as_f64(), Some(number), "{key}"),
                None => assert_eq!(&after[key], value, "{key}"),
            }
        }
        assert_eq!(after.as_object().unwrap().len(), before.as_object().unwrap().len());
    }
}

#[test]
fn broken_forms_name_the_field() {
    let form = |fields: &[(&str, &str)]| {
        let fields: Vec<_> = fields.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        form_to_request(Pipeline::ImageToVideo, &fields)
    };
    assert_eq!(form(&[("fps", "6")]).unwrap_err().key, "model_id");
    for (name, value) in [
        ("fps", "six"),
        ("fps", "6.0"),
        ("noise_aug_strength", "NaN"),
        ("noise_aug_strength", "inf"),
        ("safety_check", "maybe"),
        ("seed", "99999999999999999999"),
    ] {
        let bad = form(&[("model_id", "m"), (name, value)]).unwrap_err();
        assert_eq!((&*bad.key, bad.status), (name, 422), "{value}");
    }
    assert_eq!(form(&[("model_id", "m"), ("model_id", "n")]).unwrap_err().key, "model_id");
    let taken = form(&[("model_id", "m"), ("unknown", "x"), ("safety_check", "True"), ("noise_aug_strength", "0.8")]);
    assert_eq!(taken.unwrap(), "{\"image\":null,\"model_id\":\"m\",\"noise_aug_strength\":0.8,\"safety_check\":true}");
    assert!(form_to_request(Pipeline::TextToImage, &[]).is_err());
}

#[test]
fn job_data_keep_the_request_as_it_was() {
    let raw = Bytes::from_static(
        b" { \"input_url\" : \"https://o/a\\u0062.tempfile\", \"x\": 1, \"request\": { \"model_id\":\"m\",\n \"new\":1.0, \"image\":null } } ",
    );
    let job = read_job(Pipeline::ImageToVideo, &raw).unwrap();
    assert_eq!((job.input_url.as_str(), job.model.as_str(), job.stream), ("https://o/ab.tempfile", "m", false));
    assert_eq!(job.request, "{ \"model_id\":\"m\",\n \"new\":1.0, \"image\":null }");
    assert!(raw.as_ptr_range().contains(&job.request.as_ptr()), "no copy");
    let written = write_job("https://us/\"", &job.request);
    let again = read_job(Pipeline::ImageToVideo, &written).unwrap();
    assert_eq!((again.input_url.as_str(), &again.request), ("https://us/\"", &job.request));
    let patched = patch_job(&raw, "https://us/1").unwrap();
    assert_eq!(read_job(Pipeline::ImageToVideo, &patched).unwrap().request, job.request);
    assert_eq!(serde_json::from_slice::<Value>(&patched).unwrap()["x"], json!(1));

    let bad =
        |raw: &'static str| read_job(Pipeline::ImageToVideo, &Bytes::from_static(raw.as_bytes())).unwrap_err().key;
    assert_eq!(bad("{}"), "request");
    assert_eq!(bad("[]"), "body");
    assert_eq!(bad("{\"request\":{\"model_id\":\"m\"}}"), "input_url");
    assert_eq!(bad("{\"request\":{\"model_id\":\"m\"},\"input_url\":7}"), "input_url");
    assert_eq!(bad("{\"request\":\"x\",\"input_url\":\"u\"}"), "body");
    let llm = write_job("", &bytes(&whole(Pipeline::Llm)));
    let llm = read_job(Pipeline::Llm, &llm).unwrap();
    assert_eq!((llm.stream, llm.measure), (true, Measure::Known(256)));
}

#[test]
fn requests_have_limits() {
    let long = json!({"model_id": "m", "text": "x".repeat(MOST_REQUEST)});
    assert_eq!(facts(Pipeline::TextToSpeech, long.clone()).unwrap_err().status, 400);
    let mut fits = long;
    fits["text"] = json!("x".repeat(MOST_REQUEST - 100));
    let request = bytes(&fits);
    assert!(check_request(Pipeline::TextToSpeech, &request).is_ok());
    let notice = crate::wire::messages::write_ai_notice(
        i64::MAX,
        Pipeline::TextToSpeech,
        &write_job(&"u".repeat(MOST_URL), &request),
    );
    assert!(notice.len() < crate::wire::messages::MOST_AI_NOTICE);
    for model in ["".to_owned(), "m\n".to_owned(), "m".repeat(257)] {
        let bad = facts(Pipeline::TextToSpeech, json!({"model_id": model, "text": "t"})).unwrap_err();
        assert_eq!(bad.key, "model_id");
        assert!(
            bad.worker_text().starts_with("AI request validation failed for text-to-speech pipeline err=model_id: ")
        );
    }
    let keys: String = (0..300).map(|n| format!("\"k{n}\":1,")).collect();
    assert!(
        check_request(Pipeline::TextToSpeech, format!("{{{keys}\"model_id\":\"m\",\"text\":\"t\"}}").as_bytes())
            .is_err()
    );
}

fn pipelines() -> impl Strategy<Value = Pipeline> {
    prop::sample::select(Pipeline::ALL.to_vec())
}

proptest! {
    #[test]
    fn garbage_never_panics(pipeline in pipelines(), raw in prop::collection::vec(any::<u8>(), 0..200), text in ".{0,60}") {
        let raw = Bytes::from(raw);
        let _ = (check_request(pipeline, &raw), read_job(pipeline, &raw), patch_job(&raw, &text));
        let _ = (request_to_form(pipeline, &raw), check_request(pipeline, text.as_bytes()));
        let _ = form_to_request(pipeline, &[("model_id".into(), text.clone()), (text.clone(), text.clone()), ("fps".into(), text)]);
    }

    #[test]
    fn damage_never_panics(pipeline in pipelines(), at in any::<prop::sample::Index>(), value in any::<u8>()) {
        let mut raw = write_job("https://o/x", &bytes(&whole(pipeline))).to_vec();
        let at = at.index(raw.len());
        raw[at] = value;
        let raw = Bytes::from(raw);
        if let Ok(job) = read_job(pipeline, &raw) {
            prop_assert!(check_request(pipeline, &job.request).is_ok());
            if pipeline.file_field().is_some() {
                prop_assert!(request_to_form(pipeline, &job.request).is_ok());
            }
        }
    }

    #[test]
    fn texts_survive_a_form(text in any::<String>()) {
        let request = bytes(&json!({"prompt": text, "model_id": "m", "image": null}));
        let fields = request_to_form(Pipeline::Upscale, &request).unwrap();
        prop_assert_eq!(&fields[0].1, &text);
        let owned: Vec<_> = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let back: Value = serde_json::from_slice(&form_to_request(Pipeline::Upscale, &owned).unwrap()).unwrap();
        prop_assert_eq!(back["prompt"].as_str(), Some(text.as_str()));
    }
}
