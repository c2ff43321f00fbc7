//! Prices by model and pipeline; deadlines within what an orchestrator waits for.
use super::*;

fn key(pipeline: Pipeline, model: &str) -> ModelKey {
    ModelKey::new(pipeline, model)
}

#[test]
fn a_model_has_its_own_price_or_its_pipelines() {
    let price = |wei: u128, units: u64| Price { wei, units };
    let mut rules = Rules::default();
    assert_eq!(rules.ai_price(&key(Pipeline::Llm, "a/b")), price(0, 1));
    rules.ai.prices.insert((Pipeline::Llm, None), price(7, 10));
    rules.ai.prices.insert((Pipeline::Llm, Some("a/b".into())), price(9, 1));
    assert_eq!(rules.ai_price(&key(Pipeline::Llm, "a/b")), price(9, 1));
    assert_eq!(rules.ai_price(&key(Pipeline::Llm, "a/c")), price(7, 10));
    assert_eq!(rules.ai_price(&key(Pipeline::Upscale, "a/b")), price(0, 1));
    rules.ai.price = price(3, 1);
    assert_eq!(rules.ai_price(&key(Pipeline::Upscale, "a/b")), price(3, 1));
}

#[test]
fn a_deadline_lies_within_what_the_orchestrator_waits() {
    let mut rules = AiRules::default();
    let secs = Duration::from_secs;
    assert_eq!(rules.deadline(Pipeline::TextToImage, true), secs(595));
    assert_eq!(rules.deadline(Pipeline::Llm, false), secs(895));
    for (asked, file, text) in [(60, 60, 60), (1, 30, 30), (700, 595, 700), (86_400, 595, 895)] {
        rules.deadlines.insert(Pipeline::Llm, secs(asked));
        assert_eq!(rules.deadline(Pipeline::Llm, true), secs(file), "{asked} s asked");
        assert_eq!(rules.deadline(Pipeline::Llm, false), secs(text), "{asked} s asked");
    }
    assert_eq!(rules.deadline(Pipeline::ImageToText, false), secs(895));
}
