//! Tokens: made once, found, rotated, revoked, run out; another process's writes are seen.
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

const NOW: u64 = 1_000_000;

fn wish(name: &str) -> Invitation {
    Invitation { name: name.into(), address: None, expires_ms: None }
}

fn folder() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("workers.db");
    (dir, path)
}

#[test]
fn a_token_finds_its_worker_and_is_not_stored() {
    let (_dir, path) = folder();
    let mut rng = StdRng::seed_from_u64(1);
    let address: Address = "0x52908400098527886E0F7030069857D2E4169EE7".parse().unwrap();
    let text = invite(&path, &Invitation { address: Some(address), ..wish("rig1") }, NOW, &mut rng).unwrap();
    let roster = Roster::open(&path).unwrap();
    let record = roster.find(&text, NOW).unwrap();
    assert_eq!((record.name, record.address), ("rig1".into(), Some(address)));
    let secret = text.split('_').nth(2).unwrap().as_bytes();
    for file in ["workers.db", "workers.db-wal"] {
        let bytes = std::fs::read(path.with_file_name(file)).unwrap_or_default();
        assert!(memchr::memmem::find(&bytes, secret).is_none(), "{file} holds the secret");
    }
}

#[test]
fn each_fault_has_its_name() {
    let (_dir, path) = folder();
    let mut rng = StdRng::seed_from_u64(2);
    let text = invite(&path, &wish("rig1"), NOW, &mut rng).unwrap();
    let late = invite(&path, &Invitation { expires_ms: Some(NOW + 5), ..wish("rig2") }, NOW, &mut rng).unwrap();
    let roster = Roster::open(&path).unwrap();
    let find = |text: &str| roster.find(text, NOW + 5).unwrap_err();
    for odd in
        ["", "hunter2", "opw_", "opw_a_b_c", &text[..40], &format!("{text}_x"), &text.to_uppercase(), "opw_é_é_é"]
    {
        assert_eq!(find(odd), TokenFault::Malformed, "{odd}");
    }
    let last = if text.ends_with('0') { "1" } else { "0" };
    assert_eq!(find(&format!("{}{last}", &text[..text.len() - 1])), TokenFault::BadChecksum);
    let (id, stranger) = new_token(&mut rng);
    assert_eq!(find(&stranger), TokenFault::Unknown);
    let body = stranger[..stranger.len() - CHECK - 1].replace(&id, text.split('_').nth(1).unwrap());
    assert_eq!(find(&format!("{body}_{}", checksum(&body))), TokenFault::Wrong);
    assert_eq!(find(&late), TokenFault::Expired);
    assert!(roster.find(&late, NOW + 4).is_ok());
}

#[test]
fn a_second_token_rotates_and_a_third_is_refused() {
    let (_dir, path) = folder();
    let mut rng = StdRng::seed_from_u64(3);
    let first = invite(&path, &wish("rig1"), NOW, &mut rng).unwrap();
    let roster = Roster::open(&path).unwrap();
    assert!(!roster.refresh_if_changed().unwrap());
    let second = invite(&path, &wish("rig1"), NOW, &mut rng).unwrap();
    assert_eq!(roster.find(&second, NOW), Err(TokenFault::Unknown));
    assert!(roster.refresh_if_changed().unwrap());
    assert!(!roster.refresh_if_changed().unwrap());
    assert_eq!(roster.find(&first, NOW).unwrap().name, roster.find(&second, NOW).unwrap().name);
    let refused = invite(&path, &wish("rig1"), NOW, &mut rng).unwrap_err().to_string();
    assert!(refused.contains("2 live tokens") && refused.contains(&first[..14]), "{refused}");
    revoke(&path, &first[..14], NOW).unwrap();
    roster.refresh_if_changed().unwrap();
    assert_eq!(roster.find(&first, NOW), Err(TokenFault::Revoked));
    assert_eq!(roster.check(&first[4..14], NOW), Err(TokenFault::Revoked));
    assert!(roster.find(&second, NOW).is_ok());
    invite(&path, &wish("rig1"), NOW, &mut rng).unwrap();
}

#[test]
fn names_and_addresses_are_guarded() {
    let (_dir, path) = folder();
    let mut rng = StdRng::seed_from_u64(4);
    for odd in ["", "a b", "rig/1", "é", "0xabc", &"x".repeat(65)] {
        assert!(invite(&path, &wish(odd), NOW, &mut rng).is_err(), "{odd}");
    }
    let address = |n: u8| Some(Address([n; 20]));
    invite(&path, &wish("rig1"), NOW, &mut rng).unwrap();
    assert!(invite(&path, &wish("RIG1"), NOW, &mut rng).unwrap_err().to_string().contains("capitals"));
    let token = invite(&path, &Invitation { address: address(1), ..wish("rig1") }, NOW, &mut rng).unwrap();
    revoke(&path, &token, NOW).unwrap();
    let other = invite(&path, &Invitation { address: address(2), ..wish("rig1") }, NOW, &mut rng).unwrap_err();
    assert!(other.to_string().contains("is paid to"), "{other}");
    assert!(invite(&path, &Invitation { expires_ms: Some(NOW), ..wish("rig9") }, NOW, &mut rng).is_err());
}
