//! What stands outside of the switch: a router with rules of its own, and a client behind it.

use std::time::Duration;

use crate::netns::Netns;
use crate::switch::Switch;
use crate::tools::{stack_counter, wait_until};

/// The firewall's address on the guests' side.
pub const FIREWALL_IP: &str = "10.0.0.1";
/// The firewall's IPv6 address on the guests' side.
pub const FIREWALL_IP6: &str = "fd00::ffff";
/// The firewall's hardware address on the guests' side.
pub const FIREWALL_MAC: &str = "52:54:00:ff:00:01";
/// The client behind the firewall.
pub const CLIENT_IP: &str = "198.51.100.10";

/// What stands outside: a router that has rules of its own, and a client behind it.
///
/// The firewall forwards everything except TCP to port 8081 of the client, so that a test can tell that its frames
/// really went through it.
#[derive(Debug)]
pub struct Firewall {
    /// The router.
    pub router: Netns,
    /// The client behind it.
    pub client: Netns,
}

impl Firewall {
    /// The port on which the firewall lets nobody reach the client.
    pub const CLOSED_PORT: u16 = 8081;

    pub(crate) fn new() -> Self {
        let (router, client) = (Netns::new(), Netns::new());
        router.run(&format!(
            "ip link add out0 type veth peer name eth0 netns {}",
            client.pid()
        ));
        router.run(
            "ip addr add 198.51.100.1/24 dev out0; ip -6 addr add fd00:c::1/64 dev out0 nodad; ip link set out0 up
             echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
             echo 0 >/proc/sys/net/ipv4/conf/all/send_redirects
             echo 0 >/proc/sys/net/ipv4/conf/default/send_redirects",
        );
        let closed = Self::CLOSED_PORT;
        router.run(&format!(
            "ip rule add to {CLIENT_IP} ipproto tcp dport {closed} blackhole"
        ));
        client.run(&format!(
            "ip addr add {CLIENT_IP}/24 dev eth0; ip -6 addr add fd00:c::10/64 dev eth0 nodad; ip link set eth0 up
             ip route add default via 198.51.100.1; ip -6 route add default via fd00:c::1"
        ));
        Self { router, client }
    }

    /// Moves the switch's TAP into the router and gives it the guests' gateway addresses.
    pub(crate) fn take_tap(&self, switch: &Switch, tap: &str) {
        let in_switch = |line: &str| {
            let script = format!("PATH=$PATH:/usr/sbin:/sbin; {line}");
            switch
                .command("sh")
                .args(["-ec", &script])
                .output()
                .is_ok_and(|output| output.status.success())
        };
        let there = wait_until(Duration::from_secs(5), || {
            in_switch(&format!("ip link show {tap}"))
        });
        assert!(
            there,
            "the switch has made no TAP {tap}; its log ends:\n{}",
            switch.log_tail()
        );
        assert!(
            in_switch(&format!("ip link set {tap} netns {}", self.router.pid())),
            "{tap} cannot be moved"
        );
        self.router.run(&format!(
            "ip link set {tap} address {FIREWALL_MAC}; ip addr add {FIREWALL_IP}/16 dev {tap}
             ip -6 addr add {FIREWALL_IP6}/64 dev {tap} nodad; ip link set {tap} up"
        ));
    }

    /// Packets that the router has forwarded so far, IPv4.
    pub fn forwarded(&self) -> u64 {
        stack_counter(
            &self.router.run("cat /proc/net/snmp"),
            "Ip",
            "ForwDatagrams",
        )
    }
}
