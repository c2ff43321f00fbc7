//! `worker invite` and `worker revoke`: tokens for workers.
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use clap::Args;
use rand::CryptoRng;

use crate::domain::ids::Address;
use crate::state::roster::{self, Invitation};
use crate::state::store::ledger::day;

/// The roster's file in the data folder.
pub const FILE: &str = "workers.db";

const DAY_MS: u64 = 86_400_000;
/// Ten years.
const MOST_DAYS: u64 = 3_650;

#[derive(Clone, Debug, Args)]
pub struct InviteArgs {
    /// The worker's name in the ledger: letters, digits, `.`, `_`, `-`. A name that is there gets a second token
    #[arg(long)]
    pub name: String,
    /// Where it is paid: 0x and 40 hex digits
    #[arg(long)]
    pub address: Option<Address>,
    /// Days until the token runs out; without it, never
    #[arg(long, value_name = "DAYS")]
    pub expires_days: Option<u64>,
}

#[derive(Clone, Debug, Args)]
pub struct RevokeArgs {
    /// The token, or its beginning `opw_..........` (14 characters)
    pub token: String,
}

/// Makes a token and prints it, once. `join_at` is what workers connect to, `HOST:PORT`.
pub fn invite(
    args: &InviteArgs,
    data: &Path,
    join_at: &str,
    now_ms: u64,
    rng: &mut impl CryptoRng,
    out: &mut dyn Write,
) -> Result<()> {
    if args.expires_days.is_some_and(|days| days == 0 || days > MOST_DAYS) {
        return Err(anyhow!("--expires-days is 1 to {MOST_DAYS}; leave it out for a token that never runs out"));
    }
    let expires_ms = args.expires_days.map(|days| now_ms.saturating_add(days.saturating_mul(DAY_MS)));
    // An operator invites before the first `serve`.
    std::fs::create_dir_all(data).with_context(|| format!("cannot make the data folder {}", data.display()))?;
    let wish = Invitation { name: args.name.clone(), address: args.address, expires_ms };
    let token = roster::invite(&data.join(FILE), &wish, now_ms, rng)?;
    let until =
        expires_ms.and_then(|ms| i64::try_from(ms).ok()).map_or("for ever".into(), |ms| format!("until {}", day(ms)));
    let paid = args.address.map_or("no payout address yet".into(), |address| format!("paid to {address}"));
    let text = format!(
        "{name}: works {until}, {paid}. This token is shown once; it is kept as a hash only.\n\n  {token}\n\n\
         send the worker this line:\n\n  \
         livepeer -transcoder -orchAddr {join_at} -orchSecret {token} -nvidia all -maxSessions 10\n\n\
         to take it back: openpool-proxy worker revoke {id}",
        name = args.name,
        id = token.get(..14).unwrap_or_default(),
    );
    writeln!(out, "{text}").context("printing the token")
}

/// Ends a token; connections made with it are cut within a second.
pub fn revoke(args: &RevokeArgs, data: &Path, now_ms: u64, out: &mut dyn Write) -> Result<()> {
    let name = roster::revoke(&data.join(FILE), &args.token, now_ms)?;
    writeln!(out, "the token of {name} is revoked").context("printing")
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
