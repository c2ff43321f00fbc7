//! The certificate of our own: made once, kept, guarded.
use std::os::unix::fs::PermissionsExt;

use super::super::tls::{CERTIFICATE_FILE, KEY_FILE, TlsError};
use super::*;

#[test]
fn made_once_and_kept() {
    let folder = tempfile::tempdir().unwrap();
    let first = ServerTls::kept_in(folder.path()).unwrap();
    let again = ServerTls::kept_in(folder.path()).unwrap();
    assert_eq!(first.fingerprint, again.fingerprint);
    assert_eq!(first.fingerprint.len(), 32 * 3 - 1);
    let mode = std::fs::metadata(folder.path().join(KEY_FILE)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_crash_between_the_two_files_heals() {
    let folder = tempfile::tempdir().unwrap();
    ServerTls::kept_in(folder.path()).unwrap();
    std::fs::remove_file(folder.path().join(CERTIFICATE_FILE)).unwrap();
    ServerTls::kept_in(folder.path()).unwrap();
}

#[test]
fn faults_say_which_file() {
    let folder = tempfile::tempdir().unwrap();
    ServerTls::kept_in(folder.path()).unwrap();
    let (certificate, key) = (folder.path().join(CERTIFICATE_FILE), folder.path().join(KEY_FILE));
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let open = ServerTls::from_files(&certificate, &key).unwrap_err();
    assert!(matches!(open, TlsError::Open(..)) && open.to_string().contains("chmod 600"), "{open}");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::write(&certificate, "no PEM").unwrap();
    let empty = ServerTls::from_files(&certificate, &key).unwrap_err();
    assert!(empty.to_string().contains(CERTIFICATE_FILE), "{empty}");
    std::fs::remove_file(&key).unwrap();
    let half = ServerTls::kept_in(folder.path()).unwrap_err();
    assert!(matches!(half, TlsError::Half(..)), "{half}");
}
