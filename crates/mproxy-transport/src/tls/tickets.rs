//! Session tickets: keys that replicas share, and what makes tickets void.

use std::{
    fmt,
    path::Path,
    sync::{Arc, OnceLock},
};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    digest,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use rustls::{crypto::aws_lc_rs::Ticketer, server::ProducesTickets};

use super::{TlsFileError, files::read};

/// Produces and reads tickets. A ticket is bound to whom the listener trusts: with another CA or
/// another revocation list, it is void.
pub(super) struct Tickets {
    keys: Keys,
    bound_to: Trusted,
}

/// Whom a listener trusts, in short.
pub(super) type Trusted = [u8; BOUND_LEN];

/// Whom a listener trusts, in short.
pub(super) fn trusted(parts: &[&[u8]]) -> Trusted {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut short = [0; BOUND_LEN];
    short.copy_from_slice(&context.finish().as_ref()[..BOUND_LEN]);
    short
}

enum Keys {
    /// Random ones of this process, which change every six hours.
    Random(Arc<dyn ProducesTickets>),
    /// Those of a file, which the operator changes: all decrypt, the last but one encrypts.
    Shared(Vec<Key>),
}

struct Key {
    name: [u8; NAME_LEN],
    aead: RandomizedNonceKey,
}

impl Tickets {
    /// With the keys of a file, or random ones if there is none, for those who trust like this.
    ///
    /// # Errors
    /// The file is no key file, or the system has no random numbers.
    pub(super) fn new(file: Option<&Path>, bound_to: Trusted) -> Result<Self, TlsFileError> {
        let keys = match file {
            Some(file) => Keys::Shared(shared(file)?),
            None => Keys::Random(random()?),
        };
        Ok(Self { keys, bound_to })
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        match &self.keys {
            Keys::Random(keys) => keys.lifetime(),
            // a day, as HAProxy's users are told to change keys
            Keys::Shared(_) => 24 * 60 * 60,
        }
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        match &self.keys {
            Keys::Random(keys) => keys.encrypt(&[&self.bound_to, plain].concat()),
            Keys::Shared(keys) => {
                let key = &keys[keys.len().checked_sub(2)?];
                let mut text = plain.to_vec();
                let nonce = key
                    .aead
                    .seal_in_place_append_tag(Aad::from(self.bound_to), &mut text)
                    .ok()?;
                Some([&key.name[..], nonce.as_ref(), &text].concat())
            }
        }
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        match &self.keys {
            Keys::Random(keys) => {
                let text = keys.decrypt(ticket)?;
                text.strip_prefix(&self.bound_to).map(<[u8]>::to_vec)
            }
            Keys::Shared(keys) => {
                let (name, rest) = ticket.split_at_checked(NAME_LEN)?;
                let (nonce, text) = rest.split_at_checked(NONCE_LEN)?;
                let key = keys.iter().find(|key| key.name == name)?;
                let mut text = text.to_vec();
                let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
                let aad = Aad::from(self.bound_to);
                let len = key.aead.open_in_place(nonce, aad, &mut text).ok()?.len();
                text.truncate(len);
                Some(text)
            }
        }
    }
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").finish_non_exhaustive()
    }
}

/// One for the process, so that a reload keeps tickets.
fn random() -> Result<Arc<dyn ProducesTickets>, TlsFileError> {
    static RANDOM: OnceLock<Arc<dyn ProducesTickets>> = OnceLock::new();
    if let Some(keys) = RANDOM.get() {
        return Ok(Arc::clone(keys));
    }
    let keys = Ticketer::new().map_err(TlsFileError::general)?;
    Ok(Arc::clone(RANDOM.get_or_init(|| keys)))
}

/// Reads a key file as HAProxy's `tls-ticket-keys` has it: a key a line, 48 or 80 random bytes in base64
/// (`openssl rand -base64 80 | tr -d '\n'`), at least three.
fn shared(file: &Path) -> Result<Vec<Key>, TlsFileError> {
    let failed = |what: &dyn fmt::Display| TlsFileError::of(file, what);
    let text = String::from_utf8(read(file)?).map_err(|_| failed(&"not text"))?;
    let lines = text.lines().map(str::trim).filter(|it| !it.is_empty());
    let keys = lines.enumerate().map(|(number, line)| {
        let number = number + 1;
        let bytes = BASE64_STANDARD.decode(line);
        let bytes = bytes.map_err(|_| failed(&format_args!("key {number} is not base64")))?;
        if !matches!(bytes.len(), 48 | 80) {
            let len = bytes.len();
            let what = format_args!("key {number} has {len} bytes instead of 48 or 80").to_string();
            return Err(failed(&what));
        }
        Key::of(&bytes).ok_or_else(|| failed(&"a key cannot be used"))
    });
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    match keys.len() {
        3.. => Ok(keys),
        count => Err(failed(&format_args!(
            "{count} keys; at least three are needed: the last but one encrypts, all decrypt"
        ))),
    }
}

impl Key {
    /// The first 16 bytes name the key; the others make it.
    fn of(bytes: &[u8]) -> Option<Self> {
        let (name, secret) = bytes.split_at_checked(NAME_LEN)?;
        let key = digest::digest(&digest::SHA256, &[LABEL, secret].concat());
        Some(Self {
            name: name.try_into().ok()?,
            aead: RandomizedNonceKey::new(&AES_256_GCM, key.as_ref()).ok()?,
        })
    }
}

const NAME_LEN: usize = 16;
const NONCE_LEN: usize = 12;
const BOUND_LEN: usize = 16;
const LABEL: &[u8] = b"mproxy session tickets 1";
