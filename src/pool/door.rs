//! The door: who a worker is, by the one string that a stock worker can send.
use std::net::IpAddr;

use subtle::ConstantTimeEq;

use super::api::{Knock, Mode, Refusal, Worker};
use super::{Inner, Pool};
use crate::domain::ids::{Address, WorkerName};
use crate::domain::time::Moment;
use crate::state::roster::TokenFault;
use crate::telemetry;

/// Longer strings are nobody's.
const LONGEST_SECRET: usize = 512;
const LONGEST_RIG: usize = 32;
pub(super) const EXPIRED: &str = "this join token has run out; ask the pool for a new one and put it into -orchSecret";

impl Pool {
    /// Who is at the door. The same call proves registrations and results.
    pub fn login(&self, knock: Knock<'_>) -> Result<Worker, Refusal> {
        let now = self.clock().now();
        let id = public_part(knock.secret);
        if let Some(left) = self.inner.lockouts.locked(knock.peer, id, now) {
            return Err(Refusal::TryLater(format!(
                "too many failed logins from your address; try again in {} s",
                left.as_secs() + 1
            )));
        }
        let result = self.inner.identify(knock);
        if result == Err(Refusal::InvalidSecret) {
            self.inner.failed_login(knock.peer, id, now);
        }
        result
    }
}

impl Inner {
    fn identify(&self, knock: Knock<'_>) -> Result<Worker, Refusal> {
        let join = &self.rulebook.current().join;
        if knock.secret.is_empty() || knock.secret.len() > LONGEST_SECRET {
            return Err(Refusal::InvalidSecret);
        }
        if knock.secret.starts_with("opw_") {
            return if join.invite { self.invited(knock.secret) } else { Err(Refusal::InvalidSecret) };
        }
        if join.shared
            && let Some(worker) = self.shared(knock)
        {
            return worker;
        }
        if join.open && knock.secret.starts_with("0x") {
            return open(knock.secret);
        }
        Err(Refusal::InvalidSecret)
    }

    fn invited(&self, token: &str) -> Result<Worker, Refusal> {
        let mut found = self.roster.find(token, self.clock.unix_ms());
        // An invitation of a moment ago, made by another process: look before a fatal answer.
        if found == Err(TokenFault::Unknown) && self.roster.refresh_if_changed().is_ok_and(|changed| changed) {
            found = self.roster.find(token, self.clock.unix_ms());
        }
        match found {
            Ok(record) => Ok(Worker {
                name: record.name,
                address: record.address,
                mode: Mode::Invite,
                token: Some(record.token_id),
            }),
            Err(TokenFault::Expired) => Err(Refusal::TryLater(EXPIRED.into())),
            Err(_) => Err(Refusal::InvalidSecret),
        }
    }

    /// `<pool secret>` or `<pool secret>:0xADDRESS[.rig]`; None: not this secret at all.
    fn shared(&self, knock: Knock<'_>) -> Option<Result<Worker, Refusal>> {
        let secret = self.shared_secret.as_deref()?;
        let same = |text: &str| bool::from(text.as_bytes().ct_eq(secret.as_bytes()));
        if same(knock.secret) {
            let name = match knock.named {
                Some(address) => address.to_string(),
                None => format!("shared@{}", knock.peer),
            };
            return Some(Ok(Worker {
                name: WorkerName(name.into()),
                address: knock.named,
                mode: Mode::Shared,
                token: None,
            }));
        }
        let (head, address) = knock.secret.rsplit_once(':')?;
        if !same(head) {
            return None;
        }
        Some(open(address).map(|worker| Worker { mode: Mode::Shared, ..worker }))
    }

    fn failed_login(&self, peer: IpAddr, id: &str, now: Moment) {
        self.lockouts.failed(peer, id, now);
        telemetry::login_failed();
    }
}

/// `0xADDRESS` or `0xADDRESS.rig`: the worker is who it says, and is paid there.
fn open(text: &str) -> Result<Worker, Refusal> {
    let (address, rig) = match text.split_once('.') {
        Some((address, rig)) => (address, Some(rig)),
        None => (text, None),
    };
    let address: Address = address.parse().map_err(|fault| {
        Refusal::TryLater(format!("-orchSecret must be 0xADDRESS or 0xADDRESS.rig: {fault}").replace('%', ""))
    })?;
    if address.is_zero() {
        return Err(Refusal::TryLater("the zero address cannot be paid; put your own into -orchSecret".into()));
    }
    let name = match rig {
        None => address.to_string(),
        Some(rig) if good_rig(rig) => format!("{address}.{rig}"),
        Some(_) => {
            return Err(Refusal::TryLater(
                "a rig's name is 1 to 32 letters, digits, `-` or `_`; change what follows the dot in -orchSecret"
                    .into(),
            ));
        }
    };
    Ok(Worker { name: WorkerName(name.into()), address: Some(address), mode: Mode::Open, token: None })
}

fn good_rig(rig: &str) -> bool {
    (1..=LONGEST_RIG).contains(&rig.len()) && rig.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
}

/// What may be remembered of a credential: a token's public id, an address, else nothing.
fn public_part(secret: &str) -> &str {
    if secret.starts_with("opw_") {
        secret.split('_').nth(1).unwrap_or_default()
    } else if secret.starts_with("0x") {
        secret
    } else {
        ""
    }
}
