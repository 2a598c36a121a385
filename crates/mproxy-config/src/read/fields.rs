//! The names of the keys of a table, asked from its `Deserialize` implementation.

use serde::de::value::Error;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};

/// The keys that `T` knows, in the order of its fields.
pub(super) fn keys_of<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut keys: &'static [&'static str] = &[];
    // It always fails: nothing is deserialized, the names were noted before.
    let _ = T::deserialize(Listen { keys: &mut keys });
    keys
}

/// A deserializer that listens to what it is asked for.
struct Listen<'a> {
    keys: &'a mut &'static [&'static str],
}

impl<'de> Deserializer<'de> for Listen<'_> {
    type Error = Error;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.keys = fields;
        Err(Error::custom("listening only"))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("listening only"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
        option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
        ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::keys_of;
    use crate::file::{File, LimitsFile};

    #[test]
    fn keys_are_those_of_the_struct() {
        let keys = [
            "version",
            "server",
            "listeners",
            "upstreams",
            "chains",
            "layers",
            "admin",
        ];
        assert_eq!(keys_of::<File>()[..7], keys);
        assert!(keys_of::<LimitsFile>().contains(&"max_packet_size"));
    }
}
