//! Tests of `init` and of `config show` on what it wrote.
use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::cli::config::{ShowArgs, show};
use crate::cli::table::Output;

fn flags(folder: &Path, secret: &str) -> InitArgs {
    InitArgs {
        orchestrator: Some("127.0.0.1:8935".into()),
        orchestrator_secret: Some(secret.into()),
        name: Some("Fjord: \"Pool\" #1".into()),
        out: folder.join("etc/pool.yaml"),
        ..InitArgs::default()
    }
}

fn go(args: &InitArgs, typed: Option<&str>) -> (Result<u8>, String) {
    let mut out = Vec::new();
    let mut typed = typed.map(str::as_bytes);
    let ask = typed.as_mut().map(|t| t as &mut dyn BufRead);
    let result = run(args, ask, &mut out);
    (result, String::from_utf8(out).unwrap())
}

#[test]
fn flags_become_a_working_file_and_a_closed_secret() {
    let folder = tempfile::tempdir().unwrap();
    let args = flags(folder.path(), "hunter2-planted");
    let (result, told) = go(&args, None);
    assert_eq!(result.unwrap(), 0, "{told}");
    assert!(!told.contains("hunter2") && told.contains("1200 wei") && told.contains("--config"), "{told}");
    let text = fs::read_to_string(&args.out).unwrap();
    assert!(text.lines().count() <= 17 && !text.contains("hunter2"), "{text}");
    let secret = args.out.with_extension("orchestrator-secret");
    assert_eq!(fs::metadata(secret).unwrap().permissions().mode() & 0o777, 0o600);
    let loaded = config::load(&args.out, BTreeMap::new()).unwrap_or_else(|f| panic!("{f}"));
    assert_eq!(loaded.settings.pool_name, "Fjord: \"Pool\" #1");
    assert_eq!(loaded.settings.orchestrators[0].secret, "hunter2-planted");

    let (again, _) = go(&args, None);
    assert!(again.unwrap_err().to_string().contains("--force"));
    let forced = InitArgs { force: true, name: Some("Other".into()), ..args.clone() };
    assert_eq!(go(&forced, None).0.unwrap(), 0);
    assert_eq!(config::load(&args.out, BTreeMap::new()).unwrap().settings.pool_name, "Other");
}

#[test]
fn answers_are_asked_for_on_a_terminal_only() {
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, "s3cret").unwrap();
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    let args = InitArgs { out: folder.path().join("pool.yaml"), ..InitArgs::default() };
    assert!(go(&args, None).0.unwrap_err().to_string().contains("--orchestrator"));
    assert!(go(&args, Some("")).0.is_err());
    let typed = format!("\nhttps://orch.example:8935\n{}\nFjord Pool\n", secret.display());
    let (result, told) = go(&args, Some(&typed));
    assert_eq!(result.unwrap(), 0, "{told}");
    let loaded = config::load(&args.out, BTreeMap::new()).unwrap_or_else(|f| panic!("{f}"));
    assert_eq!(loaded.settings.orchestrators[0].secret, "s3cret");
    assert!(!args.out.with_extension("orchestrator-secret").exists(), "a secret that has a file needs no other");
}

#[test]
fn a_wrong_answer_writes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    for wrong in ["127.0.0.1", "a b:1", "[x", "127.0.0.1:8935\n    secret: x"] {
        let args = InitArgs { orchestrator: Some(wrong.into()), ..flags(folder.path(), "hunter2-planted") };
        let (result, told) = go(&args, None);
        assert_eq!(result.unwrap(), 78, "{wrong}: {told}");
        assert!(told.contains("error[E") && !told.contains("hunter2"), "{told}");
        assert!(!args.out.exists() && !args.out.with_extension("orchestrator-secret").exists());
    }
    let args = InitArgs { price: Some("cheap".into()), ..flags(folder.path(), "env:S") };
    assert_eq!(go(&args, None).0.unwrap(), 78);
    let args = flags(folder.path(), "/nonexistent/secret");
    assert!(go(&args, None).0.is_err());
}

#[test]
fn show_tells_value_and_origin_and_masks() {
    let folder = tempfile::tempdir().unwrap();
    let args = flags(folder.path(), "hunter2-planted");
    assert_eq!(go(&args, None).0.unwrap(), 0);
    let env: BTreeMap<String, String> = [("OPENPOOL_DRAIN".to_owned(), "5 s".to_owned())].into();
    let print = |output| {
        let (mut out, mut errors) = (Vec::new(), Vec::new());
        let code = show(&ShowArgs { output }, Some(&args.out), &env, &mut out, &mut errors).unwrap();
        (code, String::from_utf8(out).unwrap() + &String::from_utf8(errors).unwrap())
    };
    for output in [Output::Table, Output::Json, Output::Csv] {
        let (code, text) = print(output);
        assert_eq!(code, 0, "{text}");
        assert!(!text.contains("hunter2") && text.contains("env OPENPOOL_DRAIN"), "{text}");
        assert!(text.contains("orchestrators[0].url") && text.contains("pool.yaml:"), "{text}");
    }
    fs::write(&args.out, "pool:\n  nam: x\n").unwrap();
    assert_eq!(print(Output::Table).0, 78);
}
