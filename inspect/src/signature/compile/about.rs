//! Keywords that say something about the rule itself: its texts, numbers, class and rate.

use super::super::cause::Cause;
use super::super::content::unquote;
use super::super::definition::Target;
use super::super::rate::{Rate, RateKind, Track};
use super::Draft;
use super::values::{needed, none, number};

impl Draft<'_> {
    /// Reads the option when it is one of these; `false` when it is not.
    pub(super) fn about(&mut self, name: &str, value: Option<&str>) -> Result<bool, Cause> {
        match name {
            "msg" => self.msg = Some(text(name, needed(name, value)?)?),
            "sid" => self.sid = Some(number(name, needed(name, value)?)?),
            "gid" => self.gid = Some(number(name, needed(name, value)?)?),
            "rev" => self.rev = Some(number(name, needed(name, value)?)?),
            "classtype" => self.classtype = Some(needed(name, value)?.to_owned()),
            "priority" => {
                let priority: u8 = number(name, needed(name, value)?)?;
                self.priority = Some(priority.max(1));
            }
            "target" => {
                self.target = Some(match needed(name, value)? {
                    "src_ip" => Target::Source,
                    "dest_ip" => Target::Destination,
                    _ => return Err(Cause::value(name, "src_ip or dest_ip")),
                });
            }
            "reference" => {
                let pair = needed(name, value)?.split_once(',');
                let (kind, place) = pair.ok_or_else(|| Cause::value(name, "a kind, a comma and a value"))?;
                self.references.push((kind.trim().to_owned(), place.trim().to_owned()));
            }
            "metadata" => {
                for entry in needed(name, value)?.split(',') {
                    let entry = entry.trim();
                    let (key, value) = entry.split_once(char::is_whitespace).unwrap_or((entry, ""));
                    self.metadata.push((key.trim_end_matches(':').to_owned(), value.trim().to_owned()));
                }
            }
            "noalert" => {
                none(name, value)?;
                self.silent = true;
            }
            // What a rule does anyhow.
            "alert" => none(name, value)?,
            "threshold" | "detection_filter" => {
                if self.rate.is_some() {
                    return Err(Cause::context(name, "the rule has a rate already"));
                }
                self.rate = Some(rate(name, needed(name, value)?)?);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A quoted text with its escapes undone.
fn text(keyword: &str, value: &str) -> Result<String, Cause> {
    let inner = unquote(value).ok_or_else(|| Cause::value(keyword, "a text in double quotes"))?;
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.peek() {
                Some('"' | ';' | ':' | '\\') => text.extend(characters.next()),
                _ => text.push('\\'),
            },
            _ => text.push(character),
        }
    }
    Ok(text)
}

fn rate(keyword: &str, value: &str) -> Result<Rate, Cause> {
    let error = || Cause::value(keyword, "type limit|threshold|both, track by_src|by_dst|..., count n, seconds n");
    let (mut kind, mut track, mut count, mut seconds) = (None, None, None, None);
    for part in value.split(',') {
        let (name, word) = part.trim().split_once(char::is_whitespace).ok_or_else(error)?;
        let word = word.trim();
        match name {
            "type" if keyword == "threshold" => {
                kind = Some(match word {
                    "limit" => RateKind::Limit,
                    "threshold" => RateKind::Threshold,
                    "both" => RateKind::Both,
                    _ => return Err(error()),
                });
            }
            "track" => {
                track = Some(match word {
                    "by_src" => Track::Source,
                    "by_dst" => Track::Destination,
                    "by_both" => Track::Both,
                    "by_rule" => Track::Rule,
                    "by_flow" => Track::Flow,
                    _ => return Err(error()),
                });
            }
            "count" => count = Some(number::<u32>(keyword, word)?),
            "seconds" => seconds = Some(number::<u32>(keyword, word)?),
            _ => return Err(error()),
        }
    }
    if keyword == "detection_filter" {
        kind = Some(RateKind::Filter);
    }
    match (kind, track, count, seconds) {
        (Some(kind), Some(track), Some(count), Some(seconds)) if count > 0 && seconds > 0 => {
            Ok(Rate { kind, track, count, window_ms: u64::from(seconds) * 1000 })
        }
        _ => Err(error()),
    }
}
