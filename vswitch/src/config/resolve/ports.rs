//! Ports and uplinks: names, sockets, interfaces and what each may call itself.

use super::{Context, Once, SOCKET_PATH_LEN_MAX};
use crate::config::file::{self, File};
use crate::config::numbering::PortNumbering;
use crate::config::resolved::{Attachment, PortConfig, VhostUserMode};
use crate::config::spanned::At;
use crate::counters::PORTS_MAX;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use zones::binding::{PortSecurity, PortSecurityError};
use zones::{PortId, ZoneId};

/// Queue pairs of a port: more than the virtual processors of a guest that one host runs many of.
const QUEUES_MAX: u16 = 16;
/// Longest name of a network interface: IFNAMSIZ without its final NUL.
const IFNAME_LEN_MAX: usize = 15;

/// What two ports cannot both have.
struct Claims<'f> {
    names: Once<&'f str>,
    sockets: Once<&'f PathBuf>,
    ifnames: Once<&'f str>,
    macs: Once<[u8; 6]>,
    addresses: Once<IpAddr>,
}

/// The ports in file order, guests' first, as far as they are sound.
pub(super) fn resolve(
    file: &File,
    zone_names: &BTreeSet<&str>,
    numbering: &mut PortNumbering,
    context: &mut Context<'_>,
) -> Vec<PortConfig> {
    let mut claims = Claims {
        names: Once::new(),
        sockets: Once::new(),
        ifnames: Once::new(),
        macs: Once::new(),
        addresses: Once::new(),
    };
    let mut ports = Vec::with_capacity(file.ports.len() + file.uplinks.len());
    for port in &file.ports {
        check_port_name(&port.name, zone_names, &mut claims, context);
        check_zone(&port.zone, zone_names, context);
        ports.push(guest_port(port, &mut claims, context));
    }
    for uplink in &file.uplinks {
        check_port_name(&uplink.name, zone_names, &mut claims, context);
        check_zone(&uplink.zone, zone_names, context);
        ports.push(uplink_port(uplink, &mut claims, context));
    }
    number(file, &mut ports, numbering, context);
    ports
}

fn number(file: &File, ports: &mut [PortConfig], numbering: &mut PortNumbering, context: &mut Context<'_>) {
    let names: Vec<&str> = ports.iter().map(|port| port.name.as_str()).collect();
    match numbering.number(&names) {
        Ok(ids) => ports.iter_mut().zip(ids).for_each(|(port, id)| port.id = id),
        Err(_) => {
            let last = file.ports.last().map(|port| &port.name).or(file.uplinks.last().map(|uplink| &uplink.name));
            let at = last.map_or(0..0, |name| name.at.clone());
            let message = format!("there are {} ports, at most {PORTS_MAX} are possible", ports.len());
            let help = "ports that the last configuration had and this one has not still count";
            context.error_with_help(&at, message, help);
        }
    }
}

fn check_port_name<'f>(
    name: &'f At<String>,
    zone_names: &BTreeSet<&str>,
    claims: &mut Claims<'f>,
    context: &mut Context<'_>,
) {
    context.check_name("port", name);
    if let Some(first) = claims.names.note(&name.value, &name.at) {
        context.error_with_first(&name.at, &first, format!("there are two ports \"{}\"", name.value));
    }
    if zone_names.contains(name.as_str()) {
        let message = format!("port \"{}\" has the name of a zone: a rule could mean either", name.value);
        context.error_at(&name.at, message);
    }
}

fn check_zone(zone: &At<String>, zone_names: &BTreeSet<&str>, context: &mut Context<'_>) {
    if !zone_names.contains(zone.as_str()) {
        context.unknown("zone", zone, &zone.at, zone_names);
    }
}

fn guest_port<'f>(port: &'f file::Port, claims: &mut Claims<'f>, context: &mut Context<'_>) -> PortConfig {
    let socket = &port.vhost_user;
    check_socket("vhost_user.path", &socket.path, claims, context);
    if let Some(qmp) = &port.qmp {
        check_socket("qmp", qmp, claims, context);
    }
    if let Some(tenant) = &port.tenant {
        context.check_name("tenant", tenant);
    }
    let queues = &socket.queues;
    context.check_range("queues", queues, u64::from(queues.value), &(1..=u64::from(QUEUES_MAX)), |n| n.to_string());
    PortConfig {
        id: PortId(0),
        name: port.name.value.clone(),
        zone: ZoneId(0),
        zone_name: port.zone.value.clone(),
        tenant: port.tenant.as_ref().map(|tenant| tenant.value.clone()),
        labels: port.labels.clone(),
        attachment: Attachment::VhostUser {
            path: socket.path.value.clone(),
            mode: match socket.mode {
                file::Mode::Server => VhostUserMode::Server,
                file::Mode::Client => VhostUserMode::Client,
            },
            queues: queues.value,
        },
        is_uplink: false,
        security: Some(security(port, claims, context)),
        qmp: port.qmp.as_ref().map(|qmp| qmp.value.clone()),
    }
}

