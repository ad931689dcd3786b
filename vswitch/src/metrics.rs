//! What monitoring sees: the names of the metrics, and how they are filled from the books at each scrape.
//!
//! Labels carry names from the configuration and words from our own lists, never an address or a guest's text, so the
//! number of series is bounded by the configuration.

use std::collections::BTreeMap;

use inspect::announcements::AnnouncementCounts;
use inspect::detect::AnomalyKind;
use metrics::{counter, describe_counter, describe_gauge, gauge, with_local_recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};

use crate::books::Totals;
use crate::counters::FILE_STATES;
use crate::drop_reason::DropReason;
use crate::eve::settings::EventType;
use crate::frame::PortId;
use crate::status::WorkerRow;

/// The reasons for which inspection drops, and which an audit may say instead.
const INSPECTION_REASONS: [DropReason; 6] = [
    DropReason::Signature,
    DropReason::FlowRefused,
    DropReason::Overlap,
    DropReason::InspectionMemory,
    DropReason::InspectionBudget,
    DropReason::ProtocolError,
];

/// What a scrape shows besides the counters of the workers.
#[derive(Debug)]
pub struct Scrape<'a> {
    /// The workers' counters.
    pub totals: &'a Totals,
    /// Every port that the switch has had since it started, with its number and whether frames can pass now.
    pub ports: &'a [PortSeries],
    /// Hits by decider.
    pub rule_hits: &'a BTreeMap<String, u64>,
    /// Files found by list of hashes.
    pub file_hits: &'a BTreeMap<String, u64>,
    /// The lists of hashes in force: name, hashes, bytes of memory.
    pub hash_lists: &'a [(&'a str, u64, u64)],
    /// The connections that others have announced.
    pub announcements: AnnouncementCounts,
    /// The workers.
    pub workers: &'a [WorkerRow],
    /// Number of the generation in force.
    pub generation: u32,
    /// Whether the last configuration that was offered was taken.
    pub last_reload_successful: bool,
    /// Unix time at which the generation in force was taken, in seconds.
    pub last_reload_s: u64,
    /// Signatures in the generation in force.
    pub signatures: u64,
    /// Flows that all tables hold together.
    pub flow_limit: u64,
    /// Records in the log, by type.
    pub events_written: [u64; EventType::COUNT],
    /// Events that did not get there, wherever they were lost, by type.
    pub events_lost: [u64; EventType::COUNT],
    /// Lines of the daemon's own log that were left out because there were too many of them.
    pub log_lines_suppressed: u64,
}

/// A port's place in the metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSeries {
    /// Name, the label.
    pub name: String,
    /// Number, the place in the counters.
    pub id: PortId,
    /// Whether frames can pass.
    pub connected: bool,
    /// Guests that connected since the switch started.
    pub connections: u64,
    /// Times that it was cut off for breaking the rules of its rings, its memory or its socket.
    pub isolations: u64,
    /// Times that a worker did not give a queue of it back in time.
    pub worker_stuck: u64,
    /// Whether it is in quarantine.
    pub quarantined: bool,
    /// Times that it was put in quarantine.
    pub quarantines: u64,
}

/// The published metrics.
pub struct Published {
    recorder: PrometheusRecorder,
}

impl Default for Published {
    fn default() -> Self {
        Self::new()
    }
}

impl Published {
    /// Metrics with their descriptions, and without values yet.
    pub fn new() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        with_local_recorder(&recorder, describe);
        Self { recorder }
    }

    /// The text of a scrape.
    pub fn render(&self, scrape: &Scrape<'_>) -> String {
        with_local_recorder(&self.recorder, || {
            publish_ports(scrape);
            publish_drops(scrape);
            publish_switch(scrape);
            publish_files(scrape);
            publish_workers(scrape.workers);
        });
        self.recorder.handle().render()
    }
}

