//! Recorded sessions: what a client and a broker say to each other, a packet at a time.
//!
//! A recording is a file of text. `>` begins a packet of the client, `<` one of the broker, in
//! hexadecimal; `;` and `#` begin what is for the reader. Each packet is sent when all before it
//! have arrived, unless a test says otherwise, so that the order of the lines is one of cause and
//! effect.

use std::fs;
use std::path::Path;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The client.
    Client,
    /// The broker.
    Broker,
}

impl Party {
    /// Both.
    pub const BOTH: [Self; 2] = [Self::Client, Self::Broker];
}

/// One packet.
#[derive(Clone, Debug)]
pub struct Step {
    /// Who sends it.
    pub from: Party,
    /// All of it.
    pub bytes: Vec<u8>,
}

/// A session from CONNECT to its end.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The name of the file, without its end.
    pub name: String,
    /// Whether it is MQTT 5.0.
    pub v5: bool,
    /// Its packets.
    pub steps: Vec<Step>,
}

impl Recording {
    /// All recordings of a folder, by name.
    ///
    /// # Panics
    /// If there are none, or one of them cannot be read.
    #[must_use]
    pub fn all(folder: &Path) -> Vec<Self> {
        let files = fs::read_dir(folder).expect("the folder of the recordings");
        let mut all: Vec<_> = files
            .map(|file| Self::read(&file.expect("a file").path()))
            .collect();
        assert!(!all.is_empty(), "no recordings in {}", folder.display());
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    fn read(file: &Path) -> Self {
        let name = file.file_stem().expect("a file has a name");
        let name = name.to_string_lossy().into_owned();
        let text = fs::read_to_string(file).expect("a recording is text");
        let mut version = None;
        let mut steps: Vec<Step> = Vec::new();
        for line in text.lines() {
            let (from, digits) = match line.split_at(line.len().min(2)) {
                ("" | "# " | "; ", _) => continue,
                ("ve", rest) => {
                    version = rest.strip_prefix("rsion ");
                    continue;
                }
                ("> ", digits) => (Some(Party::Client), digits),
                ("< ", digits) => (Some(Party::Broker), digits),
                ("  ", digits) => (None, digits),
                _ => panic!("{name}: what is {line:?}?"),
            };
            if let Some(from) = from {
                let bytes = Vec::new();
                steps.push(Step { from, bytes });
            }
            let step = steps.last_mut().expect("a packet has a first line");
            let bytes = digits.split(' ').map(|it| u8::from_str_radix(it, 16));
            step.bytes.extend(bytes.map(|byte| byte.expect("a byte")));
        }
        let version = version.unwrap_or_else(|| panic!("{name}: no version"));
        Self {
            v5: version == "5",
            name,
            steps,
        }
    }

    /// How many bytes one side sends.
    #[must_use]
    pub fn total(&self, from: Party) -> usize {
        let own = self.steps.iter().filter(|step| step.from == from);
        own.map(|step| step.bytes.len()).sum()
    }

    /// The same conversation in as few pieces as it has turns: what one side sends without waiting
    /// for the other is one piece.
    #[must_use]
    pub fn turns(&self) -> Vec<Step> {
        let mut turns: Vec<Step> = Vec::new();
        for step in &self.steps {
            match turns.last_mut() {
                Some(last) if last.from == step.from => last.bytes.extend(&step.bytes),
                _ => turns.push(step.clone()),
            }
        }
        turns
    }

    /// The conversation until one side has sent `at` bytes: the packets that were sent whole, and
    /// what was sent of the one after them.
    #[must_use]
    pub fn until(&self, from: Party, at: usize) -> (&[Step], &[u8]) {
        let mut left = at;
        for (index, step) in self.steps.iter().enumerate() {
            if step.from != from {
                continue;
            }
            if step.bytes.len() > left {
                return (&self.steps[..index], &step.bytes[..left]);
            }
            left -= step.bytes.len();
        }
        assert_eq!(left, 0, "{} is not that long", self.name);
        (&self.steps, &[])
    }
}
