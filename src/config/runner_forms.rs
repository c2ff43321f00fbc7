//! The forms of a runner's own keys: its URL, its owner's address, its certificate, its health.
use super::fault::{Wrong, quote};
use super::forms::{Form, scalar};
use super::tree::Node;
use super::words::{is_host, is_host_port};
use crate::domain::ids::{Address, BadId};

pub(super) struct PayAddress;
pub(super) struct Fingerprint;
pub(super) struct RunnerUrl;
pub(super) struct HealthPath;

// === impl Form ===

impl Form for PayAddress {
    type Value = Address;
    fn unit(&self) -> &'static str {
        "address"
    }
    fn read(&self, name: &str, node: &Node) -> Result<Address, Wrong> {
        let remedy = "write 0x and 40 hex digits, as the runner's owner gave it";
        let text = scalar(name, node, remedy)?;
        match text.parse::<Address>() {
            Ok(address) if address.is_zero() => {
                Err(Wrong::new("E314", format!("`{name}` is the zero address: nobody would be paid"), remedy))
            }
            Ok(address) => Ok(address),
            Err(BadId::Checksum(_)) => Err(Wrong::new(
                "E314",
                format!("`{name}` is {}, whose EIP-55 checksum does not fit", quote(text)),
                "copy it again, or write it in lower case",
            )),
            Err(_) => Err(Wrong::new("E314", format!("`{name}` is {}, not an address", quote(text)), remedy)),
        }
    }
    fn show(&self, value: &Address) -> Option<String> {
        Some(value.to_string())
    }
}

impl Form for Fingerprint {
    type Value = [u8; 32];
    fn unit(&self) -> &'static str {
        "SHA-256"
    }
    fn read(&self, name: &str, node: &Node) -> Result<[u8; 32], Wrong> {
        let remedy = "write 64 hex digits, as `openssl x509 -fingerprint -sha256 -noout -in cert.pem` prints them";
        let text = scalar(name, node, remedy)?;
        let digits: Vec<u8> = text.bytes().filter(|b| *b != b':').collect();
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
        let hex = digits.iter().all(u8::is_ascii_hexdigit);
        let bytes: Option<Vec<u8>> = if hex { digits.chunks(2).map(byte).collect() } else { None };
        let whole = bytes.filter(|_| digits.len() == 64).and_then(|bytes| bytes.try_into().ok());
        whole.ok_or_else(|| Wrong::new("E315", format!("`{name}` is {}, not a SHA-256 in hex", quote(text)), remedy))
    }
    fn show(&self, value: &[u8; 32]) -> Option<String> {
        Some(value.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(":"))
    }
}

impl Form for RunnerUrl {
    type Value = http::Uri;
    fn unit(&self) -> &'static str {
        "URL"
    }
    fn read(&self, name: &str, node: &Node) -> Result<http::Uri, Wrong> {
        let remedy = "write its address, such as `http://10.0.0.7:8000` or `https://gpu7.example.org`";
        let text = scalar(name, node, remedy)?;
        let wrong = |why: &str| Err(Wrong::new("E307", format!("`{name}` is {}, {why}", quote(text)), remedy));
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let (host, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        if host.contains('@') {
            return Err(Wrong::new("E307", format!("`{name}` names a user"), "give its password as `token:`"));
        }
        match scheme {
            "http" | "https" => {}
            _ => return wrong("only https and http are known"),
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~/:@+".contains(&b);
        if text.contains(['?', '#']) || !path.bytes().all(plain) || path.contains("//") || path.contains("..") {
            return wrong("its path is not plain");
        }
        if !text.contains("://") && !is_host_port(host) {
            return wrong(if is_host(host) { "its port is missing" } else { "not an address" });
        }
        if !is_host(host) && !is_host_port(host) {
            return wrong("not an address");
        }
        format!("{scheme}://{host}{path}").parse().or_else(|_| wrong("not an address"))
    }
    fn show(&self, value: &http::Uri) -> Option<String> {
        Some(value.to_string().trim_end_matches('/').to_owned())
    }
}

impl Form for HealthPath {
    type Value = String;
    fn unit(&self) -> &'static str {
        "path"
    }
    fn read(&self, name: &str, node: &Node) -> Result<String, Wrong> {
        let remedy = "write a path such as `/health`";
        let text = scalar(name, node, remedy)?;
        let plain = text.len() <= 200 && text.bytes().all(|b| b.is_ascii_graphic() && !b"#\"<>\\^`{|}".contains(&b));
        if plain && text.starts_with('/') && !text.starts_with("//") {
            return Ok(text.to_owned());
        }
        Err(Wrong::new("E309", format!("`{name}` is {}, not a path", quote(text)), remedy))
    }
    fn show(&self, value: &String) -> Option<String> {
        Some(value.clone())
    }
}
