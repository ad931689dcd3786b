//! Keywords that remember something for later packets: `flowbits`, `xbits`, `flowint`.

use super::super::cause::Cause;
use super::super::identity::name_id;
use super::super::memory_test::{BitChange, BitTrack, IntChange, IntRelation, IntValue, MemoryEffect, MemoryTest};
use super::Draft;
use super::values::{needed, none, number};

impl Draft<'_> {
    /// Reads the option when it is one of these; `false` when it is not.
    pub(super) fn memory(&mut self, name: &str, value: Option<&str>) -> Result<bool, Cause> {
        match name {
            "flowbits" => self.flow_bits(name, needed(name, value)?)?,
            "xbits" => self.x_bits(name, needed(name, value)?)?,
            "flowint" => self.flow_int(name, needed(name, value)?)?,
            // Tagging asks for more packets to be logged, which is not for the engine to do; nothing is left unjudged.
            "tag" => {
                needed(name, value)?;
            }
            // Each rule is prefiltered as well as it can be.
            "prefilter" => none(name, value)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn flow_bits(&mut self, keyword: &str, value: &str) -> Result<(), Cause> {
        let error = || Cause::value(keyword, "set|unset|toggle|isset|isnotset,name or noalert");
        if value == "noalert" {
            self.silent = true;
            return Ok(());
        }
        let (command, names) = value.split_once(',').ok_or_else(error)?;
        let mut numbers = Vec::new();
        for name in names.split('|').map(str::trim) {
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(error());
            }
            numbers.push(name_id("flowbit", name));
        }
        let change = match command.trim() {
            "isset" => {
                self.asks.push(MemoryTest::FlowBitsSet(numbers.into()));
                return Ok(());
            }
            "isnotset" => {
                self.asks.push(MemoryTest::FlowBitsNotSet(numbers.into()));
                return Ok(());
            }
            "set" => BitChange::Set,
            "unset" => BitChange::Unset,
            "toggle" => BitChange::Toggle,
            _ => return Err(error()),
        };
        self.effects.extend(numbers.into_iter().map(|name| MemoryEffect::FlowBit { name, change }));
        Ok(())
    }

    fn x_bits(&mut self, keyword: &str, value: &str) -> Result<(), Cause> {
        let error = || Cause::value(keyword, "set|unset|toggle|isset|isnotset,name,track ip_src|ip_dst|ip_pair");
        let mut parts = value.split(',').map(str::trim);
        let command = parts.next().ok_or_else(error)?;
        if command == "noalert" {
            self.silent = true;
            return Ok(());
        }
        let name = parts.next().filter(|name| !name.is_empty()).ok_or_else(error)?;
        let name = name_id("xbit", name);
        let (mut track, mut expire_ms) = (None, 30_000);
        for part in parts {
            match part.split_once(char::is_whitespace).map(|(key, word)| (key, word.trim())) {
                Some(("track", "ip_src")) => track = Some(BitTrack::Source),
                Some(("track", "ip_dst")) => track = Some(BitTrack::Destination),
                Some(("track", "ip_pair")) => track = Some(BitTrack::Pair),
                Some(("expire", seconds)) => expire_ms = 1000 * u64::from(number::<u32>(keyword, seconds)?),
                _ => return Err(error()),
            }
        }
        let track = track.ok_or_else(error)?;
        let change = match command {
            "isset" | "isnotset" => {
                self.asks.push(MemoryTest::XBit { name, track, set: command == "isset" });
                return Ok(());
            }
            "set" => BitChange::Set,
            "unset" => BitChange::Unset,
            "toggle" => BitChange::Toggle,
            _ => return Err(error()),
        };
        self.effects.push(MemoryEffect::XBit { name, track, change, expire_ms });
        Ok(())
    }

    fn flow_int(&mut self, keyword: &str, value: &str) -> Result<(), Cause> {
        let error = || Cause::value(keyword, "name, isset|notset or name, operator, value");
        let mut parts = value.split(',').map(str::trim);
        let (Some(name), Some(operator)) = (parts.next().filter(|name| !name.is_empty()), parts.next()) else {
            return Err(error());
        };
        let name = name_id("flowint", name);
        let operand = parts.next();
        if parts.next().is_some() {
            return Err(error());
        }
        if matches!(operator, "isset" | "notset" | "isnotset") && operand.is_none() {
            self.asks.push(MemoryTest::FlowIntSet { name, set: operator == "isset" });
            return Ok(());
        }
        let operand = operand.filter(|operand| !operand.is_empty()).ok_or_else(error)?;
        let value = match operand.parse::<u32>() {
            Ok(number) => IntValue::Literal(number),
            Err(_) => IntValue::Variable(name_id("flowint", operand)),
        };
        let relation = match operator {
            "=" | "+" | "-" => {
                let change = match operator {
                    "=" => IntChange::Set,
                    "+" => IntChange::Add,
                    _ => IntChange::Subtract,
                };
                self.effects.push(MemoryEffect::FlowInt { name, change, value });
                return Ok(());
            }
            "<" => IntRelation::Less,
            "<=" => IntRelation::LessOrEqual,
            "==" => IntRelation::Equal,
            "!=" => IntRelation::NotEqual,
            ">=" => IntRelation::GreaterOrEqual,
            ">" => IntRelation::Greater,
            _ => return Err(error()),
        };
        self.asks.push(MemoryTest::FlowInt { name, relation, value });
        Ok(())
    }
}
