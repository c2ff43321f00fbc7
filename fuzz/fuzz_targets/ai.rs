//! AI jobs of any bytes: what is taken by one road is taken by the other.
#![no_main]
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use openpool_proxy::domain::ai::Pipeline;
use openpool_proxy::wire::ai::*;
use openpool_proxy::wire::messages::{patch_ai_notice, read_ai_notice, read_ai_register, write_ai_register};

fn form(body: &[u8], step: usize) -> Result<(), BadForm> {
    let mut reader = FormReader::new("multipart/form-data; boundary=b", 1000)?;
    for chunk in body.chunks(step) {
        reader.feed(Bytes::copy_from_slice(chunk));
        while reader.next()?.is_some() {}
    }
    reader.finish()
}

fn answer(pipeline: Pipeline, raw: &Bytes) {
    let mut n = 0;
    let name = || {
        n += 1;
        format!("{n:08x}")
    };
    if let Ok((json, files)) = runner_to_answer(pipeline, raw, name) {
        let names: Vec<_> = files.iter().map(|file| &file.name).collect();
        check_answer(pipeline, &json, &names).unwrap();
        let find = |name: &str| files.iter().find(|file| file.name == name).map(|file| file.bytes.clone());
        answer_to_runner(pipeline, &json, find).unwrap();
    }
    let _ = answer_to_runner(pipeline, raw, |_| Some(Bytes::from_static(b"x")));
}

fn stream(raw: &[u8], step: usize) {
    let mut reader = SseReader::new();
    let mut fixer = ChunkFixer::new();
    for chunk in raw.chunks(step) {
        reader.feed(chunk);
        while let Ok(Some(line)) = reader.next() {
            let Line::Data(data) = line else { continue };
            if let Fixed::Send(_) | Fixed::Last(_) = fixer.push(data) {
                assert!(fixer.has_begun());
            }
        }
    }
    let over = fixer.is_over();
    assert_eq!(fixer.finish().is_some(), fixer.has_begun() && !over);
}

fuzz_target!(|input: &[u8]| {
    let [pick, step, rest @ ..] = input else { return };
    let pipeline = Pipeline::ALL[usize::from(*pick) % Pipeline::ALL.len()];
    let (raw, step) = (Bytes::copy_from_slice(rest), usize::from(*step).max(1));
    if let Ok(register) = read_ai_register(&raw) {
        let written = write_ai_register(&register.secret, &register.models, &register.version, &register.hardware);
        assert_eq!(read_ai_register(&written).unwrap().models, register.models);
    }
    if let Ok(notice) = read_ai_notice(&raw) {
        let patched = patch_ai_notice(&raw, 7, &notice.request_data).unwrap();
        assert_eq!(read_ai_notice(&patched).unwrap().pipeline, notice.pipeline);
    }
    if check_request(pipeline, &raw).is_ok()
        && let Ok(fields) = request_to_form(pipeline, &raw)
    {
        let fields: Vec<_> = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        form_to_request(pipeline, &fields).unwrap();
    }
    if let Ok(job) = read_job(pipeline, &raw) {
        read_job(pipeline, &write_job(&job.input_url, &job.request)).unwrap();
        patch_job(&raw, "u").unwrap();
    }
    let body = [b"--b\r\nContent-Disposition: form-data; ", rest].concat();
    assert_eq!(form(&body, step).is_ok(), form(&body, body.len()).is_ok());
    answer(pipeline, &raw);
    stream(rest, step);
    let (_, text) = runner_error(pipeline, u16::from(*pick) + 300, rest);
    assert!(!error_answer(pipeline, &text).1.contains(&b'%'));
    let _ = (image_size(rest), audio_ms(raw));
});
