//! The keys of AI: the runner port, the runners behind it, prices and deadlines.
use super::super::ai_forms::{Deadlines, Models, Prices};
use super::super::file::{Written, WrittenRunner};
use super::super::forms::{Maybe, Money, Real, Seconds, Time, count, size};
use super::super::runner_forms::{Fingerprint, HealthPath, PayAddress, RunnerUrl};
use super::super::words::{Folder, Listen, SecretForm, Text};
use super::{DAY, GIB, H, KIB, Key, MIB, MIN, MS, S};

pub(super) fn runner() -> Vec<Key<Written>> {
    let mut all = keys! { Written;
        "runner.listen" runner.listen = Listen, "The port that an orchestrator's `aiModels.json` names; opened when this is set or `runners` are listed.";
        "runner.certificate" runner.certificate = Maybe(Folder), "PEM file of its certificate chain, which orchestrators verify; without it plain HTTP.";
        "runner.key" runner.key = Maybe(Folder), "PEM file of the certificate's private key.";
        "runner.token" runner.token = Maybe(SecretForm), "What orchestrators must show as bearer token: `file:/path` or `env:NAME`; needed off loopback.";
        "runner.orchestrator" runner.orchestrator = Maybe(Text(60)), "Name of the orchestrator whose jobs come by this port; without it the first.";
        "runner.wait" runner.wait = Time(0, 5 * MIN), "A job of this port waits so long for a free worker.";
        "runner.threads" runner.threads = Maybe(count(1, 256)), "Threads that carry its connections; without it one a processor, four at most.";
        "runner.tries" runner.limits.tries = count(1, 20), "Runners asked for one request, as long as nothing of an answer is out.";
        "runner.connections" runner.limits.connections = count(1, 1_000_000), "Connections to the port.";
        "runner.tls_handshake" runner.limits.tls_handshake = Time(100 * MS, 10 * MIN), "A TLS handshake must end within.";
        "runner.head_within" runner.limits.head_within = Time(100 * MS, 10 * MIN), "The header of a request must have arrived within.";
        "runner.head_fields" runner.limits.head_fields = count(8, 1_000), "The most fields in it.";
        "runner.keep_alive" runner.limits.keep_alive = Time(S, DAY), "A connection between two requests ends after.";
        "runner.body_gap" runner.limits.body_gap = Time(100 * MS, 10 * MIN), "The longest silence within a request's body.";
    };
    all.extend(runner_sizes());
    all
}

fn runner_sizes() -> Vec<Key<Written>> {
    keys! { Written;
        "runner.most_json" runner.limits.most_json_bytes = size(64 * KIB, GIB), "The largest JSON request.";
        "runner.most_form" runner.limits.most_form_bytes = size(64 * KIB, 16 * GIB), "The largest form, with its file.";
        "runner.most_form_in_memory" runner.limits.most_form_in_memory = size(64 * KIB, 4 * GIB), "The largest form that is read whole before it is routed.";
        "runner.most_held" runner.limits.most_held_bytes = size(MIB, 256 * GIB), "All bodies that are held whole, together.";
        "runner.most_body" runner.limits.most_body_bytes = size(64 * KIB, 64 * GIB), "Any other body; these are streamed.";
        "runner.most_answer" runner.care.most_answer = size(64 * KIB, 16 * GIB), "The largest JSON answer of a runner, its files included.";
        "runner.connect_within" runner.limits.connect_within = Time(100 * MS, MIN), "A connection to a runner must stand within.";
        "runner.silence" runner.limits.silence = Time(S, DAY), "The longest silence of a runner whose answer is passed through.";
        "runner.job_silence" runner.care.silence = Time(S, DAY), "The same of one that works a job of the worker road.";
        "runner.upstream_idle" runner.limits.upstream_idle = Time(S, DAY), "An idle connection to a runner ends after.";
        "runner.health_every" runner.care.health_every = Time(100 * MS, H), "A runner is asked for its health this often.";
        "runner.health_timeout" runner.care.health_timeout = Time(100 * MS, 10 * MIN), "Its answer must have come within.";
        "runner.misses" runner.care.misses = count(1, 1_000), "So many misses in a row put a runner out.";
    }
}

/// One item of `runners`.
pub(in crate::config) fn runner_item() -> Vec<Key<WrittenRunner>> {
    keys! { WrittenRunner;
        "url" url = Maybe(RunnerUrl), "Where it listens: `http://host:port` or `https://host:port`, with a path where it lives below one. Required.";
        "models" models = Models, "What it runs: `pipeline model`, with `x2` for two jobs at once and `cold` for what is not loaded yet; or mappings of pipeline, model, capacity, warm. Required.";
        "name" name = Maybe(Text(60)), "What reports call it; without it `host:port` of its url.";
        "token" token = Maybe(SecretForm), "Its bearer token: `file:/path` or `env:NAME`.";
        "address" address = Maybe(PayAddress), "Where its share is paid; without it the share is booked under its name.";
        "region" region = Maybe(Text(60)), "Where it stands.";
        "fingerprint" fingerprint = Maybe(Fingerprint), "SHA-256 of its certificate; without it an authority of this system must have signed it.";
        "health" health = HealthPath, "Path of its health, below its url.";
    }
}

pub(super) fn rules() -> Vec<Key<Written>> {
    let mut all = keys! { Written;
        "ai.price" rules.ai.price = Money("wei/unit"), "What an orchestrator's fee is reckoned from where no other price fits; units are pixels, ms of audio, tokens, 1/1000 characters, seconds.";
        "ai.prices" rules.ai.prices = Prices, "Prices of pipelines and of models: `pipeline price` or `pipeline model price`, or mappings of these.";
        "ai.deadlines" rules.ai.deadlines = Deadlines, "The longest that a job of a pipeline may take; the others have all that an orchestrator gives.";
        "ai.file_limit" rules.ai.file_limit = Time(S, 10 * MIN), "So long after its request an orchestrator takes a result with files.";
        "ai.text_limit" rules.ai.text_limit = Time(S, 15 * MIN), "The same for a result of text.";
        "ai.answer_margin" rules.ai.margin = Time(10 * MS, MIN), "An answer is on its way so long before that.";
        "ai.least_deadline" rules.ai.least_deadline = Time(S, 10 * MIN), "No job has less time.";
        "ai.waiting" rules.ai.waiting = count(0, 1_000_000), "AI jobs that wait for a worker.";
        "ai.patience" rules.ai.patience = Real(1.0, 100.0), "An attempt goes elsewhere after this many times its predicted time...";
        "ai.least_patience" rules.ai.least_patience = Time(100 * MS, 10 * MIN), "...but never before this.";
    };
    all.extend(score());
    all
}

fn score() -> Vec<Key<Written>> {
    keys! { Written;
        "ai.slow_tau" rules.ai.score.slow_tau = Seconds(S, DAY), "Time constant of the slow average of a worker's speed.";
        "ai.fast_tau" rules.ai.score.fast_tau = Seconds(S, DAY), "Time constant of the fast one, which sees a worker slow down.";
        "ai.prior_weight" rules.ai.score.prior_weight = Real(0.01, 1_000.0), "How many jobs the fleet's average counts for at a new worker.";
        "ai.prior_factor" rules.ai.score.prior_factor = Real(0.1, 10.0), "A new worker is taken for this times as slow as the fleet's median.";
        "ai.default_ratio" rules.ai.score.default_ratio = Real(0.001, 10_000.0), "Seconds a job where nobody has any data.";
        "ai.outcome_tau" rules.ai.score.outcome_tau = Seconds(S, DAY), "Time constant of success and failure.";
    }
}
