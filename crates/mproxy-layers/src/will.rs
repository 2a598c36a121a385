//! What layers do about a will that they do not let pass.

/// What happens to a client whose will is denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum DeniedWill {
    /// The client is not let in.
    #[default]
    Refuse,
    /// The client is let in without its will, which it is not told: MQTT has no word for it.
    Strip,
}
