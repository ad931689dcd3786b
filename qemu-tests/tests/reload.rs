//! A reload is whole or not at all, and reaches flows that are already open.

use std::time::Duration;

use qemu_tests::setup::{Member, Setup};
use qemu_tests::tools::wait_until;

const WEB_DB: &str = "{name: web-db, from: web, to: db, proto: tcp, dport: 5432, action: allow}";
/// Keeps the two zones in sight of each other, so that what is tested is the flow and not its address resolution.
const WEB_DB_OTHER: &str = "{name: web-db-other, from: web, to: db, proto: tcp, dport: 9999, action: allow}";

#[test]
fn a_narrower_policy_closes_open_flows_and_a_broken_file_changes_nothing() {
    let mut lab = Setup::new().guest(Member::web1()).guest(Member::db1()).rule(WEB_DB).rule(WEB_DB_OTHER).start();
    let db1 = Member::db1().ip;
    lab.guest("db1").serve_tcp(5432);

    // a connection that stays open: what is written to file descriptor 3 is sent
    let web1 = lab.guest("web1");
    web1.must(&format!("mkfifo /tmp/in; nc {db1} 5432 </tmp/in >/tmp/out 2>&1 & exec 3>/tmp/in"));
    web1.must("echo one >&3");
    assert!(wait_until(Duration::from_secs(5), || lab.guest("web1").must("cat /tmp/out") == "one"), "the flow is open");
    let generation = lab.switch.metrics().total("vswitch_config_generation");

    lab.reconfigure(|setup| setup.without_rules().rule(WEB_DB_OTHER));
    lab.switch.reload();
    let metrics = lab.switch.metrics();
    assert!(metrics.total("vswitch_config_generation") > generation);
    assert_eq!(metrics.total("vswitch_config_last_reload_successful"), 1.0);
    lab.guest("web1").must("echo two >&3; sleep 2");
    assert_eq!(lab.guest("db1").received(5432), "one", "the open flow was closed by the reload");
    assert_eq!(lab.guest("web1").must("cat /tmp/out"), "one");
    assert!(!lab.guest("web1").echo_tcp(db1, 5432, "three", 2), "and no new one opens");

    // a file that is refused: the reason is told, the generation stays
    let generation = lab.switch.metrics().total("vswitch_config_generation");
    lab.reconfigure(|setup| setup.rule("{name: typo, from: wbe, to: db, proto: tcp, action: allow}").rule(WEB_DB));
    let refusal = lab.switch.cli(&["reload"]);
    assert!(!refusal.ok(), "a broken file was accepted: {}", refusal.text);
    assert!(refusal.text.contains("wbe") && refusal.text.contains("did you mean"), "{}", refusal.text);
    let metrics = lab.switch.metrics();
    assert_eq!(metrics.total("vswitch_config_generation"), generation);
    assert_eq!(metrics.total("vswitch_config_last_reload_successful"), 0.0);
    assert!(!lab.guest("web1").echo_tcp(db1, 5432, "four", 2), "nothing of the refused file is in force");

    // SIGHUP does the same as `vswitch reload`
    lab.reconfigure(|setup| setup.without_rules().rule(WEB_DB));
    lab.switch.hang_up();
    let taken =
        wait_until(Duration::from_secs(5), || lab.switch.metrics().total("vswitch_config_generation") > generation);
    assert!(taken, "SIGHUP brought no new generation");
    assert!(lab.guest("web1").echo_tcp(db1, 5432, "five", 5), "a wider policy lets new flows in");
    assert!(!lab.guest("db1").received(5432).contains("four"));
    lab.balanced_books();
}
