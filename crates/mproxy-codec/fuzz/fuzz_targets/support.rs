//! How the targets read their input, and the model that the tests compare with.

use mproxy_codec::{DecodeError, Direction, Head, Version, View};

#[path = "../../tests/support/from_view.rs"]
pub mod from_view;
#[path = "../../tests/support/model.rs"]
pub mod model;

/// Takes version and direction from the first byte.
pub fn select(data: &[u8]) -> Option<(Version, Direction, &[u8])> {
    let (&select, rest) = data.split_first()?;
    let version = [Version::V31, Version::V311, Version::V5][usize::from(select / 2 % 3)];
    let direction = [Direction::ToServer, Direction::ToClient][usize::from(select % 2)];
    Some((version, direction, rest))
}

/// Takes a field with a length of one byte.
pub fn field(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&len, rest) = data.split_first()?;
    rest.split_at_checked(usize::from(len))
}

/// Reads one whole packet.
pub fn read(
    version: Version,
    direction: Direction,
    bytes: &[u8],
) -> Result<Option<(model::Packet, usize)>, DecodeError> {
    let Some(view) = View::parse(version, direction, bytes)? else {
        return Ok(None);
    };
    let head = Head::parse(bytes)?.expect("a view has a head");
    assert!(head.total_len() <= bytes.len());
    assert_eq!(head.kind(), view.kind());
    let seen = from_view::packet(version, direction, &view);
    Ok(Some((seen, head.total_len())))
}
