//! Properties of MQTT 5.0 packets (section 2.2.2).

mod block;
mod id;
mod value;
mod writer;

pub use self::{
    block::{Properties, PropertyIter},
    id::{Place, PropertyId},
    value::{Property, Value},
    writer::PropertyWriter,
};
