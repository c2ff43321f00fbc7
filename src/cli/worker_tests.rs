//! What the operator sees of a token, and that it works.
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::state::roster::{Roster, TokenFault};

#[test]
fn an_invitation_prints_a_line_that_works_and_a_revocation_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let address = "0x52908400098527886E0F7030069857D2E4169EE7";
    let args = InviteArgs { name: "rig1".into(), address: Some(address.parse().unwrap()), expires_days: Some(2) };
    let mut out = Vec::new();
    invite(&args, dir.path(), "pool.example:8945", 0, &mut StdRng::seed_from_u64(1), &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    let line = text.lines().find(|line| line.contains("livepeer -transcoder")).unwrap();
    let token = line.split(' ').find(|word| word.starts_with("opw_")).unwrap();
    let wanted =
        format!("  livepeer -transcoder -orchAddr pool.example:8945 -orchSecret {token} -nvidia all -maxSessions 10");
    assert_eq!(line, wanted);
    assert!(text.contains("until 1970-01-03") && text.contains(address), "{text}");
    let roster = Roster::open(&dir.path().join(FILE)).unwrap();
    assert_eq!(roster.find(token, 1).unwrap().address, args.address);
    let id = text.split("worker revoke ").nth(1).unwrap().trim();
    revoke(&RevokeArgs { token: id.into() }, dir.path(), 2, &mut Vec::new()).unwrap();
    roster.refresh_if_changed().unwrap();
    assert_eq!(roster.find(token, 3), Err(TokenFault::Revoked));
}

#[test]
fn impossible_days_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for days in [0, MOST_DAYS + 1] {
        let args = InviteArgs { name: "rig1".into(), address: None, expires_days: Some(days) };
        let told = invite(&args, dir.path(), "h:1", 0, &mut StdRng::seed_from_u64(1), &mut Vec::new()).unwrap_err();
        assert!(told.to_string().contains("leave it out"), "{told}");
    }
}
