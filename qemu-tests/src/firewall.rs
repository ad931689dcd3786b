//! What stands outside of the switch: a router with rules of its own, and a client behind it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::netns::Netns;
use crate::switch::Switch;
use crate::tools::{shell, stack_counter, succeeds, wait_until};

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
        router.run(&format!("ip link add out0 type veth peer name eth0 netns {}", client.pid()));
        router.run(
            "ip addr add 198.51.100.1/24 dev out0; ip -6 addr add fd00:c::1/64 dev out0 nodad; ip link set out0 up
             echo 1 >/proc/sys/net/ipv4/ip_forward; echo 1 >/proc/sys/net/ipv6/conf/all/forwarding
             echo 0 >/proc/sys/net/ipv4/conf/all/send_redirects
             echo 0 >/proc/sys/net/ipv4/conf/default/send_redirects",
        );
        let closed = Self::CLOSED_PORT;
        router.run(&format!("ip rule add to {CLIENT_IP} ipproto tcp dport {closed} blackhole"));
        client.run(&format!(
            "ip addr add {CLIENT_IP}/24 dev eth0; ip -6 addr add fd00:c::10/64 dev eth0 nodad; ip link set eth0 up
             ip route add default via 198.51.100.1; ip -6 route add default via fd00:c::1"
        ));
        Self { router, client }
    }

    /// Moves the switch's TAP into the router and gives it the guests' gateway addresses.
    pub(crate) fn take_tap(&self, switch: &Switch, tap: &str) {
        let in_switch = |line: &str| succeeds(shell(&mut switch.command("sh"), line));
        let there = wait_until(Duration::from_secs(5), || in_switch(&format!("ip link show {tap}")));
        assert!(there, "the switch has made no TAP {tap}; its log ends:\n{}", switch.log_tail());
        assert!(in_switch(&format!("ip link set {tap} netns {}", self.router.pid())), "{tap} cannot be moved");
        self.router.run(&format!(
            "ip link set {tap} address {FIREWALL_MAC}; ip addr add {FIREWALL_IP}/16 dev {tap}
             ip -6 addr add {FIREWALL_IP6}/64 dev {tap} nodad; ip link set {tap} up"
        ));
    }

    /// Moves the TAP from the router to where this process is: an interface dies with its namespace.
    pub fn return_tap(&self, tap: &str) {
        self.router.run(&format!("ip link set {tap} netns {}", std::process::id()));
    }

    /// A TCP service of the client that sends back what it gets until this process ends; returns its count of
    /// connections.
    ///
    /// # Panics
    /// If the port is taken.
    pub fn serve_client(&self, port: u16) -> Arc<AtomicUsize> {
        let listener = self.client.within(|| TcpListener::bind((CLIENT_IP, port))).expect("the client can listen");
        let connection_count = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&connection_count);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                count.fetch_add(1, Ordering::SeqCst);
                // a broken connection is the business of its other end
                let _ = std::io::copy(&mut &stream, &mut &stream);
            }
        });
        connection_count
    }

    /// Whether the client gets back from a guest's echo service what it sent, within three seconds.
    pub fn client_echo(&self, address: &str, port: u16) -> bool {
        const TEXT: &[u8] = b"from outside\n";
        let target = SocketAddr::new(address.parse().expect("an IP address"), port);
        let talk = || {
            let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(3))?;
            stream.set_read_timeout(Some(Duration::from_secs(3)))?;
            stream.write_all(TEXT)?;
            let mut answer = [0; TEXT.len()];
            stream.read_exact(&mut answer)?;
            Ok(answer)
        };
        self.client.within(talk).is_ok_and(|answer| answer == TEXT)
    }

    /// Packets that the router has forwarded so far, IPv4.
    pub fn forwarded(&self) -> u64 {
        stack_counter(&self.router.run("cat /proc/net/snmp"), "Ip", "ForwDatagrams")
    }
}
