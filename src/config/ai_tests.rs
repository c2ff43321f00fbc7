//! Tests of the keys of AI: the runner port, runners, prices and deadlines, from file and environment.
use std::collections::BTreeMap;
use std::time::Duration;

use super::*;
use crate::domain::ai::{ModelKey, Pipeline};

const HEAD: &str = "pool: {name: Fjord Pool}\norchestrators:\n  - {url: 'a:8935', name: oslo, secret: env:ORCH}\n";

fn load_with(text: &str, pairs: &[(&str, &str)]) -> Result<Loaded, Box<Faults>> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{HEAD}{text}")).unwrap();
    let mut env: BTreeMap<String, String> = pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    env.insert("ORCH".into(), "s3cret-of-orch".into());
    load(file.path(), env)
}

fn sound(text: &str) -> Loaded {
    load_with(text, &[("TOKEN", "s3cret-token")]).unwrap_or_else(|faults| panic!("{faults}"))
}

fn offers(loaded: &Loaded, index: usize) -> Vec<String> {
    let models = &loaded.settings.runner.runners[index].models;
    models.iter().map(|m| format!("{} x{} {}", m.key, m.capacity, m.warm)).collect()
}

#[test]
fn without_a_word_of_ai_no_port_is_opened() {
    let settings = sound("").settings;
    assert!(settings.runner.port.is_none() && settings.runner.runners.is_empty());
    let bare = sound("runner:\n  wait: 2 s\n").settings;
    assert!(bare.runner.port.is_none() && bare.runner.wait.0 == Duration::from_secs(2));
}

#[test]
fn a_listed_runner_opens_the_port_where_nothing_is_said() {
    let loaded = sound("runners:\n  - url: http://10.0.0.7:8000\n    models: llm org/model\n");
    let port = loaded.settings.runner.port.clone().unwrap();
    assert_eq!((port.listen.to_string().as_str(), port.tls, port.token), ("127.0.0.1:8946", None, None));
    let runner = &loaded.settings.runner.runners[0];
    assert_eq!((&*runner.name.0, runner.health.as_str()), ("10.0.0.7:8000", "/health"));
    assert_eq!(offers(&loaded, 0), ["llm org/model x1 true"]);
}

