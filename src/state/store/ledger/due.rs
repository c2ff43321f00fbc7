//! Part of `ledger verify`: what a result's own figures give, to the wei.
use super::read::Fact;
use super::schema::{self, Kind};
use crate::domain::ai::Pipeline;
use crate::domain::money::{BasisPoints, Price, Signed, Split};

/// The keys, accounts and amounts that a result's own figures give, or what is wrong with them.
pub(super) fn lines(job: &str, fact: &Fact) -> Result<Vec<(String, String, String)>, String> {
    let no = |what: &str| format!("its {what} cannot be read");
    let price = Price {
        wei: fact.text("price_wei").parse().map_err(|_| no("price"))?,
        units: fact.text("price_units").parse().map_err(|_| no("price"))?,
    };
    let bp = fact.number("commission_bp").and_then(|bp| u32::try_from(bp).ok()).ok_or_else(|| no("commission"))?;
    let bp = BasisPoints::new(bp).map_err(|e| e.to_string())?;
    due(fact)?;
    let split = price.of(fact.units()).and_then(|gross| Split::of(gross, bp)).map_err(|e| e.to_string())?;
    let told = [fact.wei("gross"), fact.wei("commission"), fact.wei("worker_share"), fact.wei("rounding")];
    if told != [split.gross, split.commission, split.worker, split.rounding].map(Some) {
        return Err("its gross, commission, share and rounding are not what its units and price give".into());
    }
    let lines = [
        ("receivable", schema::receivable(fact.text("orchestrator")), Signed::plus(split.gross)),
        ("payable", schema::payable(fact.text("worker")), Signed::minus(split.worker)),
        ("commission", schema::COMMISSION.to_owned(), Signed::minus(split.commission)),
        ("rounding", schema::ROUNDING.to_owned(), Signed::minus(split.rounding)),
    ];
    let told = lines.into_iter().filter(|(_, _, amount)| !amount.is_zero());
    Ok(told.map(|(line, account, amount)| (schema::posting_key(job, line), account, amount.to_string())).collect())
}

/// What is charged, against the rest of the row.
fn due(fact: &Fact) -> Result<(), String> {
    match fact.kind {
        Kind::Segment => {
            let credited = fact.units();
            let found = fact.number("encoded_computed");
            if credited > fact.count("encoded_reported") || found.is_some_and(|n| i128::from(n) < i128::from(credited))
            {
                return Err("more pixels are credited than were reported and found".into());
            }
        }
        Kind::Ai => {
            let pipeline = Pipeline::from_name(fact.text("pipeline"));
            if pipeline.is_none_or(|pipeline| pipeline.unit().name() != fact.text("unit")) {
                return Err(format!("`{}` is not paid by `{}`", fact.text("pipeline"), fact.text("unit")));
            }
        }
    }
    if fact.number(fact.kind.units()).is_none_or(|units| units < 0) {
        return Err("what it is paid by is no count".into());
    }
    Ok(())
}