fn describe() {
    describe_counter!("vswitch_port_receive_packets_total", "Frames that entered by the port, refused ones included");
    describe_counter!("vswitch_port_receive_bytes_total", "Bytes of the frames that entered by the port");
    describe_counter!("vswitch_port_transmit_packets_total", "Frames that left by the port");
    describe_counter!("vswitch_port_transmit_bytes_total", "Bytes of the frames that left by the port");
    describe_gauge!("vswitch_port_connected", "Whether frames can pass the port now");
    describe_counter!("vswitch_port_connections_total", "Times that a guest connected to the port");
    describe_counter!(
        "vswitch_port_isolations_total",
        "Times that the port was cut off because its guest broke the rules"
    );
    describe_counter!(
        "vswitch_port_worker_stuck_total",
        "Times that a worker did not give a queue of the port back in time"
    );
    describe_gauge!("vswitch_port_quarantined", "Whether the port is in quarantine now");
    describe_counter!("vswitch_port_quarantines_total", "Times that the port was put in quarantine");
    describe_counter!("vswitch_anomalies_total", "Scans, sweeps, floods and bursts that were told, by kind");
    describe_counter!("vswitch_drops_total", "Frames dropped, by reason");
    describe_counter!("vswitch_port_drops_total", "Frames dropped, by the port that they entered by and reason");
    describe_gauge!("vswitch_fragments_held", "Fragments that wait for the rest of their datagram");
    describe_counter!("vswitch_flood_copies_total", "Copies made of frames that were flooded");
    describe_counter!("vswitch_cleared_total", "Forward verdicts, one per egress port");
    describe_counter!("vswitch_delivered_total", "Frames handed to their egress port");
    describe_counter!(
        "vswitch_would_drops_total",
        "Frames that an audit let pass, by the reason for which prevention would have dropped them"
    );
    describe_counter!("vswitch_alerts_total", "Alerts, by what became of the frame");
    describe_counter!("vswitch_rule_hits_total", "Flows that the rule, zone setting or default decided about");
    describe_counter!(
        "vswitch_files_total",
        "Files that passed by while there was a list of hashes, by what was found out"
    );
    describe_counter!(
        "vswitch_ftp_data_total",
        "Data connections that FTP has announced, that came as announced, and that were forgotten for want of room"
    );
    describe_counter!("vswitch_file_hash_matches_total", "Files found on the list of hashes");
    describe_gauge!("vswitch_file_hashes", "Hashes on the list in force");
    describe_gauge!("vswitch_file_hashes_bytes", "Memory that the list in force takes");
    describe_gauge!("vswitch_flows", "Flows in the flow tables");
    describe_gauge!("vswitch_flow_limit", "Flows that the flow tables hold");
    describe_gauge!("vswitch_signatures_loaded", "Signatures in the generation in force");
    describe_gauge!("vswitch_config_generation", "Number of the generation in force");
    describe_gauge!(
        "vswitch_config_last_reload_successful",
        "Whether the last configuration that was offered was taken"
    );
    describe_gauge!("vswitch_config_last_reload_success_timestamp_seconds", "When the generation in force was taken");
    describe_gauge!("vswitch_build_info", "The version that runs; always 1");
    describe_counter!("vswitch_eve_written_total", "Records written to the event log, by type");
    describe_counter!("vswitch_eve_lost_total", "Events that did not get into the event log, by type");
    describe_counter!("vswitch_eve_suppressed_total", "Events that were only counted in a record of another, by type");
    describe_counter!("vswitch_eve_notes_lost_total", "Things to tell that one packet had too many of");
    describe_counter!("vswitch_log_lines_suppressed_total", "Lines left out of the daemon's own log");
    describe_counter!("vswitch_worker_bursts_total", "Bursts that the worker received");
    describe_counter!("vswitch_worker_busy_polls_total", "Turns of the worker's loop that moved frames");
    describe_counter!("vswitch_worker_empty_polls_total", "Turns of the worker's loop that found no frame");
    describe_counter!("vswitch_worker_sleeps_total", "Times that the worker went to sleep");
}