#[test]
fn a_runner_is_read_with_all_that_it_has() {
    let loaded = sound(
        "runner:\n  listen: 0.0.0.0:9000\n  token: env:TOKEN\n  orchestrator: oslo\n  most_form: 1 GiB\n\
         runners:\n  - url: https://gpu7.example/below/\n    name: gpu7\n    token: env:TOKEN\n    region: oslo\n    \
         address: 0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed\n    fingerprint: 'AB:cd'\n    health: /ready?full=1\n    \
         models:\n      - text-to-image org/model:v1 x2 cold\n      - {pipeline: byoc, model: my-job, capacity: 3}\n"
            .replace("AB:cd", &"AB:cd:".repeat(16).trim_end_matches(':'))
            .as_str(),
    );
    let plane = &loaded.settings.runner;
    assert_eq!(plane.orchestrator.as_ref().unwrap().0.as_ref(), "oslo");
    let port = plane.port.as_ref().unwrap();
    assert_eq!((port.token.as_deref(), port.limits.most_form_bytes), (Some("s3cret-token"), 1 << 30));
    let runner = &plane.runners[0];
    assert_eq!((&*runner.name.0, runner.url.path()), ("gpu7", "/below/"));
    assert_eq!(runner.address.unwrap().to_string(), "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed");
    assert_eq!((runner.pin.unwrap()[0], runner.pin.unwrap()[31]), (0xab, 0xcd));
    assert_eq!((runner.health.as_str(), runner.region.as_deref()), ("/ready?full=1", Some("oslo")));
    assert_eq!(runner.token.as_deref(), Some("s3cret-token"));
    assert_eq!(offers(&loaded, 0), ["text-to-image org/model:v1 x2 false", "byoc my-job x3 true"]);
    let shown = format!("{loaded:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
    let row = |key: &str| loaded.rows.iter().find(|row| row.key == key).unwrap().value.clone().unwrap();
    assert_eq!(row("runners[0].models"), "[text-to-image org/model:v1 x2 cold, byoc my-job x3]");
    assert_eq!(row("runners[0].url"), "https://gpu7.example/below");
}

#[test]
fn prices_and_deadlines_reach_the_rule_book() {
    let text = "ai:\n  price: 2\n  prices:\n    - llm 1/10\n    - {pipeline: llm, model: org/model, price: 0.5}\n  \
                deadlines:\n    llm: 2 min\n  least_patience: 4 s\n  slow_tau: 10 min\n";
    let loaded = sound(text);
    let rules = &loaded.settings.rules;
    let price = |pipeline, model| rules.ai_price(&ModelKey::new(pipeline, model)).to_string();
    assert_eq!(price(Pipeline::Llm, "org/model"), "5/10");
    assert_eq!(price(Pipeline::Llm, "other"), "1/10");
    assert_eq!(price(Pipeline::Upscale, "org/model"), "2");
    assert_eq!(rules.ai.deadline(Pipeline::Llm, false), Duration::from_secs(120));
    assert_eq!((rules.ai.least_patience, rules.ai.score.slow_tau), (Duration::from_secs(4), 600.0));
    let row = |key: &str| loaded.rows.iter().find(|row| row.key == key).unwrap().value.clone().unwrap();
    assert_eq!(row("ai.prices"), "[llm 1/10, llm org/model 5/10]");
    assert_eq!(row("ai.deadlines"), "{llm: 2 min}");
    // As shown, so read.
    let again = sound(&format!("ai: {{prices: {}, deadlines: {}}}\n", row("ai.prices"), row("ai.deadlines")));
    assert_eq!(again.settings.rules.ai.prices, rules.ai.prices);
    assert_eq!(again.settings.rules.ai.deadlines, rules.ai.deadlines);
}

#[test]
fn the_environment_lists_runners_and_sets_their_keys() {
    let loaded = load_with(
        "",
        &[
            ("OPENPOOL_RUNNERS__0__URL", "http://10.0.0.7:8000"),
            ("OPENPOOL_RUNNERS__0__MODELS", "[llm org/model x4]"),
            ("OPENPOOL_RUNNERS__0__TOKEN", "s3cret-token"),
            ("OPENPOOL_RUNNERS__1__URL", "http://10.0.0.8:8000"),
            ("OPENPOOL_RUNNERS__1__MODELS", "upscale org/other"),
            ("OPENPOOL_RUNNERS__1__TOKEN", "env:OPENPOOL_OF_GPU8"),
            ("OPENPOOL_OF_GPU8", "s3cret-of-gpu8"),
            ("OPENPOOL_RUNNER__TOKEN", "s3cret-of-port"),
            ("OPENPOOL_AI__PRICES", "[llm 3]"),
            ("OPENPOOL_AI__DEADLINES", "{llm: 1 min}"),
        ],
    )
    .unwrap_or_else(|faults| panic!("{faults}"));
    let plane = &loaded.settings.runner;
    assert_eq!(offers(&loaded, 0), ["llm org/model x4 true"]);
    assert_eq!(offers(&loaded, 1), ["upscale org/other x1 true"]);
    let tokens: Vec<_> = plane.runners.iter().map(|r| r.token.as_deref().unwrap()).collect();
    assert_eq!(tokens, ["s3cret-token", "s3cret-of-gpu8"]);
    assert_eq!(plane.port.as_ref().unwrap().token.as_deref(), Some("s3cret-of-port"));
    assert_eq!(loaded.settings.rules.ai.prices.len() + loaded.settings.rules.ai.deadlines.len(), 2);
    assert!(!format!("{loaded:?}").contains("s3cret"));
    let flow = "[{url: 'http://a:1', models: [llm org/model]}]";
    assert_eq!(load_with("", &[("OPENPOOL_RUNNERS", flow)]).unwrap().settings.runner.runners.len(), 1);
}

#[test]
fn faults_of_ai_are_drawn_where_they_stand() {
    let text = "pool:\n  name: Fjord Pool\norchestrators:\n  - url: a:8935\n    secret: env:ORCH\nrunners:\n  \
                - url: http://10.0.0.7:8000\n    models: [text-to-imag org/model, llm org/model]\n    capacity: 2\n\
                runner:\n  listen: 0.0.0.0:8946\n";
    let drawn = of_text("proxy.yaml", text).unwrap_err().to_string();
    let wanted = "\
error[E313]: `runners[0].models[0]` is `text-to-imag`, not a pipeline
  --> proxy.yaml:8:14
   |
 8 |     models: [text-to-imag org/model, llm org/model]
   |              ^^^^^^^^^^^^^^^^^^^^^^ did you mean `text-to-image`?
error[E207]: unknown key `capacity` in `runners`
  --> proxy.yaml:9:5
   |
 9 |     capacity: 2
   |     ^^^^^^^^ did you mean `capacity` of an item below `models`, such as `- text-to-image org/model x2`?
error[E507]: `runner.listen` is 0.0.0.0:8946, which others can reach, and it asks for no token
  --> proxy.yaml:11:11
   |
11 |   listen: 0.0.0.0:8946
   |           ^^^^^^^^^^^^ write `token: file:/path` below `runner:`, or listen at `127.0.0.1:8946`
3 errors
";
    assert_eq!(drawn, wanted);
}