fn uplink_port<'f>(uplink: &'f file::Uplink, claims: &mut Claims<'f>, context: &mut Context<'_>) -> PortConfig {
    let ifname = &uplink.tap.ifname;
    let is_letter = |c: char| c.is_ascii_graphic() && !matches!(c, '/' | ':' | '%');
    let is_dots = matches!(ifname.as_str(), "." | "..");
    if ifname.is_empty() || ifname.len() > IFNAME_LEN_MAX || is_dots || !ifname.chars().all(is_letter) {
        let message = format!("\"{}\" cannot be the name of a network interface", ifname.value.escape_debug());
        let help = format!("1 to {IFNAME_LEN_MAX} letters, none of them a space, `/`, `:` or `%`");
        context.error_with_help(&ifname.at, message, help);
    }
    if let Some(first) = claims.ifnames.note(ifname, &ifname.at) {
        context.error_with_first(
            &ifname.at,
            &first,
            format!("the interface \"{}\" belongs to two uplinks", ifname.value),
        );
    }
    PortConfig {
        id: PortId(0),
        name: uplink.name.value.clone(),
        zone: ZoneId(0),
        zone_name: uplink.zone.value.clone(),
        tenant: None,
        labels: uplink.labels.clone(),
        attachment: Attachment::Tap { ifname: ifname.value.clone() },
        is_uplink: true,
        security: None,
        qmp: None,
    }
}

fn check_socket<'f>(key: &str, path: &'f At<PathBuf>, claims: &mut Claims<'f>, context: &mut Context<'_>) {
    context.check_absolute(key, path);
    let len = path.as_os_str().as_bytes().len();
    if len > SOCKET_PATH_LEN_MAX {
        let message = format!("`{key}` has {len} bytes, but a Unix socket's path has at most {SOCKET_PATH_LEN_MAX}");
        context.error_at(&path.at, message);
    }
    if let Some(first) = claims.sockets.note(path, &path.at) {
        context.error_with_first(&path.at, &first, format!("the socket `{}` is used twice", path.display()));
    }
}

fn security(port: &file::Port, claims: &mut Claims<'_>, context: &mut Context<'_>) -> PortSecurity {
    let Some(strings) = &port.port_security else {
        let message = format!("port \"{}\" has no `port_security`: its guest may use any address", port.name.value);
        context.warning_at(&port.name.at, message);
        return PortSecurity::default().with_router(port.router).with_dhcp_server(port.dhcp_server);
    };
    let mut sound = Vec::with_capacity(strings.len());
    for string in strings {
        match PortSecurity::parse(&[string.as_str()]) {
            Ok(one) => {
                check_unclaimed(string, &one, &mut sound, claims, context);
            }
            Err(error) => context.error_at(&within(string, &error, context), error.fault.to_string()),
        }
    }
    // Each string was sound by itself: what is left is that there are too many.
    let security = PortSecurity::parse(&sound).unwrap_or_else(|error| {
        context.error_at(&port.name.at, format!("port \"{}\": `port_security` has {}", port.name.value, error.fault));
        PortSecurity::default()
    });
    security.with_router(port.router).with_dhcp_server(port.dhcp_server)
}

/// Whether no other port has these addresses. A port may well have one MAC in two of its own strings.
fn check_unclaimed<'f>(
    string: &'f At<String>,
    security: &PortSecurity,
    sound: &mut Vec<&'f str>,
    claims: &mut Claims<'_>,
    context: &mut Context<'_>,
) {
    let own_macs: Vec<[u8; 6]> = sound
        .iter()
        .filter_map(|text| PortSecurity::parse(&[*text]).ok())
        .flat_map(|own| own.macs().to_vec())
        .collect();
    for mac in security.macs().iter().filter(|mac| !own_macs.contains(mac)) {
        if let Some(first) = claims.macs.note(*mac, &string.at) {
            let [a, b, c, d, e, f] = mac;
            let message = format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x} belongs to another port already");
            context.error_with_first(&string.at, &first, message);
        }
    }
    for (_, address) in security.addresses() {
        if let Some(first) = claims.addresses.note(address, &string.at) {
            context.error_with_first(&string.at, &first, format!("{address} belongs to another port already"));
        }
    }
    sound.push(string.as_str());
}

/// The bytes of the file that a fault within a string is about; the whole string where escapes shift them.
fn within(string: &At<String>, error: &PortSecurityError, context: &Context<'_>) -> Range<usize> {
    let written = context.source.text().get(string.at.clone()).unwrap_or_default();
    let Some(start) = written.find(string.as_str()).filter(|_| !string.is_empty()) else {
        return string.at.clone();
    };
    let start = string.at.start + start;
    start + error.at.start..start + error.at.end
}
