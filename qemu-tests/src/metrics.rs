//! `/metrics`, read once: the Prometheus text format 0.0.4, as far as counters and gauges go.

use std::collections::BTreeMap;
use std::fmt;

/// All samples of one scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    /// By series, written as `name{label="value"}`.
    samples: BTreeMap<String, f64>,
}

impl Metrics {
    /// Reads the text that the switch serves.
    ///
    /// # Panics
    /// On a line that is neither a comment nor a sample: a broken exposition is a bug, not weather.
    pub fn parse(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("not a sample: {line:?}"));
            let value = value.parse().unwrap_or_else(|_| panic!("not a number: {line:?}"));
            (series.to_owned(), value)
        });
        Self { samples: samples.collect() }
    }

    /// The series whose name is `name` and which carries `label="value"`; 0 when it has not been counted yet.
    pub fn labelled(&self, name: &str, label: &str, value: &str) -> f64 {
        let needle = format!("{label}=\"{value}\"");
        self.named(name).filter(|(series, _)| series.contains(&needle)).map(|(_, value)| value).sum()
    }

    /// The sum over all series of that name.
    pub fn total(&self, name: &str) -> f64 {
        self.named(name).map(|(_, value)| value).sum()
    }

    /// Whether any series of that name is served.
    pub fn has(&self, name: &str) -> bool {
        self.named(name).next().is_some()
    }

    /// All series of that name, in order.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = (&'a str, f64)> + 'a {
        let is_it = move |series: &str| series.strip_prefix(name).is_some_and(|r| r.is_empty() || r.starts_with('{'));
        self.samples.iter().filter(move |(series, _)| is_it(series)).map(|(series, value)| (series.as_str(), *value))
    }

    /// Frames dropped for `reason`.
    pub fn drops(&self, reason: &str) -> f64 {
        self.labelled("vswitch_drops_total", "reason", reason)
    }

    /// The books: what came in, and where it went.
    pub fn books(&self) -> Books {
        Books {
            received: self.total("vswitch_port_receive_packets_total"),
            flood_copies: self.total("vswitch_flood_copies_total"),
            transmitted: self.total("vswitch_port_transmit_packets_total"),
            dropped: self.total("vswitch_drops_total"),
            cleared: self.total("vswitch_cleared_total"),
            delivered: self.total("vswitch_delivered_total"),
            not_taken: REFUSED_BY_RECEIVER.iter().map(|reason| self.drops(reason)).sum(),
        }
    }
}

/// The drop reasons of frames that were cleared and then not taken: no buffers, or none that is large enough, or a ring
/// that broke at that moment.
const REFUSED_BY_RECEIVER: &[&str] = &["receive_buffers", "too_big", "port_fault"];

/// The sums that have to agree when no frame is on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Books {
    /// Frames that came in, over all ports.
    pub received: f64,
    /// Copies made because a frame left by more than one port.
    pub flood_copies: f64,
    /// Frames that left, over all ports.
    pub transmitted: f64,
    /// Frames dropped, over all reasons.
    pub dropped: f64,
    /// Frames that inspection let through.
    pub cleared: f64,
    /// Cleared frames that were written to a port.
    pub delivered: f64,
    /// Cleared frames that their receiver did not take; they are among the dropped.
    pub not_taken: f64,
}

impl Books {
    /// Whether each frame and each copy ended in exactly one place, and exactly what was cleared was delivered, or
    /// refused by its receiver.
    pub fn balance(&self) -> bool {
        self.received + self.flood_copies == self.transmitted + self.dropped
            && self.cleared == self.delivered + self.not_taken
            && self.delivered == self.transmitted
    }
}

impl fmt::Display for Books {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} received + {} flood copies; {} transmitted + {} dropped; {} cleared = {} delivered + {} not taken",
            self.received,
            self.flood_copies,
            self.transmitted,
            self.dropped,
            self.cleared,
            self.delivered,
            self.not_taken
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# HELP vswitch_drops_total Frames dropped.
# TYPE vswitch_drops_total counter
vswitch_drops_total{reason="policy"} 3
vswitch_drops_total{reason="spoof_mac"} 2
vswitch_drops_total_x 100
vswitch_flood_copies_total 1
vswitch_port_receive_packets_total{port="a"} 7
vswitch_port_transmit_packets_total{port="b"} 3
vswitch_cleared_total 3
vswitch_delivered_total 3
"#;

    #[test]
    fn series_are_found_by_name_and_label_and_summed_by_name() {
        let metrics = Metrics::parse(TEXT);
        assert_eq!(metrics.drops("policy"), 3.0);
        assert_eq!(metrics.drops("never"), 0.0);
        assert_eq!(metrics.total("vswitch_drops_total"), 5.0, "a longer name is another metric");
        assert!(metrics.has("vswitch_flood_copies_total") && !metrics.has("vswitch_flood"));
    }

    #[test]
    fn the_books_balance_only_if_every_frame_is_accounted_for() {
        let metrics = Metrics::parse(TEXT);
        assert!(metrics.books().balance(), "{}", metrics.books());
        assert!(!Metrics::parse(&TEXT.replace("policy\"} 3", "policy\"} 4")).books().balance());
        assert!(!Metrics::parse(&TEXT.replace("delivered_total 3", "delivered_total 4")).books().balance());
    }
}
