//! The demo's parts; the whole is played by the tests over real sockets.
use super::ai::AiScene;
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
fn its_ai_sections_have_no_fault_and_name_every_pipeline() {
    let runtime = crate::cli::runtime().unwrap();
    let _inside = runtime.enter();
    crate::transport::tls::install_provider();
    let args = <Demo as clap::Parser>::parse_from(["demo", "--ai"]).args;
    let scene = AiScene::open(&args).unwrap();
    let folder = Folder::open(None).unwrap();
    let told = [("oslo", "https://127.0.0.1:4001".to_owned(), "secret one".to_owned())];
    folder.write([4003, 4004], &told, &scene.config(4005)).unwrap();
    let loaded = config::load(&folder.config(), []).unwrap_or_else(|faults| panic!("{}", faults.render(false)));
    let plane = &loaded.settings.runner;
    assert_eq!(plane.port.as_ref().unwrap().listen.port(), 4005);
    assert_eq!(plane.runners.len(), scene.roles().iter().filter(|role| role.runner).count());
    assert!(plane.runners.iter().all(|runner| runner.models.len() == 10 && runner.address.is_some()));
    let names: Vec<_> = scene.pipelines().iter().map(|pipeline| pipeline.name).collect();
    assert_eq!(names.len(), 10);
    assert!(scene.pipelines().iter().all(|pipeline| pipeline.jobs == 0), "nothing was asked yet");
}

#[derive(clap::Parser)]
struct Demo {
    #[command(flatten)]
    args: super::DemoArgs,
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
