//! From where segments may be fetched: which hosts, and which addresses behind their names.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::{DialError, Origin};

/// The hosts of one orchestrator's segments.
#[derive(Clone, Debug)]
pub struct SegmentHosts {
    own: Arc<str>,
    listed: Vec<String>,
    private: bool,
}

// === impl SegmentHosts ===

impl SegmentHosts {
    /// `private` allows listed hosts on private and special addresses; the orchestrator's own
    /// host may always have one.
    pub fn new(own: &Origin, listed: &[String], private: bool) -> SegmentHosts {
        let listed = listed.iter().map(|host| bare(host)).collect();
        SegmentHosts { own: own.host.clone(), listed, private }
    }

    pub fn check_host(&self, origin: &Origin) -> Result<(), DialError> {
        if origin.host == self.own || self.listed.iter().any(|host| **host == *origin.host) {
            Ok(())
        } else {
            Err(DialError::Host(origin.host.to_string()))
        }
    }

    /// Every address must do: a name that leads to both sides is not to be trusted.
    pub fn check_addresses(&self, origin: &Origin, addresses: &[SocketAddr]) -> Result<(), DialError> {
        if self.private || origin.host == self.own {
            return Ok(());
        }
        match addresses.iter().find(|address| !is_public(address.ip())) {
            Some(address) => Err(DialError::Private(origin.host.to_string(), address.ip())),
            None => Ok(()),
        }
    }
}

fn bare(host: &str) -> String {
    let host = host.trim();
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).to_ascii_lowercase()
}

/// Whether an address is one of the open internet.
pub fn is_public(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => is_public_v4(ip),
        IpAddr::V6(ip) => is_public_v6(ip),
    }
}

fn is_public_v4(ip: Ipv4Addr) -> bool {
    let [a, b, c, _] = ip.octets();
    let special = ip.is_private()
        || ip.is_loopback()
        || ip.is_link_local()
        || ip.is_multicast()
        || ip.is_documentation()
        || a == 0
        || a >= 240
        || (a == 100 && (64..128).contains(&b))
        || (a == 192 && b == 0 && c == 0)
        || (a == 198 && (b == 18 || b == 19));
    !special
}

fn is_public_v6(ip: Ipv6Addr) -> bool {
    if let Some(inner) = inner_v4(ip) {
        return is_public_v4(inner);
    }
    let [a, b, ..] = ip.segments();
    let special = ip.is_loopback()
        || ip.is_unspecified()
        || ip.is_multicast()
        || (a & 0xfe00) == 0xfc00
        || (a & 0xffc0) == 0xfe80
        || (a & 0xffc0) == 0xfec0
        || (a == 0x2001 && b == 0x0db8)
        || (a == 0x0100 && b == 0);
    !special
}

/// The IPv4 address that a mapped, compatible, NAT64 or 6to4 address stands for.
fn inner_v4(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let [a, b, c, d, e, f, g, h] = ip.segments();
    let last = Ipv4Addr::from((u32::from(g) << 16) | u32::from(h));
    match (a, b, c, d, e, f) {
        (0, 0, 0, 0, 0, 0xffff) | (0x64, 0xff9b, 0, 0, 0, 0) => Some(last),
        // The compatible form, but neither `::` nor `::1`.
        (0, 0, 0, 0, 0, 0) if g != 0 => Some(last),
        (0x2002, ..) => Some(Ipv4Addr::from((u32::from(b) << 16) | u32::from(c))),
        _ => None,
    }
}
