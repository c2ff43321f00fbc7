//! The demo's parts; the whole is played by the tests over real sockets.
use super::cast::{Folder, roles};
use crate::config;

#[test]
fn its_configuration_has_no_fault() {
    let folder = Folder::open(None).unwrap();
    let told = [("oslo", "https://127.0.0.1:4001".to_owned(), "secret one".to_owned())];
    folder.write([4003, 4004], &told, "").unwrap();
    let loaded = config::load(&folder.config(), []).unwrap_or_else(|faults| panic!("{}", faults.render(false)));
    let settings = loaded.settings;
    assert_eq!(settings.orchestrators.len(), 1);
    assert_eq!(settings.orchestrators[0].secret, "secret one");
    assert!(settings.orchestrators[0].private_segment_hosts);
    assert_eq!((settings.worker.listen.port(), settings.admin.listen.port()), (4003, 4004));
    assert_eq!(settings.data, folder.data());
}

#[test]
fn a_kept_folder_is_not_written_over() {
    let outer = tempfile::tempdir().unwrap();
    let keep = outer.path().join("run");
    Folder::open(Some(&keep)).unwrap().write([4003, 4004], &[], "").unwrap();
    assert!(Folder::open(Some(&keep)).is_err());
}

#[test]
fn five_ways_come_first_and_addresses_differ() {
    let roles = roles(12);
    let remarks: Vec<_> = roles.iter().filter_map(|role| role.remark()).collect();
    assert_eq!(remarks, ["1 slow", "1 that fails", "1 that hangs", "1 that cheats"]);
    let mut addresses: Vec<_> = roles.iter().map(|role| role.address).collect();
    addresses.dedup();
    assert_eq!(addresses.len(), 12);
}