fn publish_ports(scrape: &Scrape<'_>) {
    for port in scrape.ports {
        let totals = scrape.totals.port(port.id);
        let count = |metric: &'static str, value| counter!(metric, "port" => port.name.clone()).absolute(value);
        count("vswitch_port_receive_packets_total", totals.received);
        count("vswitch_port_receive_bytes_total", totals.received_bytes);
        count("vswitch_port_transmit_packets_total", totals.transmitted);
        count("vswitch_port_transmit_bytes_total", totals.transmitted_bytes);
        count("vswitch_port_connections_total", port.connections);
        count("vswitch_port_isolations_total", port.isolations);
        count("vswitch_port_worker_stuck_total", port.worker_stuck);
        gauge!("vswitch_port_connected", "port" => port.name.clone()).set(f64::from(port.connected));
        gauge!("vswitch_port_quarantined", "port" => port.name.clone()).set(f64::from(port.quarantined));
        count("vswitch_port_quarantines_total", port.quarantines);
        for &reason in DropReason::ALL {
            let drops = totals.drops[reason as usize];
            if drops > 0 {
                let labels = [("port", port.name.clone()), ("reason", reason.word().to_owned())];
                counter!("vswitch_port_drops_total", &labels).absolute(drops);
            }
        }
    }
}

/// All reasons, from 0 on: a series that appears only with its first frame hides that frame from `increase()`.
fn publish_drops(scrape: &Scrape<'_>) {
    for &reason in DropReason::ALL {
        let drops = scrape.totals.all.drops[reason as usize];
        counter!("vswitch_drops_total", "reason" => reason.word()).absolute(drops);
    }
}

fn publish_switch(scrape: &Scrape<'_>) {
    let totals = scrape.totals;
    counter!("vswitch_flood_copies_total").absolute(totals.all.flood_copies);
    gauge!("vswitch_fragments_held").set(totals.all.held as f64);
    counter!("vswitch_cleared_total").absolute(totals.cleared);
    counter!("vswitch_delivered_total").absolute(totals.all.delivered);
    for reason in INSPECTION_REASONS {
        let count = totals.would_drops[reason as usize];
        counter!("vswitch_would_drops_total", "reason" => reason.word()).absolute(count);
    }
    counter!("vswitch_alerts_total", "action" => "allowed").absolute(totals.alerts_allowed);
    counter!("vswitch_alerts_total", "action" => "blocked").absolute(totals.alerts_blocked);
    for kind in AnomalyKind::ALL {
        counter!("vswitch_anomalies_total", "kind" => kind.name()).absolute(totals.anomalies[kind as usize]);
    }
    for (rule, &hits) in scrape.rule_hits {
        counter!("vswitch_rule_hits_total", "rule" => rule.clone()).absolute(hits);
    }
    gauge!("vswitch_flows").set(totals.flows as f64);
    gauge!("vswitch_flow_limit").set(scrape.flow_limit as f64);
    gauge!("vswitch_signatures_loaded").set(scrape.signatures as f64);
    gauge!("vswitch_config_generation").set(f64::from(scrape.generation));
    gauge!("vswitch_config_last_reload_successful").set(f64::from(scrape.last_reload_successful));
    gauge!("vswitch_config_last_reload_success_timestamp_seconds").set(scrape.last_reload_s as f64);
    gauge!("vswitch_build_info", "version" => crate::VERSION).set(1.0);
    for &kind in EventType::ALL {
        let count = |metric: &'static str, values: &[u64; EventType::COUNT]| {
            counter!(metric, "type" => kind.name()).absolute(values[kind as usize]);
        };
        count("vswitch_eve_written_total", &scrape.events_written);
        count("vswitch_eve_lost_total", &scrape.events_lost);
        count("vswitch_eve_suppressed_total", &totals.events_suppressed);
    }
    counter!("vswitch_eve_notes_lost_total").absolute(totals.notes_lost);
    counter!("vswitch_log_lines_suppressed_total").absolute(scrape.log_lines_suppressed);
}

