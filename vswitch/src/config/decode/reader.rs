//! serde's view of the tree: what each node says of itself when it is asked for a type.

use super::{AT, Fault};
use crate::config::tree::{Entry, Kind, Mapping, Node};
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeSeed, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

/// serde's view of a node.
#[derive(Clone, Copy)]
pub(super) struct NodeReader<'a>(pub(super) &'a Node);

impl<'a> NodeReader<'a> {
    /// The text of a scalar, or the fault that there is none.
    fn scalar(self, expected: &dyn Expected) -> Result<&'a str, Fault> {
        match &self.0.kind {
            Kind::Scalar(text) => Ok(text),
            Kind::Null => Err(de::Error::invalid_type(Unexpected::Unit, expected)),
            Kind::List(_) => Err(de::Error::invalid_type(Unexpected::Seq, expected)),
            Kind::Map(_) => Err(de::Error::invalid_type(Unexpected::Map, expected)),
        }
    }

    fn read_list<'de, V: Visitor<'de>>(items: &[Node], visitor: V) -> Result<V::Value, Fault> {
        let mut next = 0;
        let reader = SeqDeserializer::new(items.iter().map(ItemReader));
        visitor.visit_seq(Steps { inner: reader, next: &mut next })
    }

    fn read_map<'de, V: Visitor<'de>>(self, map: &Mapping, visitor: V) -> Result<V::Value, Fault> {
        let mut next = 0;
        let reader = MapDeserializer::new(map.entries.iter().map(|entry| (KeyReader(entry), ItemReader(&entry.value))));
        visitor.visit_map(Steps { inner: reader, next: &mut next }).map_err(|mut fault| {
            let is_lost = |key: &str| map.lost.iter().any(|lost| lost == key);
            if fault.way.is_empty() && fault.at.is_none() && fault.missing.is_some_and(is_lost) {
                fault.is_echo = true;
            }
            fault
        })
    }
}

impl<'de> Deserializer<'de> for NodeReader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.kind {
            Kind::Null => visitor.visit_unit(),
            Kind::Scalar(text) => visitor.visit_str(text),
            Kind::List(items) => Self::read_list(items, visitor),
            Kind::Map(map) => self.read_map(map, visitor),
        }
        .map_err(|fault: Fault| fault.within(&self.0.at))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let read = || match self.scalar(&visitor)? {
            "true" => Ok(true),
            "false" => Ok(false),
            other => Err(de::Error::invalid_value(Unexpected::Str(other), &"`true` or `false`")),
        };
        read().and_then(|value| visitor.visit_bool(value)).map_err(|fault: Fault| fault.within(&self.0.at))
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        let read = || {
            let text = self.scalar(&"a whole number")?;
            text.parse::<u64>().map_err(|_| de::Error::invalid_value(Unexpected::Str(text), &"a whole number"))
        };
        read().and_then(|value| visitor.visit_u64(value)).map_err(|fault: Fault| fault.within(&self.0.at))
    }

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u16<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.scalar(&visitor).and_then(|text| visitor.visit_str(text)).map_err(|fault: Fault| fault.within(&self.0.at))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0.kind {
            Kind::Null => visitor.visit_none(),
            Kind::Scalar(_) | Kind::List(_) | Kind::Map(_) => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        if name != AT {
            return visitor.visit_newtype_struct(self);
        }
        visitor.visit_seq(PlacedReader { node: self.0, next: 0 })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let read = || visitor.visit_enum(IntoDeserializer::<Fault>::into_deserializer(self.scalar(&"one word")?));
        read().map_err(|fault: Fault| fault.within(&self.0.at))
    }

    /// Nothing at all is an empty list: `ports:` with the items still to come.
    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0.kind {
            Kind::Null => Self::read_list(&[], visitor).map_err(|fault: Fault| fault.within(&self.0.at)),
            Kind::List(_) => self.deserialize_any(visitor),
            Kind::Map(_) => {
                let fault: Fault = de::Error::invalid_type(Unexpected::Map, &"a list");
                Err(fault.within(&self.0.at))
            }
            Kind::Scalar(ref text) => {
                let fault: Fault = de::Error::invalid_type(Unexpected::Str(text), &"a list");
                Err(fault.within(&self.0.at))
            }
        }
    }

    /// Nothing at all is an empty mapping: `limits:` with the keys still to come.
    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.0.kind {
            Kind::Null => self.read_map(&Mapping::default(), visitor).map_err(|fault: Fault| fault.within(&self.0.at)),
            Kind::Map(_) => self.deserialize_any(visitor),
            // serde would read a list into a struct by the order of its fields, which no file means.
            Kind::List(_) => {
                let fault: Fault = de::Error::invalid_type(Unexpected::Seq, &"a mapping");
                Err(fault.within(&self.0.at))
            }
            Kind::Scalar(ref text) => {
                let fault: Fault = de::Error::invalid_type(Unexpected::Str(text), &"a mapping");
                Err(fault.within(&self.0.at))
            }
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.deserialize_map(visitor)
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct ignored_any
    }
}

/// A node within a list or a mapping.
struct ItemReader<'a>(&'a Node);

impl<'de, 'a> IntoDeserializer<'de, Fault> for ItemReader<'a> {
    type Deserializer = NodeReader<'a>;

    fn into_deserializer(self) -> NodeReader<'a> {
        NodeReader(self.0)
    }
}

/// A key of a mapping.
struct KeyReader<'a>(&'a Entry);

impl<'de> IntoDeserializer<'de, Fault> for KeyReader<'_> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for KeyReader<'_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_str(&self.0.key).map_err(|fault: Fault| fault.within(&self.0.key_at))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Fault> {
        if name != AT {
            return visitor.visit_newtype_struct(self);
        }
        let node = Node { at: self.0.key_at.clone(), kind: Kind::Scalar(self.0.key.clone()) };
        visitor.visit_seq(PlacedReader { node: &node, next: 0 })
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// What [`crate::config::spanned::At`] reads: first byte, byte behind the last, value.
struct PlacedReader<'a> {
    node: &'a Node,
    next: u8,
}

impl<'de> de::SeqAccess<'de> for PlacedReader<'_> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        self.next += 1;
        let offset = |offset: usize| IntoDeserializer::<Fault>::into_deserializer(offset as u64);
        match self.next {
            1 => seed.deserialize(offset(self.node.at.start)).map(Some),
            2 => seed.deserialize(offset(self.node.at.end)).map(Some),
            3 => seed.deserialize(NodeReader(self.node)).map(Some),
            _ => Ok(None),
        }
    }
}

/// Notes in each fault which entry or item it came from.
struct Steps<'a, A> {
    inner: A,
    /// Number of the entry or item that is read next.
    next: &'a mut usize,
}

impl<'de, A: de::SeqAccess<'de, Error = Fault>> de::SeqAccess<'de> for Steps<'_, A> {
    type Error = Fault;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        let item = self.inner.next_element_seed(seed).map_err(|fault| fault.behind(*self.next))?;
        *self.next += 1;
        Ok(item)
    }
}

impl<'de, A: de::MapAccess<'de, Error = Fault>> de::MapAccess<'de> for Steps<'_, A> {
    type Error = Fault;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Fault> {
        self.inner.next_key_seed(seed).map_err(|fault| fault.behind(*self.next))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Fault> {
        let value = self.inner.next_value_seed(seed).map_err(|fault| fault.behind(*self.next))?;
        *self.next += 1;
        Ok(value)
    }
}
