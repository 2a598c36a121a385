//! Kinds of keys that are written as something else is.

/// Gives a kind of key the serde and schema implementations of the type that it wraps.
macro_rules! wraps {
    ($(#[$doc:meta])* $name:ident<$param:ident: $bound:path>($inner:ty)) => {
        $(#[$doc])*
        pub(crate) struct $name<$param: $bound> {
            inner: $inner,
            target: std::marker::PhantomData<$param>,
        }

        impl<$param: $bound> $name<$param> {
            const fn new(inner: $inner) -> Self {
                Self { inner, target: std::marker::PhantomData }
            }
        }

        impl<$param: $bound> std::ops::Deref for $name<$param> {
            type Target = $inner;

            fn deref(&self) -> &$inner {
                &self.inner
            }
        }

        impl<$param: $bound> Default for $name<$param> {
            fn default() -> Self {
                Self::new(<$inner>::default())
            }
        }

        impl<$param: $bound> std::fmt::Debug for $name<$param> {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.inner.fmt(f)
            }
        }

        impl<'de, $param: $bound> serde::Deserialize<'de> for $name<$param> {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                <$inner>::deserialize(deserializer).map(Self::new)
            }
        }

        impl<$param: $bound> schemars::JsonSchema for $name<$param> {
            fn inline_schema() -> bool {
                <$inner>::inline_schema()
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                <$inner>::schema_name()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                <$inner>::json_schema(generator)
            }
        }
    };
}

pub(crate) use wraps;