fn publish_files(scrape: &Scrape<'_>) {
    for (state, count) in FILE_STATES.into_iter().zip(scrape.totals.files) {
        counter!("vswitch_files_total", "state" => state).absolute(count);
    }
    let AnnouncementCounts { made, met, forgotten } = scrape.announcements;
    for (state, count) in [("announced", made), ("met", met), ("forgotten", forgotten)] {
        counter!("vswitch_ftp_data_total", "state" => state).absolute(count);
    }
    for (list, &hits) in scrape.file_hits {
        counter!("vswitch_file_hash_matches_total", "list" => list.clone()).absolute(hits);
    }
    for &(list, hashes, bytes) in scrape.hash_lists {
        gauge!("vswitch_file_hashes", "list" => list.to_owned()).set(hashes as f64);
        gauge!("vswitch_file_hashes_bytes", "list" => list.to_owned()).set(bytes as f64);
    }
}

fn publish_workers(workers: &[WorkerRow]) {
    for worker in workers {
        let count = |metric: &'static str, value| counter!(metric, "cpu" => worker.cpu.to_string()).absolute(value);
        count("vswitch_worker_bursts_total", worker.bursts);
        count("vswitch_worker_busy_polls_total", worker.busy_polls);
        count("vswitch_worker_empty_polls_total", worker.empty_polls);
        count("vswitch_worker_sleeps_total", worker.sleeps);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::WorkerCounters;
    use std::sync::Arc;

    /// The value of one line of a scrape.
    fn value(text: &str, series: &str) -> Option<f64> {
        text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
    }

    fn render(published: &Published, totals: &Totals) -> String {
        let ports = ["web1", "db1"].map(str::to_owned);
        let ports: Vec<PortSeries> = ports
            .into_iter()
            .zip(0..)
            .map(|(name, id)| PortSeries {
                name,
                id: PortId(id),
                connected: id == 0,
                connections: 3,
                isolations: 2,
                worker_stuck: 1,
                quarantined: id == 1,
                quarantines: 4,
            })
            .collect();
        published.render(&Scrape {
            totals,
            ports: &ports,
            rule_hits: &BTreeMap::from([("web-db".to_owned(), 3)]),
            file_hits: &BTreeMap::from([("malware".to_owned(), 4)]),
            hash_lists: &[("malware", 100, 3_208)],
            announcements: AnnouncementCounts { made: 9, met: 8, forgotten: 1 },
            workers: &[],
            generation: 2,
            last_reload_successful: false,
            last_reload_s: 1_795_452_360,
            signatures: 12,
            flow_limit: 1_000,
            events_written: [5; EventType::COUNT],
            events_lost: [6; EventType::COUNT],
            log_lines_suppressed: 0,
        })
    }

    #[test]
    fn a_fresh_switch_shows_every_reason_at_zero() {
        let text = render(&Published::new(), &Totals::of(&[]));
        for reason in DropReason::ALL {
            let series = format!("vswitch_drops_total{{reason=\"{}\"}}", reason.word());
            assert_eq!(value(&text, &series), Some(0.0), "{series}\n{text}");
        }
        assert!(!text.contains("vswitch_port_drops_total{"), "only those that happened");
        for (series, expected) in [
            ("vswitch_config_generation", 2.0),
            ("vswitch_config_last_reload_successful", 0.0),
            ("vswitch_config_last_reload_success_timestamp_seconds", 1_795_452_360.0),
            ("vswitch_rule_hits_total{rule=\"web-db\"}", 3.0),
            ("vswitch_alerts_total{action=\"allowed\"}", 0.0),
            ("vswitch_port_connected{port=\"web1\"}", 1.0),
            ("vswitch_port_connected{port=\"db1\"}", 0.0),
            ("vswitch_port_quarantined{port=\"web1\"}", 0.0),
            ("vswitch_port_quarantined{port=\"db1\"}", 1.0),
            ("vswitch_port_quarantines_total{port=\"db1\"}", 4.0),
            ("vswitch_anomalies_total{kind=\"port_scan\"}", 0.0),
            ("vswitch_anomalies_total{kind=\"connection_burst\"}", 0.0),
            ("vswitch_port_connections_total{port=\"web1\"}", 3.0),
            ("vswitch_port_isolations_total{port=\"web1\"}", 2.0),
            ("vswitch_port_worker_stuck_total{port=\"web1\"}", 1.0),
            ("vswitch_files_total{state=\"unlisted\"}", 0.0),
            ("vswitch_ftp_data_total{state=\"announced\"}", 9.0),
            ("vswitch_ftp_data_total{state=\"met\"}", 8.0),
            ("vswitch_ftp_data_total{state=\"forgotten\"}", 1.0),
            ("vswitch_file_hash_matches_total{list=\"malware\"}", 4.0),
            ("vswitch_file_hashes{list=\"malware\"}", 100.0),
            ("vswitch_file_hashes_bytes{list=\"malware\"}", 3_208.0),
            ("vswitch_signatures_loaded", 12.0),
            ("vswitch_flow_limit", 1_000.0),
            ("vswitch_eve_lost_total{type=\"alert\"}", 6.0),
        ] {
            assert_eq!(value(&text, series), Some(expected), "{series}\n{text}");
        }
    }

    /// Two workers count a flood: one frame in, three out, one of them dropped.
    #[test]
    fn the_books_are_summed_and_balance() {
        let published = Published::new();
        let workers: Vec<Arc<WorkerCounters>> = (0..2).map(|_| Arc::default()).collect();
        render(&published, &Totals::of(&workers));
        for worker in &workers {
            let port = worker.port(PortId(0));
            port.received.add(1);
            port.received_bytes.add(60);
            port.flood_copies.add(2);
            port.delivered.add(2);
            worker.port(PortId(1)).transmitted.add(2);
            port.drops[DropReason::PortDown as usize].add(1);
            worker.cleared.add(2);
            worker.flows_opened.add(5);
            worker.anomalies[AnomalyKind::HostSweep as usize].add(1);
            worker.flows_ended.add(2);
        }
        let totals = Totals::of(&workers);
        let all = &totals.all;
        assert_eq!(all.received + all.flood_copies, all.delivered + all.dropped());
        assert_eq!(all.delivered, all.transmitted);
        let text = render(&published, &totals);
        for (series, expected) in [
            ("vswitch_port_receive_packets_total{port=\"web1\"}", 2.0),
            ("vswitch_port_receive_bytes_total{port=\"web1\"}", 120.0),
            ("vswitch_port_transmit_packets_total{port=\"db1\"}", 4.0),
            ("vswitch_flood_copies_total", 4.0),
            ("vswitch_drops_total{reason=\"port_down\"}", 2.0),
            ("vswitch_port_drops_total{port=\"web1\",reason=\"port_down\"}", 2.0),
            ("vswitch_delivered_total", 4.0),
            ("vswitch_cleared_total", 4.0),
            ("vswitch_flows", 6.0),
            ("vswitch_anomalies_total{kind=\"host_sweep\"}", 2.0),
        ] {
            assert_eq!(value(&text, series), Some(expected), "{series}\n{text}");
        }
    }

    #[test]
    fn every_series_has_a_description_and_a_type() {
        let text = render(&Published::new(), &Totals::of(&[Arc::default()]));
        for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
            let name = line.split(['{', ' ']).next().expect("a name");
            assert!(name.starts_with("vswitch_"), "{line}");
            assert!(text.contains(&format!("# HELP {name} ")), "{name} has no description");
            let kind = if name.ends_with("_total") { "counter" } else { "gauge" };
            assert!(text.contains(&format!("# TYPE {name} {kind}")), "{name} is no {kind}");
        }
    }
}
