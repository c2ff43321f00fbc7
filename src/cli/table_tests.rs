//! The three ways to print.
use super::*;

fn sheet() -> Sheet {
    let mut sheet = Sheet::new(&["worker", "worker_wei", "real_time"]);
    sheet.row(vec![Cell::text("a,\"b\""), Cell::wei("340282366920938463463374607431768211456"), Cell::milli(4_050)]);
    sheet.row(vec![Cell::maybe(None::<String>), Cell::wei("-1000"), Cell::milli(0)]);
    sheet
}

fn printed(output: Output) -> String {
    let mut out = Vec::new();
    sheet().print(output, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn csv_quotes_and_keeps_every_digit() {
    let text = printed(Output::Csv);
    assert_eq!(
        text,
        "worker,worker_wei,real_time\n\"a,\"\"b\"\"\",340282366920938463463374607431768211456,4.05\n,-1000,0.0\n"
    );
}

#[test]
fn json_gives_wei_as_text() {
    let rows: Value = serde_json::from_str(&printed(Output::Json)).unwrap();
    assert_eq!(rows[0]["worker_wei"], "340282366920938463463374607431768211456");
    assert_eq!(rows[0]["real_time"], 4.05);
    assert_eq!(rows[1]["worker"], Value::Null);
}

#[test]
fn a_table_groups_digits() {
    let text = printed(Output::Table);
    assert!(text.contains("worker wei") && text.contains("-1,000") && text.contains("4.050"), "{text}");
}
