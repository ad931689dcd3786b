//! The watch for scans and floods, from main's side: what outlives a configuration, what operators are told, and the way out
//! of quarantine.

use std::collections::BTreeMap;
use std::sync::Arc;

use inspect::detect::{AnomalyKind, Detectors, Seed};

use super::{Failure, Switch, negative};
use crate::config::Resolved;
use crate::control::{Cause, Response};
use crate::counters::PORTS_MAX;
use crate::detect::{Detect, DetectConfig};
use crate::frame::PortId;
use crate::generation::Generation;
use crate::quarantine::Quarantine;
use crate::status::{QuarantineRow, ThreatRow, Threats};

/// What all generations share. The sketches take 1.3 MiB, so there are none before a configuration wants them.
#[derive(Debug, Default)]
pub(super) struct Watch {
    detectors: Option<Arc<Detectors>>,
    /// The configuration in force.
    config: Option<DetectConfig>,
    /// The quarantines that were logged.
    logged: BTreeMap<PortId, Quarantine>,
}

impl Watch {
    /// The watch of a configuration.
    ///
    /// # Errors
    /// No random numbers could be had, or, which resolving has ruled out, a threshold cannot be kept.
    pub(super) fn detect(&mut self, resolved: &Resolved) -> Result<Option<Detect>, Failure> {
        let Some(config) = &resolved.detect else { return Ok(None) };
        let detectors = match &self.detectors {
            Some(detectors) => Arc::clone(detectors),
            None => Arc::new(Detectors::new(PORTS_MAX, seed()?)),
        };
        self.detectors = Some(Arc::clone(&detectors));
        Detect::new(config, detectors).map(Some).map_err(negative)
    }

    /// Says that a configuration is in force, and that all workers judge by it or will before their next burst. What was
    /// counted and told by other thresholds is forgotten.
    pub(super) fn settle(&mut self, resolved: &Resolved) {
        let config = resolved.detect.clone();
        if let Some(detectors) = self.detectors.as_ref().filter(|_| self.config != config) {
            detectors.forget_all();
        }
        self.config = config;
    }

    fn forget(&self, port: PortId) {
        if let Some(detectors) = &self.detectors {
            detectors.forget(u32::from(port.0));
        }
    }
}

