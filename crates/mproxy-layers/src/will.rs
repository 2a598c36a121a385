//! What layers do if they refuse a will.

/// What happens to a client whose will is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DeniedWill {
    /// The client is not let in.
    #[default]
    Refuse,
    /// The client is let in without its will. It does not learn that: MQTT has no code for it.
    Strip,
}
