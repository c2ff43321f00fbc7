//! Whose fault an AI worker's words tell of.
use super::*;

#[test]
fn error_texts_are_sorted_and_cleaned() {
    let busy = failure(" no workers can process job requested\n");
    assert_eq!(busy, Failure::Busy);
    let callers = failure("text-to-image container returned 422: 99% of https://10.0.0.1:8935/input/abc is bad");
    let Failure::InputError(text) = callers else { panic!("{callers:?}") };
    assert!(!text.contains("10.0.0.1") && !text.contains('%'), "{text}");
    // A stock worker wraps a failed download so.
    let download = "AI request validation failed for upscale pipeline err=Get \"https://10.0.0.1/input/a\": EOF";
    assert!(matches!(failure(download), Failure::WorkerError(_)));
    assert!(matches!(failure("llm container returned 500: out of memory"), Failure::WorkerError(_)));
}