fn seed() -> Result<Seed, Failure> {
    let mut random = [0; 16];
    getrandom::fill(&mut random).map_err(negative)?;
    let [first, second] = [0, 8].map(|at| random[at..at + 8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    Ok(Seed([first, second]))
}

impl Switch {
    /// Ends the quarantine of every port that a generation has not, or has under another name: its number may be somebody
    /// else's next.
    pub(super) fn release_gone(&mut self, before: &Generation, after: &Generation) {
        let name = |generation: &Generation, port| generation.port(port).map(|view| view.name.clone());
        for port in (0..PORTS_MAX as u16).map(PortId) {
            if name(before, port).is_some() && name(before, port) != name(after, port) {
                self.quarantines.end(port, self.workers.now_us());
                self.watch.forget(port);
            }
        }
    }

    /// Lets a port out of quarantine.
    pub(super) fn release(&mut self, name: &str) -> Response {
        let generation = self.workers.generation();
        let not_found = |message| Response::Error { cause: Cause::NotFound, message };
        let is_named = |view: &Option<crate::generation::PortView>| view.as_ref().is_some_and(|view| view.name == name);
        let Some(port) = generation.ports.iter().position(is_named) else {
            return not_found(format!("there is no port {name}"));
        };
        // Ports are numbered below PORTS_MAX, which fits.
        if !self.quarantines.end(PortId(port as u16), self.workers.now_us()) {
            return not_found(format!("{name} is not in quarantine"));
        }
        tracing::info!(port = name, "an operator let the port out of quarantine");
        self.watch.logged.remove(&PortId(port as u16));
        Response::Ok { result: serde_json::json!({ "released": name }) }
    }

    /// Logs the quarantines that have begun and ended since the last call.
    pub(super) fn log_quarantines(&mut self) {
        let now_us = self.workers.now_us();
        let in_force: BTreeMap<PortId, Quarantine> = self.quarantines.in_force(now_us).collect();
        if in_force == self.watch.logged {
            return;
        }
        for (port, quarantine) in in_force.iter().filter(|(port, now)| self.watch.logged.get(port) != Some(now)) {
            let (kind, seconds) = (quarantine.kind.name(), quarantine.left_s(now_us));
            tracing::warn!(port = self.port_name(*port), kind, seconds, "the port is in quarantine");
        }
        for port in self.watch.logged.keys().filter(|port| !in_force.contains_key(port)) {
            tracing::info!(port = self.port_name(*port), "the port's quarantine has ended");
        }
        self.watch.logged = in_force;
    }

    /// The rows of `show threats`.
    pub(super) fn threats(&self) -> Threats {
        let now_us = self.workers.now_us();
        let generation = self.workers.generation();
        let detectors = self.watch.detectors.as_ref();
        let row = |((port, kind), row): ((PortId, AnomalyKind), ThreatRow)| {
            let last = detectors.and_then(|detectors| detectors.last(u32::from(port.0), kind));
            let quiet_ms = last.map(|(last_ms, _)| (now_us / 1_000).saturating_sub(last_ms));
            ThreatRow {
                active: quiet_ms.is_some_and(|ms| ms <= u64::from(row.window_ms)),
                quiet_s: quiet_ms.map(|ms| ms / 1_000),
                suppressed: last.map_or(0, |(_, suppressed)| suppressed),
                ..row
            }
        };
        let quarantine = |(port, quarantine): (PortId, Quarantine)| QuarantineRow {
            port: self.port_name(port).to_owned(),
            zone: generation.port(port).map(|view| view.zone.clone()).unwrap_or_default(),
            kind: quarantine.kind.name().to_owned(),
            left_s: quarantine.left_s(now_us),
        };
        Threats {
            threats: self.log.recent().threats().into_iter().map(row).collect(),
            quarantines: self.quarantines.in_force(now_us).map(quarantine).collect(),
        }
    }

    fn port_name(&self, port: PortId) -> &str {
        self.port_names.get(&port).map_or("?", String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::super::reload::Reloads;
    use super::*;
    use inspect::detect::AnomalyKind;

    const HOUR_US: u64 = 3_600_000_000;

    /// A switch with ports of these names, in a folder of its own.
    struct Lab {
        dir: tempfile::TempDir,
        switch: Switch,
        poll: mio::Poll,
    }

    fn yaml(dir: &std::path::Path, ports: &[&str], detect: &str) -> String {
        let dir = dir.display();
        let port = |(number, name): (usize, &&str)| {
            format!(
                "  - name: {name}\n    zone: web\n    vhost_user: {{path: {dir}/{name}.sock}}\n    \
                 port_security: [\"52:54:00:00:00:0{number}\"]\n"
            )
        };
        let ports: String = ports.iter().enumerate().map(port).collect();
        format!("switch: {{run_dir: {dir}/run, workers: [0]}}\nzones: {{web: {{}}}}\nports:\n{ports}{detect}\n")
    }

    impl Lab {
        fn start(ports: &[&str], detect: &str) -> Self {
            let dir = tempfile::tempdir().expect("a directory");
            let path = dir.path().join("vswitch.yaml");
            std::fs::write(&path, yaml(dir.path(), ports, detect)).expect("writable");
            let mut numbering = crate::config::PortNumbering::new();
            let resolved = crate::config::load(&path, &mut numbering).unwrap_or_else(|report| panic!("{report}"));
            let poll = mio::Poll::new().expect("a poll");
            let waker = std::sync::Arc::new(mio::Waker::new(poll.registry(), mio::Token(0)).expect("a waker"));
            let switch = Switch::start(&path, resolved, numbering, Reloads::new(waker))
                .unwrap_or_else(|failure| panic!("{failure}"));
            Self { dir, switch, poll }
        }

        fn reload(&mut self, ports: &[&str], detect: &str) {
            let path = self.dir.path().join("vswitch.yaml");
            std::fs::write(path, yaml(self.dir.path(), ports, detect)).expect("writable");
            let ticket = self.switch.reload_for_client();
            let mut answers = Vec::new();
            while answers.is_empty() {
                // Woken when the file is read; a little later it is taken.
                let timeout = std::time::Duration::from_millis(100);
                self.poll.poll(&mut mio::Events::with_capacity(1), Some(timeout)).expect("a poll");
                answers = self.switch.finish_reload();
            }
            assert!(matches!(answers[..], [(of, Response::Ok { .. })] if of == ticket), "{answers:?}");
        }

        fn quarantine(&self, port: u16) {
            let now_us = self.switch.workers.now_us();
            assert!(self.switch.quarantines.begin(PortId(port), AnomalyKind::PortScan, now_us, HOUR_US));
        }

        fn quarantined(&self) -> Vec<String> {
            self.switch.threats().quarantines.into_iter().map(|row| row.port).collect()
        }
    }

    impl Drop for Lab {
        fn drop(&mut self) {
            self.switch.stop();
        }
    }

    fn error(response: Response) -> Option<String> {
        match response {
            Response::Ok { .. } => None,
            Response::Error { message, .. } => Some(message),
        }
    }

    #[test]
    fn an_operator_lets_a_port_out() {
        let mut lab = Lab::start(&["a", "b"], "detect: {}");
        assert_eq!(error(lab.switch.release("a")).as_deref(), Some("a is not in quarantine"));
        lab.quarantine(0);
        lab.switch.log_quarantines();
        assert_eq!(lab.quarantined(), ["a"]);
        assert_eq!(lab.switch.threats().quarantines[0].left_s, 3_600);
        assert_eq!(error(lab.switch.release("b")).as_deref(), Some("b is not in quarantine"));
        assert_eq!(error(lab.switch.release("c")).as_deref(), Some("there is no port c"));
        assert_eq!(error(lab.switch.release("a")), None);
        assert!(lab.quarantined().is_empty());
    }

    #[test]
    fn a_reload_that_removes_the_port_ends_its_quarantine() {
        let mut lab = Lab::start(&["a", "b"], "detect: {}");
        lab.quarantine(0);
        lab.quarantine(1);
        lab.reload(&["a", "b"], "");
        assert_eq!(lab.quarantined(), ["a", "b"], "a reload that keeps them, also one without a watch");
        lab.reload(&["b"], "detect: {}");
        assert_eq!(lab.quarantined(), ["b"]);
        lab.reload(&["a", "b"], "detect: {}");
        assert_eq!(lab.quarantined(), ["b"], "who comes back is free");
    }

    /// What was seen by other thresholds is forgotten; by the same ones it stays.
    #[test]
    fn a_reload_of_the_watch_starts_it_anew() {
        let mut lab = Lab::start(&["a", "b"], "detect: {syn_flood: {threshold: 10}}");
        let over = |lab: &Lab| {
            let generation = lab.switch.workers.generation();
            let detect = generation.detect.as_ref().expect("a watch");
            let watching = detect.watching(PortId(0), lab.switch.workers.now_us() / 1_000).expect("watched");
            watching.flood(AnomalyKind::SynFlood, 8).is_some()
        };
        assert!(!over(&lab));
        lab.reload(&["a", "b"], "detect: {syn_flood: {threshold: 10, window: 10m}}");
        assert!(!over(&lab));
        lab.reload(&["a"], "detect: {syn_flood: {threshold: 10, window: 10m}}");
        assert!(over(&lab));
    }
}
