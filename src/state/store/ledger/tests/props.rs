//! Any course of steps against a model: balances to the wei, each job paid once at most.
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Move {
    Assign,
    Result { ai: bool, amount: u64, wei: u128, units: u64, bp: u32 },
    Post,
    Void,
    Doubt,
}

fn a_move() -> impl Strategy<Value = Move> {
    let figures =
        (any::<bool>(), 0u64..1 << 40, prop_oneof![0u128..10_000, Just(u128::MAX)], 1u64..1_000_000, 0u32..=10_000);
    prop_oneof![
        3 => Just(Move::Assign),
        3 => figures.prop_map(|(ai, amount, wei, units, bp)| Move::Result { ai, amount, wei, units, bp }),
        3 => Just(Move::Post),
        1 => Just(Move::Void),
        1 => Just(Move::Doubt),
    ]
}

/// What the ledger should say, in the plainest words.
#[derive(Default)]
struct Model {
    assigned: BTreeMap<(u128, i64), bool>,
    facts: BTreeMap<(u128, i64), (u64, u128, u64, u32)>,
    ended: BTreeMap<(u128, i64), &'static str>,
    paid: BTreeMap<u128, i64>,
}

impl Model {
    fn take(&mut self, at: (u128, i64), step: &Move) {
        let end = self.ended.get(&at).copied();
        match step {
            Move::Assign if end.is_none() => {
                self.assigned.insert(at, true);
            }
            Move::Result { amount, wei, units, bp, .. } if end.is_none() && self.assigned.contains_key(&at) => {
                self.facts.entry(at).or_insert((*amount, *wei, *units, *bp));
            }
            Move::Post if end.is_none() || end == Some("doubt") => {
                let end = if self.paid.contains_key(&at.0) {
                    "void"
                } else if self.facts.contains_key(&at) {
                    self.paid.insert(at.0, at.1);
                    "post"
                } else {
                    "doubt"
                };
                self.ended.insert(at, end);
            }
            Move::Void if end != Some("post") => {
                self.ended.insert(at, "void");
            }
            Move::Doubt if end.is_none() => {
                self.ended.insert(at, "doubt");
            }
            _ => {}
        }
    }

    /// Every account's balance, with long arithmetic of its own.
    fn balances(&self) -> BTreeMap<String, String> {
        use ruint::aliases::U512;
        let whole = U512::from(10_000);
        let mut sums: BTreeMap<String, U512> = BTreeMap::new();
        for (job, task) in &self.paid {
            let (amount, wei, units, bp) = self.facts[&(*job, *task)];
            let gross = U512::from(amount) * U512::from(wei) / U512::from(units);
            let share = gross * U512::from(10_000 - bp) / whole;
            let pool = gross * U512::from(bp) / whole;
            let accounts =
                [format!("-payable:w{task}"), "-commission".into(), "-rounding".into(), "receivable:main".into()];
            for (account, wei) in accounts.into_iter().zip([share, pool, gross - share - pool, gross]) {
                *sums.entry(account).or_default() += wei;
            }
        }
        let told = sums.into_iter().filter(|(_, sum)| *sum != U512::ZERO);
        told.map(|(account, sum)| match account.strip_prefix('-') {
            Some(account) => (account.to_owned(), format!("-{sum}")),
            None => (account, sum.to_string()),
        })
        .collect()
    }
}

fn step_of(at: (u128, i64), step: &Move) -> Step {
    match step {
        Move::Assign => assigned(at.0, at.1, &format!("w{}", at.1)),
        Move::Result { ai, amount, wei, units, bp } => {
            let mut result = result(at.0, at.1, *amount, "1");
            if *ai {
                result.work = Work::Ai(ai_job(*amount));
            }
            result.price = crate::domain::money::Price { wei: *wei, units: *units };
            result.commission = BasisPoints::new(*bp).unwrap();
            Step::Resulted(result)
        }
        Move::Post => posted(at.0, at.1),
        Move::Void => voided(at.0, at.1),
        Move::Doubt => in_doubt(at.0, at.1),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn any_course_of_steps_keeps_the_books(moves in prop::collection::vec((0u128..4, 0i64..3, a_move()), 1..80), cut in 0usize..80) {
        let (_dir, path) = place();
        let mut model = Model::default();
        let steps: Vec<Step> = moves.iter().map(|(job, task, step)| step_of((*job, *task), step)).collect();
        let (before, after) = steps.split_at(cut.min(steps.len()));
        for (at, (job, task, step)) in moves.iter().enumerate() {
            if at == before.len() {
                model_restart(&mut model);
            }
            model.take((*job, *task), step);
        }
        write(&path, before.to_vec());
        write(&path, after.to_vec());
        let report = verify(&path).unwrap();
        prop_assert_eq!(&report.faults, &Vec::<String>::new());
        prop_assert_eq!(report.balances, model.balances());
        prop_assert_eq!(report.posted, model.paid.len() as u64);
        prop_assert_eq!(report.segments + report.ai_jobs, model.facts.len() as u64);
    }
}

/// What opening does to attempts that have no end.
fn model_restart(model: &mut Model) {
    let open: Vec<_> = model.assigned.keys().filter(|at| !model.ended.contains_key(*at)).copied().collect();
    for at in open {
        let end = if model.facts.contains_key(&at) { "doubt" } else { "void" };
        model.ended.insert(at, end);
    }
}
