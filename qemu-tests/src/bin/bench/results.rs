//! What was measured: values by name, each with all its readings, and the figures that are made of them.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// All readings so far, by section and name, in the order in which they first came.
#[derive(Debug, Default)]
pub struct Results {
    order: Vec<(String, String)>,
    readings: BTreeMap<(String, String), Readings>,
    figures: Vec<Figure>,
    notes: Vec<String>,
}

#[derive(Debug, Default)]
struct Readings {
    unit: &'static str,
    values: Vec<f64>,
}

/// A line of the table that README shows.
#[derive(Debug)]
struct Figure {
    what: String,
    wanted: String,
    measured: String,
}

/// The middle value; the mean of the two in the middle of an even number.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[middle],
        _ => (sorted[middle - 1] + sorted[middle]) / 2.0,
    }
}

/// A number in as many digits as it deserves.
pub fn number(value: f64) -> String {
    match value.abs() {
        large if large >= 1e6 => format!("{:.2} M", value / 1e6),
        small if small < 10.0 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

impl Results {
    /// Notes a reading.
    pub fn add(&mut self, section: &str, name: &str, unit: &'static str, value: f64) {
        let key = (section.to_owned(), name.to_owned());
        let readings = self.readings.entry(key.clone()).or_insert_with(|| {
            self.order.push(key);
            Readings::default()
        });
        readings.unit = unit;
        readings.values.push(value);
    }

    /// The median of a value's readings, if there are any.
    pub fn median(&self, section: &str, name: &str) -> Option<f64> {
        self.values(section, name).map(median)
    }

    /// The median of the first value of a section, if there is one.
    pub fn first_of(&self, section: &str) -> Option<f64> {
        let (_, name) = self.order.iter().find(|(found, _)| found == section)?;
        self.median(section, name)
    }

    /// How many readings of a value there are.
    pub fn count(&self, section: &str, name: &str) -> usize {
        self.values(section, name).map_or(0, <[f64]>::len)
    }

    fn values(&self, section: &str, name: &str) -> Option<&[f64]> {
        self.readings.get(&(section.to_owned(), name.to_owned())).map(|readings| readings.values.as_slice())
    }

    /// The median of one value over that of another of the same section.
    pub fn ratio_of_medians(&self, section: &str, name: &str, base: &str) -> Option<f64> {
        Some(median(self.values(section, name)?) / median(self.values(section, base)?))
    }

    /// The median of the ratios of one value to another of the same section, of the same rounds: that is less disturbed by what
    /// changes from round to round. Of readings that are not of the same rounds, [`Results::ratio_of_medians`].
    pub fn ratio(&self, section: &str, name: &str, base: &str) -> Option<f64> {
        let (of, over) = (self.values(section, name)?, self.values(section, base)?);
        if of.len() != over.len() {
            return self.ratio_of_medians(section, name, base);
        }
        let ratios: Vec<f64> = of.iter().zip(over).map(|(value, base)| value / base).collect();
        Some(median(&ratios))
    }

    /// Adds a line to the table of figures.
    pub fn figure(&mut self, what: &str, wanted: &str, measured: Option<String>) {
        let measured = measured.unwrap_or_else(|| "not measured in this run".to_owned());
        self.figures.push(Figure { what: what.to_owned(), wanted: wanted.to_owned(), measured });
    }

    /// Adds a remark.
    pub fn note(&mut self, text: impl Into<String>) {
        let text = text.into();
        eprintln!("bench: {text}");
        self.notes.push(text);
    }

    /// The table of figures, in Markdown, as README shows it.
    pub fn table(&self) -> String {
        let mut text = String::from("| what | figure to reach | measured |\n| --- | --- | --- |\n");
        for Figure { what, wanted, measured } in &self.figures {
            let _ = writeln!(text, "| {what} | {wanted} | {measured} |");
        }
        text
    }

    /// All of it as a text, under a heading.
    pub fn text(&self, heading: &str) -> String {
        let mut text = format!("{heading}\n{}", self.table());
        for note in &self.notes {
            let _ = writeln!(text, "\nnote: {note}");
        }
        let mut sections: Vec<&str> = Vec::new();
        for (section, _) in &self.order {
            if !sections.contains(&section.as_str()) {
                sections.push(section);
            }
        }
        for section in sections {
            let _ = write!(text, "\n{section}\n{:<50} {:>10} {:>10} {:>10}  readings\n", "", "median", "min", "max");
            for key in self.order.iter().filter(|(found, _)| found == section) {
                let Readings { unit, values } = &self.readings[key];
                let least = values.iter().copied().fold(f64::INFINITY, f64::min);
                let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let [middle, least, most] = [median(values), least, most].map(number);
                let name = format!("{}, {unit}", key.1);
                let _ = writeln!(text, "{name:<50} {middle:>10} {least:>10} {most:>10}  {}", values.len());
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_paired_by_round() {
        let mut results = Results::default();
        for (ours, floor) in [(100.0, 50.0), (300.0, 100.0), (220.0, 110.0)] {
            results.add("walk", "ours", "cycles", ours);
            results.add("walk", "floor", "cycles", floor);
        }
        assert_eq!(results.ratio("walk", "ours", "floor"), Some(2.0));
        assert_eq!(results.median("walk", "ours"), Some(220.0));
        assert_eq!(results.ratio("walk", "ours", "none"), None);
        assert_eq!(median(&[1.0, 4.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn what_was_not_measured_says_so() {
        let mut results = Results::default();
        results.figure("speed", "at least 1.0", None);
        results.add("all", "one", "ns", 7.0);
        assert!(results.table().contains("| speed | at least 1.0 | not measured in this run |"));
        assert!(results.text("date").contains("one, ns"));
    }
}
