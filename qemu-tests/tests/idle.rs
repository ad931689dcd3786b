//! A switch with nothing to do does nothing.

use std::time::Duration;

use qemu_tests::setup::{Member, Setup};

/// User and system time of a process so far, in clock ticks of 10 ms (proc(5), fields 14 and 15 of stat).
fn cpu_ticks(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let after_name = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    after_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

#[test]
fn an_idle_switch_uses_less_than_a_hundredth_of_a_core() {
    let mut lab = Setup::new().guest(Member::web1()).guest(Member::web2()).start();
    assert!(lab.guest("web1").can_ping(Member::web2().ip, 5), "the rings are in use");
    std::thread::sleep(Duration::from_secs(2));

    let pid = lab.switch.pid().expect("the switch runs");
    let (before, seconds) = (cpu_ticks(pid), 8);
    std::thread::sleep(Duration::from_secs(seconds));
    let used = cpu_ticks(pid) - before;
    assert!(used <= seconds, "{used} ticks of 10 ms in {seconds} s is more than 1 % of a core");

    // asleep, not dead
    assert!(lab.guest("web1").can_ping(Member::web2().ip, 5), "a kick wakes it");
}
