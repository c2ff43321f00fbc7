//! The words that workers read.
use http_body_util::BodyExt;
use tonic::Code;

use super::*;

#[test]
fn only_the_two_fatal_refusals_are_fatal() {
    let fatal = |r: &Refusal| {
        let status = refusal(r, Some("https://pool.test/help"));
        ([INVALID_SECRET, ZERO_CAPACITY].contains(&status.message()), status.code())
    };
    assert_eq!(fatal(&Refusal::InvalidSecret), (true, Code::Unknown));
    assert_eq!(fatal(&Refusal::ZeroCapacity), (true, Code::Unknown));
    assert_eq!(fatal(&Refusal::TryLater("in 5 s".into())), (false, Code::Unavailable));
    assert_eq!(fatal(&Refusal::TooMuch("1 MB".into())), (false, Code::ResourceExhausted));
    for text in [INVALID_SECRET, ZERO_CAPACITY, "invalid secret\n", ""] {
        let later = refusal(&Refusal::TryLater(text.into()), None);
        assert!(later.message().trim() != INVALID_SECRET && later.message().trim() != ZERO_CAPACITY, "{later:?}");
        assert_eq!(goodbye(text, None).code(), Code::Unavailable);
    }
}

#[test]
fn sentences_fit_old_workers() {
    let help = Some("https://pool.test/help");
    assert_eq!(sentence("99 % of\nit", help), "99  percent of it Help: https://pool.test/help");
    assert_eq!(sentence("a", Some("https://pool.test/%20")), "a");
    for text in ["ä".repeat(300), "%".repeat(300), "x".repeat(200)] {
        let text = sentence(&text, help);
        assert!(text.len() <= LONGEST && !text.contains('%') && text.ends_with("help"), "{text}");
    }
    assert_eq!(sentence(&"x".repeat(200), None).len(), 200);
}

async fn read(response: Response<Body>) -> (u16, String) {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn each_verdict_has_its_answer() {
    let table = [
        (Verdict::Accepted, 200, "OK"),
        (Verdict::Noted, 200, "OK"),
        (Verdict::Repeated, 200, "OK"),
        (Verdict::Refused("part 1 is 2 px short".into()), 422, "part 1 is 2 px short"),
        (Verdict::Late, 410, "Too late"),
        (Verdict::Conflict, 409, "Another result"),
        (Verdict::Storage("the disk is full".into()), 503, "the disk is full"),
    ];
    for (given, status, begins) in table {
        let (got, text) = read(verdict(&given, None)).await;
        assert!(got == status && text.starts_with(begins), "{given:?}: {got} {text}");
    }
    let table = [
        (Unclaimable::Unknown, 404),
        (Unclaimable::NotYours, 403),
        (Unclaimable::Ended, 410),
        (Unclaimable::Busy, 409),
    ];
    for (given, status) in table {
        assert_eq!(read(unclaimable(given, None)).await.0, status);
    }
    assert_eq!(read(unauthorized(&Refusal::InvalidSecret, None)).await, (401, "Unauthorized".into()));
    assert_eq!(read(unauthorized(&Refusal::TryLater("in 5 s".into()), None)).await, (503, "in 5 s".into()));
}

#[test]
fn a_panic_in_a_registration_makes_the_worker_come_back() {
    let status = super::super::register::unless_panicked(|| -> u8 { panic!("planted") }).unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable, "never Canceled");
    assert!(!["invalid secret", "zero capacity"].contains(&status.message()));
    assert_eq!(super::super::register::unless_panicked(|| 7).unwrap(), 7);
}
